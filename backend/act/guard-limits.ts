/**
 * The numbers the guards and the limiter measure by, per cluster: SAFETY's defaults, what an
 * administrator changed, and for real clusters the hard bounds nothing may pass. Durations come
 * out divided by the time scale, which is 1 for every real cluster. What cannot be read falls
 * back to the defaults, never to less. Pure.
 */
import { z } from 'zod';
import { scaledMs } from '../decide/policy.ts';
import type { Clusters } from '../store/sql/schema.ts';
import { remembered } from './remembered.ts';
import { timeScaleOf } from './step.ts';

/** Read in every step, written seldom. */
const clustersKept = 256;
const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

type Bounds = { usual: number; atLeast?: number; atMost?: number };

/** Bounds hold for real clusters; a simulated one may be as reckless as it likes. */
const bounds = {
  /** Q2: how many more voters may fail; 0 only by an administrator's typed word. */
  spareVoters: { usual: 1, atMost: 1 },
  membershipStableMs: { usual: minute, atLeast: minute },
  minUptimeMs: { usual: 30 * minute, atLeast: 5 * minute },
  powerCyclesPerDay: { usual: 4, atMost: 12 },
  /** W4: below this the node counts as idle. */
  idleCpuRatio: { usual: 0.2, atMost: 0.5 },
  powerOffEveryMs: { usual: 10 * minute, atLeast: 2 * minute },
  powerOffRatioPerHour: { usual: 0.2, atMost: 0.5 },
  globalPowerOffEveryMs: { usual: 2 * minute, atLeast: 30 * second },
  wakeEveryMs: { usual: 10 * second, atLeast: 5 * second },
  migrationsPerNode: { usual: 1, atMost: 4 },
  /** Of one cluster, wakes aside. */
  commandsAtOnce: { usual: 2, atLeast: 1, atMost: 8 },
  /** Provably not started: sent again under a new id. */
  retries: { usual: 1, atMost: 3 },
  /** Ways that are tried to wake a node before it is given up. */
  wakeAttempts: { usual: 3, atLeast: 1, atMost: 6 },
  /** V8: the destination is judged by this much of its past; 0 looks at now alone. */
  loadWindowMs: { usual: hour, atLeast: 10 * minute, atMost: day },
  /** A1: how long the engine must have been watched before it acts by itself. */
  shadowMs: { usual: 7 * day, atLeast: 7 * day },
  guestMovesPerDay: { usual: 2, atMost: 12 },
  guestCooldownMs: { usual: 30 * minute, atLeast: 5 * minute },
  memoryReserveRatio: { usual: 0.1, atLeast: 0.05, atMost: 0.9 },
  cpuReserveRatio: { usual: 0.1, atLeast: 0.05, atMost: 0.9 },
  staleNodesMin: { usual: 2, atMost: 2 },
  freezeMs: { usual: 5 * minute, atLeast: 5 * minute },
  /** After a failed campaign: time for a person to look. */
  abortFreezeMs: { usual: day, atLeast: hour },
  manualPauseMs: { usual: day },
  wakeQuarantineMs: { usual: 30 * day, atLeast: day },
  /** Fail awake: how long without a server before a daemon wakes who sleeps; 0 for never. */
  wakeAfterMs: { usual: 10 * minute },
  startupHoldMs: { usual: 5 * minute, atLeast: 5 * minute },
} as const satisfies Record<string, Bounds>;

type LimitName = keyof typeof bounds;
const limitNames = Object.keys(bounds) as LimitName[];
const isDuration = (name: LimitName): boolean => name.endsWith('Ms');
const isRatio = (name: LimitName): boolean => name.includes('Ratio');

const valueOf = (name: LimitName) =>
  isRatio(name)
    ? z.number().min(0).max(1)
    : z
        .int()
        .min(0)
        .max(366 * day);

/** What an administrator may write; null takes a value back. */
export const LimitChange = z.strictObject(
  Object.fromEntries(
    limitNames.map((name) => [name, valueOf(name).nullable().optional()]),
  ) as Record<LimitName, z.ZodOptional<z.ZodNullable<z.ZodNumber>>>,
);
export type LimitChange = z.infer<typeof LimitChange>;

