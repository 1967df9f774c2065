/**
 * R21: HOLD with many commands in flight, in each of its layers: of everything through the API,
 * by the HOLD file of a host, and by the loss of the backend (fail static). Once HOLD is answered
 * nothing is granted, and nothing begins that was not granted before; no state is lost; a restart
 * still holds. When the last grant and the last effect came is measured and said (K1: 1 s); a
 * loaded machine is slow and not wrong, so that decides nothing.
 */
import { rm, writeFile } from 'node:fs/promises';
import { judge, patiently, settled } from '../support/checker.ts';
import {
  experiment,
  type Figures,
  pauseMs,
  type Scope,
  upperBound,
} from '../support/experiment.ts';
import { judgeExecutor, startExecutorServer } from '../support/executor-server.ts';
import { type Loaded, startLoaded } from '../support/loaded.ts';
import { until } from '../support/servers.ts';

/** What had passed its last look may still begin; a loaded machine takes its time for that. */
const settleMs = 5_000;

type Guest = { cluster: string; id: string; node: string; state: string };

/** One restart of each running guest, as many as are wanted, all asked for at once. */
async function askMany({ stack, load }: Loaded, n: number): Promise<number> {
  const { items } = await stack.api.get<{ items: Guest[] }>('guests?limit=5000');
  const wishes = items.filter(({ state }) => state === 'running').slice(0, n);
  const answers = await Promise.all(
    wishes.map(({ cluster, id, node }) =>
      stack.api.post('commands', { cluster, kind: 'guest.restart', node, guest: id, args: {} }),
    ),
  );
  for (const { status, body } of answers) if (status === 202) load.accepted.add(String(body['id']));
  return answers.filter(({ status }) => status === 202).length;
}

type Granted = { id: string; granted_at_ms: number | null };

/** Store and bench run on one machine and read one clock. */
async function grantsOf({ store }: Loaded): Promise<Granted[]> {
  const asked = store.db
    .selectFrom('commands')
    .select(['id', 'granted_at_ms'])
    .where('granted_at_ms', 'is not', null);
  return patiently(() => asked.execute());
}

const startsOf = ({ simulation }: Loaded) =>
  simulation.effects().filter(({ commandId, effect }) => commandId !== null && effect === 'start');

/** Relative to `atMs`; below 0 all of them came before it. */
const lastAfter = (times: readonly number[], atMs: number): number | null =>
  times.length === 0 ? null : Math.max(...times) - atMs;

/** What came after HOLD, in the order of things, and how long after it the last one did. */
async function afterHold(loaded: Loaded, heldAtMs: number) {
  const grants = await grantsOf(loaded);
  const starts = startsOf(loaded);
  const times = grants.flatMap(({ granted_at_ms }) => granted_at_ms ?? []);
  const before = new Set(
    grants.filter(({ granted_at_ms }) => (granted_at_ms ?? 0) <= heldAtMs).map(({ id }) => id),
  );
  const late = starts.filter(({ atMs }) => atMs > heldAtMs);
  return {
    grantsAfter: times.filter((at) => at > heldAtMs).length,
    begunAfter: late.length,
    begunUngranted: late.filter(({ commandId }) => !before.has(commandId ?? '')).length,
    lastGrantMs: lastAfter(times, heldAtMs),
    lastEffectMs: lastAfter(
      starts.map(({ atMs }) => atMs),
      heldAtMs,
    ),
  };
}

