/**
 * `kernreaktor backend`, as a container runs it: broker and backend without a daemon. What stands
 * beside it in the compose file is done here by hand: a token by `kernreaktor enrol`, then a daemon
 * that enters with it by TLS.
 */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort, until } from '../support/servers.ts';
import { type Run, runProgram, type Stack, startStack } from '../support/stack.ts';

let stack: Stack;
let port: number;
const running: Run[] = [];

beforeAll(async () => {
  port = await freePort();
  const settings = {
    KR_TLS_HOST: '127.0.0.1',
    KR_TLS_MQTT_PORT: String(port),
    KR_TLS_HTTP_PORT: '0',
    KR_TLS_NAMES: 'kr.example',
  };
  stack = await startStack(settings, { role: 'backend' });
});
afterAll(async () => {
  for (const run of running) await run.stop();
  await stack?.remove();
});

describe('the backend alone', () => {
  it('has no node of its own', async () => {
    expect(await stack.api.get('nodes')).toMatchObject({ items: [], total: 0 });
    expect(stack.run().stdout()).toContain('set-up token for the first account: ');
  });

  it('shows a certificate with the names it was told', async () => {
    const seen = await new Promise<string>((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
        resolve(socket.getPeerX509Certificate()?.subjectAltName ?? '');
        socket.destroy();
      });
      socket.once('error', reject);
    });
    expect(seen.split(', ')).toEqual(expect.arrayContaining(['DNS:kr.example', 'DNS:localhost']));
  });

  it('gives one token for all the nodes that a daemon speaks for', async () => {
    const settings = { KR_DATA_DIR: join(stack.folder, 'data') };
    const enrol = runProgram(['enrol', 'lab', 'pve1', 'pve2', 'pve3'], settings);
    expect([await enrol.exited, enrol.stderr()]).toEqual([0, '']);
    expect(enrol.stdout().trim()).toMatch(/^[0-9a-f]{64}\.[0-9a-f]{64}$/);
    const again = runProgram(['enrol', 'lab', 'pve1', 'pve1'], settings);
    expect(await again.exited).not.toBe(0);
  });

  it('lets a daemon in by a token that only its owner may read', async () => {
    const out = join(stack.folder, 'token');
    const settings = { KR_DATA_DIR: join(stack.folder, 'data') };
    const enrol = runProgram(['enrol', 'home', 'box', '--out', out], settings);
    expect([await enrol.exited, enrol.stderr()]).toEqual([0, '']);
    const token = (await readFile(out, 'utf8')).trim();
    expect(enrol.stdout()).not.toContain(token);
    expect((await stat(out)).mode & 0o777).toBe(0o600);
    running.push(
      runProgram(['daemon'], {
        KR_MQTT_URL: `mqtts://localhost:${port}`,
        KR_CLUSTER: 'home',
        KR_NODE: 'box',
        KR_ENROL_TOKEN_FILE: out,
        KR_DATA_DIR: join(stack.folder, 'daemon'),
        KR_SAMPLE_INTERVAL_MS: '500',
      }),
    );
    await until(
      async () => {
        const { items } = await stack.api.get<{ items: { id: string; state: string }[] }>('nodes');
        return items[0]?.id === 'box' && items[0].state === 'awake';
      },
      { what: 'the node awake' },
    );
  });

  it('says why there is no token, without a server', async () => {
    const enrol = runProgram(['enrol', 'home', 'box'], {
      KR_DATA_DIR: join(stack.folder, 'nowhere'),
    });
    expect(await enrol.exited).toBe(2);
    expect(enrol.stderr()).toContain('KR_DATA_DIR: no server runs in');
  });
});