/** `assumed` and `none` of proof are for simulated clusters. */
export const SettingChange = z.strictObject({
  wakeProof: z.enum(['required', 'assumed']).optional(),
  /** May a sleeping node count as the spare one? null: yes below four nodes. */
  reserve: z.enum(['awake', 'wakeable', 'none']).nullable().optional(),
  /** C1: may a node with Ceph services sleep while Ceph says it is fine to stop them? */
  ceph: z.enum(['never', 'when-ok-to-stop']).optional(),
  /** C2: may the only replica of a running guest grow old while its node sleeps? */
  replicas: z.enum(['awake', 'may-age']).optional(),
});
export type SettingChange = z.infer<typeof SettingChange>;

export type Limits = Record<LimitName, number> & {
  wakeProof: 'required' | 'assumed';
  reserve: 'awake' | 'wakeable' | 'none' | null;
  ceph: 'never' | 'when-ok-to-stop';
  replicas: 'awake' | 'may-age';
};

/** What a new simulated cluster starts with: nothing there can break, so nothing waits. */
export const simulatedLimits: LimitChange = {
  spareVoters: 0,
  membershipStableMs: 0,
  minUptimeMs: 0,
  powerCyclesPerDay: 100_000,
  powerOffEveryMs: 0,
  powerOffRatioPerHour: 1,
  globalPowerOffEveryMs: 0,
  wakeEveryMs: 0,
  migrationsPerNode: 1_000,
  commandsAtOnce: 100_000,
  loadWindowMs: 0,
  shadowMs: 0,
  guestMovesPerDay: 100_000,
  guestCooldownMs: 0,
  memoryReserveRatio: 0,
  cpuReserveRatio: 0,
  staleNodesMin: 100_000,
  manualPauseMs: 0,
  wakeQuarantineMs: 0,
  freezeMs: 0,
  abortFreezeMs: 0,
  startupHoldMs: 0,
};
export const simulatedSettings: SettingChange = { wakeProof: 'assumed', reserve: 'none' };

type Row = Pick<Clusters, 'simulated' | 'time_scale' | 'limits' | 'settings'>;

function parsed<T>(schema: z.ZodType<T>, text: string): T | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function bounded(name: LimitName, wanted: number, isReal: boolean): number {
  if (!isReal) return wanted;
  const { atLeast = -Infinity, atMost = Infinity } = bounds[name] as Bounds;
  return Math.min(atMost, Math.max(atLeast, wanted));
}

const changesOf = remembered(clustersKept, (json) => parsed(LimitChange, json) ?? {});
const settingsOf = remembered(clustersKept, (json) => parsed(SettingChange, json) ?? {});

function readLimits(row: Row): Limits {
  const isReal = row.simulated !== 1;
  const changes = changesOf(row.limits);
  const settings = settingsOf(row.settings);
  const scale = { timeScale: timeScaleOf(row) };
  const values = Object.fromEntries(
    limitNames.map((name) => {
      const value = bounded(name, changes[name] ?? bounds[name].usual, isReal);
      return [name, isDuration(name) ? scaledMs(value, scale) : value];
    }),
  ) as Record<LimitName, number>;
  const reserve = settings.reserve ?? null;
  return {
    ...values,
    wakeProof: isReal ? 'required' : (settings.wakeProof ?? 'required'),
    reserve: isReal && reserve === 'none' ? null : reserve,
    ceph: settings.ceph ?? 'never',
    replicas: settings.replicas ?? 'awake',
  };
}

const limitsBy = remembered(clustersKept, (_text, row: Row) => readLimits(row));

/** Asked many times in every step; shared, so never changed. */
export const limitsOf = (row: Row): Limits =>
  limitsBy(`${row.simulated} ${row.time_scale} ${row.settings} ${row.limits}`, row);

/** The first value no real cluster may have, said with its bound. */
export function boundProblem(change: LimitChange): { name: string; detail: string } | undefined {
  for (const name of limitNames) {
    const value = change[name];
    if (value === undefined || value === null || bounded(name, value, true) === value) continue;
    const { atLeast, atMost } = bounds[name] as Bounds;
    const range = [
      atLeast === undefined ? '' : `at least ${atLeast}`,
      atMost === undefined ? '' : `at most ${atMost}`,
    ];
    return { name, detail: `${range.filter(Boolean).join(' and ')} in a real cluster` };
  }
  return undefined;
}
