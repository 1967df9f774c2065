/**
 * R13: wrong clocks, put into real processes by libfaketime: daemons and backend that jump by
 * seconds, hours and years in both directions under work, and daemons that drift by 5 %. While a
 * node's clock is more than 2 s away from the server's, nothing destructive is granted to it once
 * the server has heard of that, and the refusal names the clock; when it is right again, work goes
 * on. Nothing happens twice. Grants are judged by MariaDB's clock, which is never changed.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { existsSync, globSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDestructive } from '../../backend/act/lifecycle.ts';
import type { CommandKind } from '../../broker/contract/command.ts';
import { patiently } from '../support/checker.ts';
import { fetchInto } from '../support/debian.ts';
import {
  chance,
  experiment,
  type Figures,
  pauseMs,
  type Scope,
  spread,
} from '../support/experiment.ts';
import { type Loaded, startLoaded } from '../support/loaded.ts';
import { until } from '../support/servers.ts';
import type { Settings } from '../support/stack.ts';

const drift = '+0 x1.05';
const jumps = ['+5', '-5', '+2h', '-2h', '+10y', '-10y', drift] as const;
const right = '+0';
const wrongForMs = 4_000;

async function library(): Promise<string | undefined> {
  const pattern = '/usr/lib/*/faketime/libfaketime.so.1';
  const folder = await fetchInto('libfaketime', ['libfaketime']).catch(() => '');
  return [...globSync(`${folder}${pattern}`), ...globSync(pattern)].find((path) =>
    existsSync(path),
  );
}

/** A clock that can be set from outside, for the processes that get these settings. */
async function fakeClock(path: string, folder: string, name: string) {
  const file = join(folder, name);
  // An offset without a rate keeps the rate that was there before.
  const set = (to: string) => writeFile(file, to.includes('x') ? `${to}\n` : `${to} x1.0\n`);
  await set(right);
  const settings: Settings = {
    LD_PRELOAD: path,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    FAKETIME_DONT_RESET: '1',
  };
  return { set, settings };
}

const effectsOf = ({ simulation }: Loaded): number =>
  simulation.effects().filter(({ commandId, effect }) => commandId !== null && effect === 'start')
    .length;

/** Ids of destructive commands that were granted from then on. */
async function grantsSince({ store }: Loaded, sinceMs: number): Promise<string[]> {
  const asked = store.db
    .selectFrom('commands')
    .select(['id', 'kind'])
    .where('granted_at_ms', '>', sinceMs);
  const rows = await patiently(() => asked.execute());
  return rows.filter(({ kind }) => isDestructive(kind as CommandKind)).map(({ id }) => id);
}

type Heard = { cluster: string; id: string; seq: number; incarnation: number };

async function heardOf({ stack }: Loaded): Promise<Heard[]> {
  const { items } = await stack.api.get<{ items: Heard[] }>('nodes?limit=5000');
  return Promise.all(
    items.map(({ cluster, id }) => stack.api.get<Heard>(`clusters/${cluster}/nodes/${id}`)),
  );
}

/** Of every node two samples have come since: the first may have been on its way. */
async function untilHeard(loaded: Loaded, before: readonly Heard[]): Promise<void> {
  const isHeard = (now: Heard): boolean => {
    const was = before.find(({ cluster, id }) => cluster === now.cluster && id === now.id);
    return !was || now.incarnation !== was.incarnation || now.seq >= was.seq + 2;
  };
  await until(async () => (await heardOf(loaded)).every(isHeard), {
    what: 'two samples of every node',
    withinMs: 60_000,
  });
}

/** Refusals at the door and in the rows that name the clock. */
async function clockRefusals({ load, store }: Loaded): Promise<number> {
  const asked = store.db
    .selectFrom('commands')
    .select('id')
    .where('state', '=', 'REJECTED')
    .where('state_reason', 'like', 'KR_CLOCK%');
  const rows = await patiently(() => asked.execute());
  return rows.length + (load.refusals.get('KR_CLOCK') ?? 0);
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const path = await library();
  if (path === undefined) return { found: false, violations: [] };
  const draw = chance(seed);
  const folder = await mkdtemp(join(tmpdir(), 'kr-clock-'));
  const daemons = await fakeClock(path, folder, 'daemons');
  const backend = await fakeClock(path, folder, 'backend');
  const loaded = await startLoaded({
    seed,
    settings: backend.settings,
    simulateSettings: daemons.settings,
  });
  const violations: string[] = [];
  const turns: { who: string; jump: string; grantedWhileWrong: number; backMs: number }[] = [];
  try {
    for (let turn = 0; turn < n; turn += 1) {
      const who = turn % 2 === 0 ? 'daemons' : 'backend';
      const clock = who === 'daemons' ? daemons : backend;
      const jump = jumps[Math.floor(turn / 2) % jumps.length] ?? '+5';
      await pauseMs(draw.between(500, 2_000));
      const refusedBefore = await clockRefusals(loaded);
      await clock.set(jump);
      // A drift of 5 % needs 40 s to become 2 s.
      if (jump === drift) await pauseMs(60_000);
      await untilHeard(loaded, await heardOf(loaded));
      const sinceMs = Date.now();
      await pauseMs(wrongForMs);
      const granted = await grantsSince(loaded, sinceMs);
      const told = async () => (await clockRefusals(loaded)) > refusedBefore;
      await until(told, { what: 'a refusal that names the clock', withinMs: 60_000 }).catch(() =>
        violations.push(`nobody was told of ${jump} of the ${who}`),
      );
      await clock.set(right);
      const [backAtMs, begun] = [performance.now(), effectsOf(loaded)];
      await until(() => effectsOf(loaded) > begun, { what: 'work', withinMs: 120_000 }).catch(() =>
        violations.push(`no work after ${jump} of the ${who}`),
      );
      const backMs = Math.round(performance.now() - backAtMs);
      turns.push({ who, jump, grantedWhileWrong: granted.length, backMs });
      say(JSON.stringify(turns.at(-1)));
      for (const id of granted) violations.push(`${id} was granted at ${jump} of the ${who}`);
    }
    const judged = await loaded.conclude({ withinMs: 400_000 });
    return {
      found: true,
      turns,
      clockRefusals: await clockRefusals(loaded),
      backMs: spread(turns.map(({ backMs }) => backMs)),
      settledMs: judged.settledMs,
      ...judged.figures,
      violations: [...violations, ...judged.violations],
    };
  } finally {
    await loaded.remove();
    await rm(folder, { recursive: true });
  }
}

export const r13 = experiment(import.meta, { name: 'R13', short: 4, long: 42, run });
