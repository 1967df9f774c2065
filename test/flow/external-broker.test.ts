/**
 * The backend behind a broker in a process of its own: a real Mosquitto with the files of
 * `kernreaktor broker acl`, and our own `kernreaktor broker`. This host and four simulated nodes
 * publish through it, and a command runs through it to its one effect.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePort, startMosquitto, until } from '../support/servers.ts';
import {
  begunTwice,
  runProgram,
  type Settings,
  simulate,
  type Stack,
  startStack,
} from '../support/stack.ts';

type NodeAnswer = { id: string; state: string; online: boolean; seq: number };

/** What the administrator of the broker does after nodes were let in. */
type LetIn = () => Promise<void>;

const ends: (() => unknown)[] = [];
let settings: Settings;

beforeEach(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'kr-broker-'));
  ends.push(() => rm(folder, { recursive: true, force: true }));
  settings = {
    KR_DATA_DIR: join(folder, 'data'),
    KR_MQTT_URL: `mqtt://127.0.0.1:${await freePort()}`,
    KR_MQTT_PASSWORD: 'the password of the server',
  };
});
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

async function started(): Promise<Stack> {
  const stack = await startStack(settings);
  ends.push(() => stack.remove());
  return stack;
}

/** Four simulated nodes and this host are heard, and one command does what it says. */
async function expectLoop(stack: Stack, letIn: LetIn): Promise<void> {
  const simulation = simulate(stack, ['--nodes', '4', '--guests', '3', '--interval', '1']);
  ends.push(async () => {
    simulation.run.signal('SIGKILL');
    await simulation.run.exited;
  });
  await until(
    async () => {
      await letIn();
      const { items } = await stack.api.get<{ items: NodeAnswer[] }>('nodes');
      return items.filter(({ state, online }) => online && state === 'awake').length === 5;
    },
    { what: 'five nodes awake', withinMs: 60_000 },
  );
  const before = (await stack.api.ingestFigures())['stored'] ?? 0;
  await until(async () => ((await stack.api.ingestFigures())['stored'] ?? 0) > before + 5);
  const wish = { cluster: 'sim-001', kind: 'guest.stop', node: 'n0001', guest: '101', args: {} };
  const { status, body } = await stack.api.post('commands', wish);
  expect(status).toBe(202);
  const id = String(body['id']);
  await until(async () => (await stack.api.get(`commands/${id}`))['state'] === 'SUCCEEDED');
  const own = simulation.effects().filter(({ commandId }) => commandId === id);
  expect(own.map(({ kind, effect }) => `${kind} ${effect}`)).toEqual([
    'guest.stop start',
    'guest.stop end',
  ]);
  expect(begunTwice(simulation.effects())).toEqual([]);
  expect((await stack.api.send('GET', '/readyz')).status).toBe(200);
}

describe('a broker in a process of its own', () => {
  it('may be a Mosquitto with the files that kernreaktor writes for it', async () => {
    const files = join(settings['KR_DATA_DIR'] ?? '', '..', 'mosquitto');
    const writeFiles = async () => {
      const run = runProgram(['broker', 'acl', '--out', files], settings);
      expect({ code: await run.exited, stderr: run.stderr() }).toEqual({ code: 0, stderr: '' });
    };
    await writeFiles();
    const mosquitto = await startMosquitto([
      'allow_anonymous false',
      'use_username_as_clientid true',
      'max_packet_size 262144',
      'max_qos 1',
      `password_file ${join(files, 'mosquitto.passwords')}`,
      `acl_file ${join(files, 'mosquitto.acl')}`,
    ]);
    ends.push(() => mosquitto.stop());
    settings = { ...settings, KR_MQTT_URL: mosquitto.url };
    const stack = await started();
    await expectLoop(stack, async () => {
      await writeFiles();
      process.kill(mosquitto.pid, 'SIGHUP');
    });
    expect(await stack.stop()).toBe(0);
  }, 90_000);

  it('may be our own, which follows the enrolments of the backend by itself', async () => {
    const stack = await started();
    const directory = join(settings['KR_DATA_DIR'] ?? '', 'broker', 'directory.json');
    await until(() => existsSync(directory));
    const broker = runProgram(['broker'], {
      KR_DATA_DIR: settings['KR_DATA_DIR'] ?? '',
      KR_MQTT_PORT: new URL(settings['KR_MQTT_URL'] ?? '').port,
    });
    ends.push(() => broker.stop());
    await until(() => broker.stdout().includes(`broker listens on ${settings['KR_MQTT_URL']}`));
    await expectLoop(stack, () => Promise.resolve());
    expect(await stack.stop()).toBe(0);
    expect(await broker.stop()).toBe(0);
  }, 90_000);

  it('may be away from the start: the API answers, and SIGTERM ends it cleanly', async () => {
    const stack = await started();
    expect((await stack.api.send('GET', '/healthz')).status).toBe(200);
    expect((await stack.api.send('GET', '/readyz')).status).toBe(503);
    await until(() => stack.run().stdout().includes(stack.runtime().httpUrl));
    expect(await stack.stop()).toBe(0);
    expect(existsSync(stack.runtimeFile)).toBe(false);
  });
});
