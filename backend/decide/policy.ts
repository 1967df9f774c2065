/**
 * What an administrator may set about deciding, as data. Unknown keys are errors, so that a typo
 * never silently keeps a default.
 */
import { z } from 'zod';
import { Restart, Scale } from './guest-policy.ts';
import { CalendarEntry, Window, Zone } from './windows.ts';

const ratio = z.number().min(0).max(1);
const durationMs = z
  .int()
  .min(0)
  .max(7 * 86_400_000);

/** A threshold with its dead band, and for how long it must be passed. */
const band = (above: number, clear: number) =>
  z
    .strictObject({
      above: ratio.default(above),
      clear: ratio.default(clear),
      forMs: durationMs.default(300_000),
    })
    .refine((one) => one.clear < one.above, {
      path: ['clear'],
      message: 'must lie below `above`',
    })
    .prefault({});

export const Policy = z.strictObject({
  relieve: z
    .strictObject({
      cpuRatio: band(0.85, 0.75),
      /** Memory in use, and shares of a minute in which tasks waited (PSI some, avg60). */
      memoryRatio: band(0.92, 0.85),
      memoryPressureRatio: band(0.3, 0.15),
      ioPressureRatio: band(0.5, 0.3),
      /** A target must keep mean + sigmas x deviation below fillRatio of its capacity. */
      sigmas: z.number().min(0).max(6).default(1.1),
      /** A second, shorter wait for what is hotter still; none when absent. */
      urgent: z.strictObject({ above: ratio, forMs: durationMs }).optional(),
      /** `cpuRatio.clear` when absent. */
      fillRatio: ratio.optional(),
      /** How much cooler than the source now the target must stay. */
      marginRatio: ratio.default(0.1),
    })
    .refine(({ cpuRatio, urgent }) => urgent === undefined || urgent.above >= cpuRatio.above, {
      path: ['urgent', 'above'],
      message: 'must not lie below `cpuRatio.above`',
    })
    .prefault({}),
  save: z
    .strictObject({
      /** Nothing is emptied or put to sleep while this is off. */
      mode: z.enum(['off', 'on']).default('off'),
      everyMs: durationMs.default(600_000),
      /** Nodes emptied at a time; more only while `spareRatio` of the awake capacity is unused. */
      drains: z.int().min(1).max(64).default(1),
      spareRatio: ratio.default(1),
      sigmas: z.number().min(0).max(6).default(1.2),
      fillRatio: ratio.default(0.7),
      /** A node sleeps after it ran no guest for this long. */
      sleepAfterMs: durationMs.default(600_000),
      awakeMin: z.int().min(1).max(4_096).default(1),
      /** How long a node is expected to sleep while nothing is learned of the cluster's days. */
      expectedStayMs: durationMs.default(7_200_000),
      /** How many more voters of a quorum may fail while nodes sleep; as the guards ask if absent. */
      spareVoters: z.int().min(0).max(16).optional(),
      /** So many that stay awake must be able to wake a node; two where there are more than two. */
      wakersMin: z.int().min(0).max(16).optional(),
      /** Which nodes may take the guests when one more fails; `usual`: sleeping ones, too, below 4. */
      reserve: z.enum(['usual', 'awake', 'wakeable', 'none']).optional(),
      /** A node sleeps only while 95 % of its last 40 minutes stayed below; so the guards, too. */
      idleCpuRatio: ratio.optional(),
    })
    .prefault({}),
  forecast: z
    .strictObject({
      stepMs: z.int().min(1_000).max(3_600_000).default(300_000),
      /** Weight of a new step once a guest is known; 0.06 remembers about 80 minutes. */
      weight: z.number().min(0.001).max(1).default(0.06),
      /** So long before a learned peak, and the boot, nodes for it are woken; 0 never. */
      leadMs: durationMs.default(600_000),
      /** Whose hours are learned; that of the first window or calendar entry if absent, else UTC. */
      zone: Zone.optional(),
    })
    .prefault({}),
  moves: z
    .strictObject({
      copyBytesPerSecond: z.number().min(1_000_000).max(1e12).default(112_000_000),
      /** Seconds of copying that any move costs, however small. */
      fixedSeconds: z.number().min(0).max(3_600).default(4),
      /** Memory of a target that stays free, as its guards will ask. */
      memoryReserveRatio: ratio.default(0.1),
      /** Cpu of a target that stays free of its busiest past; not bound if absent. */
      cpuReserveRatio: ratio.optional(),
      /** By this much of its past a target is judged, p95 of its minutes; at most an hour. */
      loadWindowMs: durationMs.optional(),
      /** Of what a hot node must shed, the share that a move must take, up to a quarter core. */
      worthRatio: ratio.default(0.1),
      /** How much worse a guest is that does not end the heat alone. */
      partialPenalty: z.number().min(0).max(100).default(0.3),
    })
    .prefault({}),
  limits: z
    .strictObject({
      migrationsPerNode: z.int().min(1).max(65_536).default(1),
      migrationsPerCluster: z.int().min(1).max(65_536).default(2),
      /** Moves and shutdowns of a cluster together, as its guards count them; not bound if absent. */
      commandsAtOnce: z.int().min(1).max(1_000_000).optional(),
      guestCooldownMs: durationMs.default(1_800_000),
      /** How often one guest is moved within 24 h. */
      guestMovesPerDay: z.int().min(0).max(1_000_000).default(2),
      /** A guest returns to a node that it left only after this long. */
      pairCooldownMs: durationMs.default(7_200_000),
      /** Moves that begin within an hour: one node takes part in, and in the whole cluster. */
      migrationsPerNodePerHour: z.int().min(1).max(1_000_000).default(20),
      migrationsPerHour: z.int().min(1).max(1_000_000).default(120),
      /** How long a node is up before it sleeps again; like the next three as the guards ask. */
      uptimeMinMs: durationMs.optional(),
      /** How often a node sleeps within 24 h. */
      sleepsPerDay: z.int().min(0).max(1_000_000).optional(),
      /** Between two nodes of a cluster that go to sleep. */
      sleepEveryMs: durationMs.optional(),
      /** Share of the nodes of a cluster that go to sleep within an hour, at least one. */
      sleepRatioPerHour: ratio.optional(),
    })
    .prefault({}),
  scale: Scale,
  restart: Restart,
  windows: z.array(Window).max(32).default([]),
  /** When nodes are needed awake, whatever their load: they are woken before and do not sleep. */
  calendar: z.array(CalendarEntry).max(64).default([]),
});
export type Policy = z.infer<typeof Policy>;

