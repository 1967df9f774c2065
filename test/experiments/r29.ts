/**
 * R29: the database is restored to a moment that daemons have left behind: what was asked for
 * before and after the backup has been carried out since. The backup is minutes old here, not an
 * hour, which is the harder case: no offer in it has run out. Nothing may be carried out again,
 * nothing may begin before HOLD is released, and work goes on afterwards.
 */
import { join } from 'node:path';
import { patiently, settled } from '../support/checker.ts';
import {
  experiment,
  type Figures,
  pauseMs,
  type Scope,
  upperBound,
} from '../support/experiment.ts';
import { type Loaded, startLoaded } from '../support/loaded.ts';
import { until } from '../support/servers.ts';
import { begunTwice, runProgram } from '../support/stack.ts';

type Guest = { cluster: string; id: string; node: string; state: string };

async function typed({ stack }: Loaded, ...args: string[]): Promise<string> {
  const { KR_DATA_DIR = '', KR_SQL_URL = '' } = stack.settings;
  const run = runProgram(args, { KR_DATA_DIR, KR_SQL_URL });
  const code = await run.exited;
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}: ${run.stderr()}`);
  return run.stdout();
}

/** One restart of each running guest, from the first to the last of these. */
async function ask({ stack }: Loaded, from: number, to: number): Promise<number> {
  const { items } = await stack.api.get<{ items: Guest[] }>('guests?limit=5000');
  const running = items.filter(({ state }) => state === 'running').slice(from, to);
  const answers = await Promise.all(
    running.map(({ cluster, id, node }) =>
      stack.api.post('commands', { cluster, kind: 'guest.restart', node, guest: id, args: {} }),
    ),
  );
  return answers.filter(({ status }) => status === 202).length;
}

const neverBegan: ReadonlySet<string> = new Set(['CANCELLED', 'EXPIRED', 'REJECTED']);

const begun = ({ simulation }: Loaded): number =>
  simulation.effects().filter(({ commandId, effect }) => effect === 'start' && commandId !== null)
    .length;

async function statesOf({ store }: Loaded): Promise<Record<string, number>> {
  const rows = await patiently(() =>
    store.db.selectFrom('commands').select(['state', 'kind', 'origin', 'state_reason']).execute(),
  );
  const counts: Record<string, number> = {};
  for (const { state, kind, origin, state_reason: why } of rows) {
    // Numbers and names tell nothing here.
    const reason = (why ?? '').replaceAll(/[0-9a-f-]{36}|\d+/g, '#');
    const word = state === 'FAILED' ? `FAILED ${origin} ${kind}: ${reason}` : state;
    counts[word] = (counts[word] ?? 0) + 1;
  }
  return counts;
}

/** What began in the world and is told as never begun would be asked for again by a person. */
async function toldAsNotBegun({ store, simulation }: Loaded): Promise<string[]> {
  const rows = await patiently(() =>
    store.db.selectFrom('commands').select(['id', 'state', 'state_reason']).execute(),
  );
  const really = new Set(simulation.effects().map(({ commandId }) => commandId));
  return rows.flatMap(({ id, state, state_reason: why }) =>
    really.has(id) && (neverBegan.has(state) || why?.startsWith('KR_NOT_STARTED'))
      ? [`${id} began, and is told as ${state}: ${why ?? ''}`]
      : [],
  );
}

/** Epochs may only grow, also for daemons that saw those of the lost hour. */
async function epochsOf({ store }: Loaded): Promise<number[]> {
  const rows = await patiently(() => store.db.selectFrom('leases').select('epoch').execute());
  return rows.map(({ epoch }) => epoch);
}

async function restored(loaded: Loaded, copy: string): Promise<void> {
  await loaded.stack.kill9();
  await typed(loaded, 'restore', copy, '--replace');
  await loaded.stack.start();
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const guests = Math.ceil((n * 2.4) / 16);
  const load = { clients: 0, pauseBetweenMs: 1_000 };
  const loaded = await startLoaded({ seed, guests, load });
  const violations: string[] = [];
  try {
    const { stack, simulation, store } = loaded;
    const copy = join(stack.folder, 'copy.age');
    const asked = await ask(loaded, 0, n);
    await typed(loaded, 'backup', '--out', copy);
    const askedLater = await ask(loaded, n, 2 * n);
    await settled(store, 180_000);
    const before = { states: await statesOf(loaded), begun: begun(loaded) };
    const epochsBefore = await epochsOf(loaded);
    say(`before: ${JSON.stringify({ asked, askedLater, ...before })}`);
    await restored(loaded, copy);
    const inBackup = await statesOf(loaded);
    say(`in the backup: ${JSON.stringify(inBackup)}`);
    await until(
      async () => {
        const { items } = await stack.api.get<{ items: Guest[] }>('nodes?limit=5000');
        return items.every(({ state }) => state === 'awake' || state === 'maintenance');
      },
      { withinMs: 120_000, what: 'every daemon back' },
    );
    await settled(store, 120_000);
    await pauseMs(5_000);
    const underHold = begun(loaded) - before.begun;
    if (underHold > 0) violations.push(`${underHold} effects began under HOLD`);
    const again = begunTwice(simulation.effects());
    violations.push(...again.map((id) => `${id} began twice`));
    const [least = 0] = (await epochsOf(loaded)).toSorted((a, b) => a - b);
    if (least <= Math.max(...epochsBefore)) violations.push(`epoch ${least} was used before`);
    const reconciled = await statesOf(loaded);
    violations.push(...(await toldAsNotBegun(loaded)));
    await typed(loaded, 'hold', '--release');
    const askedAfter = await ask(loaded, 0, 8);
    if (askedAfter === 0) violations.push('nothing can be asked for after HOLD was released');
    await settled(store, 120_000);
    const newly = begun(loaded) - before.begun;
    if (newly === 0) violations.push('nothing is carried out after HOLD was released');
    violations.push(...begunTwice(simulation.effects()).map((id) => `${id} began twice, later`));
    const total = asked + askedLater;
    const found = { asked: total, before, inBackup, underHold, reconciled, askedAfter, newly };
    return { ...found, upperBound: upperBound(total), violations };
  } finally {
    await loaded.remove();
  }
}

export const r29 = experiment(import.meta, { name: 'r29', short: 12, long: 100, run });
