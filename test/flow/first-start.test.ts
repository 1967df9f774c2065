/**
 * What `npm start` promises on a bare machine: this host's own telemetry without a question asked,
 * a daemon that only observes, a machine that is never switched off by its own backend, one
 * set-up token, one backend per folder, and a restart that goes on where it stopped.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../support/servers.ts';
import { type Json, runProgram, type Stack, startStack } from '../support/stack.ts';

type NodeDetail = {
  id: string;
  cluster: string;
  state: string;
  online: boolean;
  protected: boolean;
  simulated: boolean;
  incarnation: number;
  seq: number;
  cpuRatio: number | null;
  memoryTotalBytes: number | null;
  capabilities: string[];
  guests: string[] | null;
};
type Series = { series: { metric: string; points: [number, number | null][] }[] };

let stack: Stack;
let node = '';

const ownNode = () => stack.api.get<NodeDetail>(`clusters/local/nodes/${node}`);

beforeAll(async () => {
  stack = await startStack();
  await until(
    async () => {
      const { items } = await stack.api.get<{ items: NodeDetail[] }>('nodes?cluster=local');
      node = items[0]?.id ?? '';
      return items[0]?.state === 'awake' && items[0].cpuRatio !== null;
    },
    { what: 'own telemetry' },
  );
});
afterAll(() => stack?.remove());

describe('the first start', () => {
  it("shows this host's own values, live and stored", async () => {
    const own = await ownNode();
    expect(own).toMatchObject({ cluster: 'local', online: true, simulated: false });
    expect(own.memoryTotalBytes).toBeGreaterThan(2 ** 26);
    const query = `telemetry?cluster=local&node=${node}&metrics=cpuRatio,memoryUsedBytes`;
    await until(async () => {
      const { series } = await stack.api.get<Series>(`${query}&stepMs=1000`);
      return (
        series.length === 2 && series.every(({ points }) => points.some(([, v]) => v !== null))
      );
    });
    expect((await stack.api.send('GET', '/healthz')).status).toBe(200);
    expect((await stack.api.send('GET', '/readyz')).status).toBe(200);
  });

  it('tells where it is in a file for the owner alone, and on its output', () => {
    expect(statSync(stack.runtimeFile).mode & 0o777).toBe(0o600);
    expect(statSync(stack.runtime().socketPath).mode & 0o777).toBe(0o600);
    const { httpUrl, setupToken } = stack.runtime();
    expect(stack.run().stdout()).toContain(httpUrl);
    expect(setupToken).toMatch(/^[0-9a-f]{64}$/);
    expect(stack.run().stdout()).toContain(setupToken);
  });

  it('never lets this machine be switched off, and names the reason', async () => {
    expect(await ownNode()).toMatchObject({ protected: true });
    const wish = { cluster: 'local', kind: 'node.shutdown', node, args: { mode: 'poweroff' } };
    const answer = await stack.api.post('commands', wish);
    expect(answer.status).toBe(202);
    const command = await stack.api.get(`commands/${String(answer.body['id'])}`);
    expect(command).toMatchObject({ state: 'REJECTED', startedAt: null });
    // Before what its daemon can do: this is why.
    expect(command['stateReason']).toMatch(/^KR_PROTECTED: .*this machine runs the backend; ./);
    const [judgement] = command['guards'] as { verdicts: { denial: Json | null }[] }[];
    const denials = judgement?.verdicts.flatMap(({ denial }) => denial ?? []);
    expect(denials).toContainEqual(
      expect.objectContaining({
        code: 'KR_CAPABILITY',
        reason: expect.stringMatching(/ does not perform node\.shutdown/),
      }),
    );
    const history = command['history'] as { state: string }[];
    expect(history.map(({ state }) => state)).toEqual(['PLANNED', 'REJECTED']);
  });

  it('only observes: its daemon offers no kind, and every guest kind is refused', async () => {
    const commands = () => stack.api.get<{ total: number }>('commands?cluster=local');
    const { total } = await commands();
    expect(await ownNode()).toMatchObject({ capabilities: [], guests: [] });
    const kinds = {
      'guest.start': {},
      'guest.stop': {},
      'guest.restart': {},
      'guest.migrate': { targetNode: 'elsewhere' },
      'guest.scale': { cpuCount: 1 },
    };
    for (const [kind, args] of Object.entries(kinds)) {
      const wish = { cluster: 'local', kind, node, guest: '100', args };
      const refused = await stack.api.post('commands', wish);
      expect(refused).toMatchObject({ status: 404, body: { code: 'KR_UNKNOWN_GUEST' } });
      expect(refused.body).toMatchObject({ field: 'guest', wayOut: expect.any(String) });
    }
    expect(await commands()).toMatchObject({ total });
  });

  it('refuses a second start on the same folder and names who holds it', async () => {
    const second = runProgram(['start'], stack.settings);
    expect(await second.exited).not.toBe(0);
    expect(second.stderr()).toContain(`in use by process ${stack.run().pid}`);
    expect(second.stderr()).toContain('KR_DATA_DIR');
    expect(second.stderr()).not.toMatch(/^\s+at /m);
    expect(stack.runtime().pid).toBe(stack.run().pid);
    expect((await ownNode()).online).toBe(true);
  });

  it('takes its set-up token once and forgets it', async () => {
    const { setupToken: token } = stack.runtime();
    const account = { username: 'anna', password: 'seven bulbs hum quietly' };
    const wrong = await stack.api.post('setup', { ...account, token: 'f'.repeat(64) });
    expect(wrong).toMatchObject({ status: 401, body: { code: 'KR_SETUP_TOKEN' } });
    expect(await stack.api.post('setup', { ...account, token })).toMatchObject({ status: 201 });
    const again = await stack.api.post('setup', { ...account, username: 'berta', token });
    expect(again).toMatchObject({ status: 409, body: { code: 'KR_SETUP_DONE' } });
    await until(() => stack.runtime().setupToken === undefined);
    expect(await stack.api.post('session', account)).toMatchObject({ status: 201 });
  });
});

describe('a restart on the same folder', () => {
  it('ends cleanly, goes on with the same identity, and misses no sample', async () => {
    const credentialFile = join(stack.settings['KR_DATA_DIR'] ?? '', 'daemon', 'credential.json');
    const sinceMs = Date.now() - 600_000;
    const before = await ownNode();
    const credential = readFileSync(credentialFile, 'utf8');
    expect(await stack.stop()).toBe(0);
    expect(existsSync(stack.runtimeFile)).toBe(false);
    await stack.start();
    expect(stack.runtime().setupToken).toBeUndefined();
    await until(
      async () => {
        const { status, body } = await stack.api.send<NodeDetail>(
          'GET',
          `/api/v1/clusters/local/nodes/${node}`,
        );
        return status === 200 && body.incarnation > before.incarnation && body.seq > 2;
      },
      { what: 'samples of the next incarnation' },
    );
    expect(await ownNode()).toMatchObject({ protected: true, incarnation: before.incarnation + 1 });
    expect(readFileSync(credentialFile, 'utf8')).toBe(credential);
    type Missing = { samples: number; missing: number };
    await until(async () => {
      const stored = await stack.api.get<Missing>(`telemetry/missing?sinceMs=${sinceMs}`);
      return stored.samples > before.seq;
    });
    expect(await stack.api.get<Missing>(`telemetry/missing?sinceMs=${sinceMs}`)).toMatchObject({
      missing: 0,
    });
    for (const chain of ['audit/verify', 'audit/verify?cluster=local']) {
      expect(await stack.api.get(chain)).toMatchObject({ ok: true });
    }
    expect(await stack.stop()).toBe(0);
    expect(existsSync(stack.runtimeFile)).toBe(false);
  });
});