/** Whose clock the days of a cluster are learned by. */
export const zoneOf = ({ forecast, windows, calendar }: Policy): string =>
  forecast.zone ?? windows[0]?.zone ?? calendar[0]?.zone ?? 'UTC';

/** A policy as people write it: what it leaves out comes from what it extends. */
export const PolicyInput = Policy.extend({
  extends: z.string().max(63).optional().describe('A shipped policy, or another one of this file'),
});
export type PolicyInput = z.input<typeof PolicyInput>;

/** What a cluster of real machines never exceeds, whatever its policy says. */
const ceilings = {
  migrationsPerNode: 4,
  migrationsPerCluster: 16,
  commandsAtOnce: 8,
  guestMovesPerDay: 12,
  migrationsPerNodePerHour: 60,
  migrationsPerHour: 600,
} as const;
const ceilingNames = Object.keys(ceilings) as (keyof typeof ceilings)[];

const least = (policy: number | undefined, guard: number): number =>
  Math.min(policy ?? Infinity, guard);
const most = (policy: number | undefined, guard: number): number => Math.max(policy ?? 0, guard);

/** SAFETY W2. */
const wakersUsual = 2;
const dayMs = 86_400_000;

/** What the guards of a cluster will ask for, in the cluster's own time. */
export type GuardLimits = {
  commandsAtOnce: number;
  migrationsPerNode: number;
  guestMovesPerDay: number;
  guestCooldownMs: number;
  spareVoters: number;
  minUptimeMs: number;
  powerCyclesPerDay: number;
  powerOffEveryMs: number;
  powerOffRatioPerHour: number;
  idleCpuRatio: number;
  loadWindowMs: number;
  memoryReserveRatio: number;
  cpuReserveRatio: number;
  reserve: 'awake' | 'wakeable' | 'none' | null;
  wakeProof: 'required' | 'assumed';
};

/**
 * The policy as it counts under the guards of a cluster: of what both limit the stricter, so that
 * nothing is proposed that would be denied. A window of 0 judges nothing by its past.
 */
export function withinGuards(
  { limits, save, moves, ...rest }: Policy,
  guards: GuardLimits,
): Policy {
  const looksBack = guards.loadWindowMs > 0;
  return {
    ...rest,
    limits: {
      ...limits,
      commandsAtOnce: least(limits.commandsAtOnce, guards.commandsAtOnce),
      migrationsPerNode: least(limits.migrationsPerNode, guards.migrationsPerNode),
      guestMovesPerDay: least(limits.guestMovesPerDay, guards.guestMovesPerDay),
      guestCooldownMs: most(limits.guestCooldownMs, guards.guestCooldownMs),
      // Guards let no guest return on the day it left, unless they remember no moves at all.
      pairCooldownMs: most(limits.pairCooldownMs, guards.guestCooldownMs > 0 ? dayMs : 0),
      uptimeMinMs: most(limits.uptimeMinMs, guards.minUptimeMs),
      sleepsPerDay: least(limits.sleepsPerDay, guards.powerCyclesPerDay),
      sleepEveryMs: most(limits.sleepEveryMs, guards.powerOffEveryMs),
      sleepRatioPerHour: least(limits.sleepRatioPerHour, guards.powerOffRatioPerHour),
    },
    save: {
      ...save,
      spareVoters: most(save.spareVoters, guards.spareVoters),
      wakersMin: most(save.wakersMin, guards.wakeProof === 'assumed' ? 0 : wakersUsual),
      reserve: save.reserve === 'awake' ? 'awake' : (guards.reserve ?? 'usual'),
      ...(looksBack && { idleCpuRatio: least(save.idleCpuRatio, guards.idleCpuRatio) }),
    },
    moves: {
      ...moves,
      memoryReserveRatio: most(moves.memoryReserveRatio, guards.memoryReserveRatio),
      ...(looksBack && {
        cpuReserveRatio: most(moves.cpuReserveRatio, guards.cpuReserveRatio),
        loadWindowMs: most(moves.loadWindowMs, guards.loadWindowMs),
      }),
    },
  };
}

/** The policy as it counts for real machines. */
export function withCeilings(policy: Policy): Policy {
  const limits = { ...policy.limits };
  for (const name of ceilingNames) {
    const value = limits[name];
    if (value !== undefined) limits[name] = Math.min(value, ceilings[name]);
  }
  return { ...policy, limits };
}

/** Limits of a policy that no cluster of real machines may have, by field. */
export const beyondCeilings = ({ limits }: Policy): { field: string; hint: string }[] =>
  ceilingNames
    .filter((name) => (limits[name] ?? 0) > ceilings[name])
    .map((name) => ({
      field: name,
      hint: `expected <=${ceilings[name]} for a cluster of real machines`,
    }));

/**
 * Durations of policies, guards and the simulated world pass through here, protocol time never
 * does. The scale is 1 for every real cluster.
 */
export const scaledMs = (ms: number, cluster: { timeScale: number }): number =>
  ms / cluster.timeScale;
