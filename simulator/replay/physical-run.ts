/**
 * Plays one policy through a trace in the physical world. A round may come every 10 s, as in
 * production; rounds in which nothing has changed are left out up to a minute. Policies that only
 * answer moves are asked at each sample, and their moves start as soon as the world lets them.
 */
import { type Day, gapless, quantile, type Result } from './run.ts';
import { type Score, scoreOf } from './score.ts';
import type { Foretold, PhysicalPolicy } from './physical-engine.ts';
import type { WattsFor } from './physical-load.ts';
import { hostPower } from './physical-power.ts';
import { type PhysicalRules, PhysicalWorld } from './physical-world.ts';
import type { ReplayPolicy } from './policy.ts';
import type { Totals } from './totals.ts';
import type { Move } from './world.ts';

const roundSeconds = 10;
const quietSeconds = 60;
const joulesPerKwh = 3_600_000;
/** Until then hosts that recorded placement left half empty are being emptied. */
export const startSeconds = 3 * 3_600;

export type PhysicalResult = Result & {
  failedWakes: number;
  /** Share of hosting time with more memory in use than there is. */
  memoryOver: number;
  /** Of `energyKwh`, what was used in the first three hours. */
  startKwh: number;
  /** `energyKwh` by what it was spent on. */
  kwhFor: WattsFor;
  /** Of the engine alone. */
  foretold?: Foretold;
  /** What no policy can undercut, on the whole and after the first three hours. */
  boundKwh: number;
  settledBoundKwh: number;
  /** How many days the trace lasts. */
  days: number;
  /** Figures of each whole day, in order. */
  daily: readonly Pick<Score, 'energyKwh' | 'otf' | 'migrations'>[];
};

/** What is known of a day before any policy is played. */
type Known = 'boundKwh' | 'settledBoundKwh' | 'days';

/** Sleeps nothing, moves nothing: what a house costs without any of this. */
export const alwaysOn: PhysicalPolicy = { name: 'always-on', round: () => Promise.resolve() };

/** A policy of the literature under the same rules: hosts sleep as soon as they are empty. */
export function obeying(policy: ReplayPolicy): PhysicalPolicy {
  let waiting: Move[] = [];
  return {
    name: policy.name,
    round(world) {
      if (world.isRemembered()) {
        waiting = policy.decide(world, world.seconds / world.trace.stepSeconds - 1);
      }
      waiting = waiting.filter(({ guest, to }) => {
        if (world.hostOf[guest] === to) return false;
        if (world.power[to] === hostPower.off) world.wake(to);
        return world.move(guest, to) !== null;
      });
      const wanted = new Set(waiting.map(({ to }) => to));
      for (let host = 0; host < world.hosts.count; host += 1) {
        if (world.power[host] === hostPower.on && !wanted.has(host)) world.sleep(host);
      }
      return Promise.resolve();
    },
  };
}

const daySeconds = 86_400;

/** What was counted since then. */
const since = (now: Totals, then: Totals): Totals => {
  const rest = { ...now };
  for (const name of Object.keys(then) as (keyof Totals)[]) rest[name] -= then[name];
  return rest;
};

export async function playPhysical(
  day: Day,
  policy: PhysicalPolicy,
  rules: PhysicalRules,
  elapsedMs: () => number,
): Promise<Omit<PhysicalResult, Known>> {
  const { trace, hosts, placement } = day;
  const world = new PhysicalWorld(trace, hosts, placement, rules);
  const endSeconds = (trace.steps - 1) * trace.stepSeconds;
  const thoughtMs: number[] = [];
  const daily: PhysicalResult['daily'][number][] = [];
  let dawn: Totals = { ...world.totals };
  const endDay = (): void => {
    const { energyKwh, otf, migrations } = scoreOf(since(world.totals, dawn));
    daily.push({ energyKwh, otf, migrations });
    dawn = { ...world.totals };
  };
  let [lastSeconds, lastChanges, startJoules] = [-Infinity, -1, 0];
  for (let at = trace.stepSeconds; at < endSeconds; at += roundSeconds) {
    world.advance(at);
    if (at <= startSeconds) startJoules = world.totals.joules;
    if (at % daySeconds === 0) endDay();
    if (world.changes === lastChanges && at - lastSeconds < quietSeconds) continue;
    [lastSeconds, lastChanges] = [at, world.changes];
    const beganMs = elapsedMs();
    const movesBefore = world.totals.migrations;
    await policy.round(world);
    thoughtMs.push(elapsedMs() - beganMs);
    const moves = world.totals.migrations - movesBefore;
    world.totals.movesPerTickMax = Math.max(world.totals.movesPerTickMax, moves);
  }
  world.advance(endSeconds);
  // The last sample of a day is that at its end, so that its last interval is missing.
  if (daily.length < Math.round((trace.steps * trace.stepSeconds) / daySeconds)) endDay();
  return {
    ...scoreOf(world.totals),
    ...gapless,
    day: trace.name,
    order: day.order,
    policy: policy.name,
    decideMsMedian: quantile(thoughtMs, 0.5),
    decideMsP99: quantile(thoughtMs, 0.99),
    daily,
    failedWakes: world.failedWakes,
    memoryOver: world.memoryOverSeconds / Math.max(1, world.totals.hostingSeconds),
    startKwh: startJoules / joulesPerKwh,
    kwhFor: {
      empty: world.joulesFor.empty / joulesPerKwh,
      changing: world.joulesFor.changing / joulesPerKwh,
      idle: world.joulesFor.idle / joulesPerKwh,
      work: world.joulesFor.work / joulesPerKwh,
    },
    ...(policy.foretold && { foretold: policy.foretold() }),
  };
}
