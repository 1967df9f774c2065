/**
 * MariaDB goes away under a running backend: hanging, as when its disk stands still, and gone, as
 * after a crash. Telemetry goes on into the state and the metrics store, people are told 503 with
 * the code, and everything recovers by itself.
 */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Server, startMariadb, until } from '../support/servers.ts';
import { simulate, type Simulation, type Stack, startStack } from '../support/stack.ts';

type NodeAnswer = { id: string; seq: number; state: string };

const guest = { cluster: 'sim-001', kind: 'guest.stop', node: 'n0001', guest: '101', args: {} };

let mariadb: Server;
let stack: Stack;
let simulation: Simulation;

const submit = () => stack.api.post('commands', guest);
const seq = async () => (await stack.api.get<NodeAnswer>('clusters/sim-001/nodes/n0001')).seq;
const stored = async () => (await stack.api.ingestFigures())['stored'] ?? 0;

/** Samples keep arriving in the state, and in the store. */
async function flows(): Promise<void> {
  const [fromSeq, fromStored] = [await seq(), await stored()];
  await until(async () => (await seq()) > fromSeq + 3 && (await stored()) > fromStored + 12, {
    what: 'further samples',
  });
}

const expectUnavailable = (answer: Awaited<ReturnType<typeof submit>>) => {
  expect(answer).toMatchObject({ status: 503, body: { code: 'KR_STORE_UNAVAILABLE' } });
  expect(answer.body['wayOut']).toEqual(expect.any(String));
  expect(JSON.stringify(answer.body)).not.toMatch(/mariadb|SqlError|secret/i);
};

beforeEach(async () => {
  mariadb = await startMariadb();
  stack = await startStack({ KR_SQL_URL: mariadb.url });
  simulation = simulate(stack, ['--nodes', '4', '--guests', '3', '--interval', '1']);
  await until(async () => {
    const answer = await stack.api.send<NodeAnswer>('GET', '/api/v1/clusters/sim-001/nodes/n0001');
    return answer.status === 200 && answer.body.state === 'awake' && answer.body.seq > 1;
  });
});
afterEach(async () => {
  simulation?.run.signal('SIGKILL');
  await simulation?.run.exited;
  await stack?.remove();
  await mariadb.stop();
});

it('goes on while the database hangs, says so, and recovers by itself', async () => {
  process.kill(mariadb.pid, 'SIGSTOP');
  try {
    expectUnavailable(await submit());
    await flows();
    expectUnavailable(await submit());
  } finally {
    process.kill(mariadb.pid, 'SIGCONT');
  }
  let id: unknown;
  await until(async () => {
    const answer = await submit();
    id = answer.body['id'];
    return answer.status === 202;
  });
  await until(async () => (await stack.api.get(`commands/${String(id)}`))['state'] === 'SUCCEEDED');
  await flows();
  expect(await stack.api.get('audit/verify?cluster=sim-001')).toMatchObject({ ok: true });
}, 90_000);

it('goes on when the database is gone for good, and still ends cleanly', async () => {
  process.kill(mariadb.pid, 'SIGKILL');
  await until(async () => (await submit()).status === 503);
  expectUnavailable(await submit());
  await flows();
  expect((await stack.api.send('GET', '/healthz')).status).toBe(200);
  expect(await stack.stop()).toBe(0);
});