/** K1, first layer. */
async function byApi(n: number, seed: number) {
  const load = { clients: 0, pauseBetweenMs: 1_000 };
  const guests = Math.ceil((n * 1.2) / 16);
  const loaded = await startLoaded({ seed, guests, load });
  const violations: string[] = [];
  try {
    const { stack, simulation, store } = loaded;
    const inFlight = await askMany(loaded, n);
    await until(() => simulation.effects().length > 4, { what: 'some effects' });
    const body = { hold: true, reason: 'experiment' };
    const answer = await stack.api.send('PUT', '/api/v1/hold', { body });
    const heldAtMs = Date.now();
    if (answer.status >= 300) throw new Error(`HOLD: ${JSON.stringify(answer)}`);
    await pauseMs(4_000);
    const { items } = await stack.api.get<{ items: Guest[] }>('guests?limit=1');
    const { cluster, id, node } = items[0] as Guest;
    const wish = { cluster, kind: 'guest.restart', node, guest: id, args: {} };
    const refused = await stack.api.post('commands', wish);
    if (refused.body['code'] !== 'KR_HOLD') violations.push(`not held: ${JSON.stringify(refused)}`);
    await stack.kill9();
    await stack.start();
    const stillHeld = await stack.api.post('commands', wish);
    if (stillHeld.body['code'] !== 'KR_HOLD') violations.push('not held after a restart');
    await settled(store, 120_000);
    const after = await afterHold(loaded, heldAtMs);
    if (after.grantsAfter > 0) violations.push(`${after.grantsAfter} grants after HOLD`);
    if (after.begunUngranted > 0) {
      violations.push(`${after.begunUngranted} effects began after HOLD that had no grant before`);
    }
    const free = { hold: false, reason: 'experiment over' };
    await stack.api.send('PUT', '/api/v1/hold', { body: free });
    await until(async () => (await stack.api.post('commands', wish)).status === 202, {
      what: 'a command after HOLD',
    });
    await settled(store, 60_000);
    const evidence = { accepted: loaded.load.accepted, effects: simulation.effects() };
    const judged = await judge(store, evidence);
    violations.push(...judged.violations);
    return { inFlight, ...after, ...judged.figures, violations };
  } finally {
    await loaded.remove();
  }
}

/** K1, second layer: the file of one host, while its executor is offered one command after another. */
async function byFile(n: number) {
  const server = await startExecutorServer();
  try {
    await server.start();
    for (let index = 0; index < n; index += 1) server.ask();
    await until(() => server.effects().length > n / 20, { what: 'some effects' });
    await writeFile(`${server.effectLog}.hold`, '');
    await pauseMs(settleMs);
    const atHold = server.effects().length;
    await pauseMs(4_000);
    const begun = server.effects().length - atHold;
    await server.kill9();
    await server.start();
    await pauseMs(2_000);
    const afterRestart = server.effects().length - atHold - begun;
    await rm(`${server.effectLog}.hold`);
    server.ask();
    await until(() => server.open() === 0, { what: 'the end of every command', withinMs: 120_000 });
    const violations = judgeExecutor(server);
    if (begun + afterRestart > 0) violations.push(`${begun + afterRestart} began under the file`);
    return { inFlight: n, begunBefore: atHold, begunAfter: begun, afterRestart, violations };
  } finally {
    await server.close();
  }
}

/** K1, third layer: nobody grants, so nothing begins. */
async function byLoss(n: number, seed: number) {
  const load = { clients: 0, pauseBetweenMs: 1_000 };
  const loaded = await startLoaded({ seed, guests: Math.ceil((n * 1.2) / 16), load });
  try {
    const { stack, simulation } = loaded;
    const inFlight = await askMany(loaded, n);
    await until(() => simulation.effects().length > 4, { what: 'some effects' });
    await stack.kill9();
    const lostAtMs = Date.now();
    await pauseMs(6_000);
    const { begunUngranted, begunAfter, lastGrantMs, lastEffectMs } = await afterHold(
      loaded,
      lostAtMs,
    );
    await stack.start();
    const { violations, figures } = await loaded.conclude({ withinMs: 600_000 });
    if (begunUngranted > 0) violations.push(`${begunUngranted} effects began without a grant`);
    return { inFlight, begunAfter, lastGrantMs, lastEffectMs, ...figures, violations };
  } finally {
    await loaded.remove();
  }
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const api = await byApi(n, seed);
  say(`by the API: ${JSON.stringify(api)}`);
  const file = await byFile(n);
  say(`by the file: ${JSON.stringify(file)}`);
  const loss = await byLoss(n, seed);
  say(`by loss of the backend: ${JSON.stringify(loss)}`);
  const violations = [...api.violations, ...file.violations, ...loss.violations];
  return { api, file, loss, upperBound: upperBound(3 * n), violations };
}

export const r21 = experiment(import.meta, { name: 'R21', short: 100, long: 1_000, run });
