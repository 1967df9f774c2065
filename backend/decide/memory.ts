/**
 * What the engine has learned of a cluster and the spells it is counting, as text and back, so that
 * a restart neither forgets a daily shape nor begins a wait anew. Numbers keep five digits. A text
 * that cannot be read is no memory: the engine learns again.
 */
import { z } from 'zod';
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import { type Forecast, firstForecast } from './forecast.ts';
import type { History } from './history.ts';
import { emptyPeaks } from './peaks.ts';

const version = 1;
const digits = 5;
const short = (value: number): number => Number(value.toPrecision(digits));

const Slot = z.tuple([z.number(), z.number(), z.number()]).nullable();
const Learned = z.object({
  version: z.literal(version),
  calibration: z.tuple([z.number(), z.number(), z.number()]).nullable(),
  peaks: z.object({ day: z.array(Slot).length(48), week: z.array(Slot).length(336) }).nullable(),
  guests: z.array(
    z.tuple([
      z.string(),
      z.array(z.number()).length(8),
      z.int().min(0),
      z.tuple([z.array(z.number()).length(24), z.array(z.number()).length(24)]).nullable(),
    ]),
  ),
});
type Learned = z.infer<typeof Learned>;

const numbersOf = (one: Forecast): number[] =>
  [
    one.mean,
    one.variance,
    one.level,
    one.trend,
    one.offset,
    one.error,
    one.trendError,
    one.shapeError,
  ].map(short);

function guestsOf(history: History, cluster: string): Learned['guests'] {
  const known = history.forecasts.get(cluster) ?? new Map<string, Forecast>();
  return [...known].map(([id, one]) => [
    id,
    numbersOf(one),
    one.steps,
    one.shape && [Array.from(one.shape.hours, short), [...one.shape.steps]],
  ]);
}

/** Everything that was learned of a cluster, as JSON. */
export function learnedText(history: History, cluster: string): string {
  const calibration = history.calibrations.ofCluster.get(cluster);
  const peaks = history.peaks.get(cluster);
  const slots = (of: readonly ({ mean: number; variance: number; seen: number } | null)[]) =>
    of.map((one): [number, number, number] | null =>
      one ? [short(one.mean), short(one.variance), one.seen] : null,
    );
  const learned: Learned = {
    version,
    calibration: calibration
      ? [short(calibration.reach), calibration.steps, calibration.covered]
      : null,
    peaks: peaks ? { day: slots(peaks.day), week: slots(peaks.week) } : null,
    guests: guestsOf(history, cluster),
  };
  return JSON.stringify(learned);
}

function recallGuest(
  [, numbers, steps, shape]: Learned['guests'][number],
  nowMs: number,
): Forecast {
  const [mean, variance, level, trend, offset, error, trendError, shapeError] = numbers as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return {
    ...firstForecast(mean, 0, nowMs),
    steps,
    variance,
    level,
    trend,
    offset,
    error,
    trendError,
    shapeError,
    shape: shape && { hours: Float32Array.from(shape[0]), steps: Uint8Array.from(shape[1]) },
  };
}

const parsed = (text: string): Learned | null => {
  try {
    return Learned.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
};

/**
 * Takes a stored text in, for a cluster of which nothing is known yet. Changes `history` in place.
 * @returns whether it could be read
 */
export function recallLearned(
  history: History,
  cluster: string,
  text: string,
  nowMs: number,
): boolean {
  const learned = parsed(text);
  if (learned === null) return false;
  const known = new Map(learned.guests.map((guest) => [guest[0], recallGuest(guest, nowMs)]));
  history.forecasts.set(cluster, known);
  if (learned.calibration) {
    const [reach, steps, covered] = learned.calibration;
    history.calibrations.ofCluster.set(cluster, { reach, steps, covered });
  }
  if (!learned.peaks) return true;
  const slots = (of: readonly z.infer<typeof Slot>[]) =>
    of.map((one) => one && { mean: one[0], variance: one[1], seen: one[2] });
  const { day, week } = learned.peaks;
  history.peaks.set(cluster, { ...emptyPeaks(), day: slots(day), week: slots(week) });
  return true;
}

/**
 * What is being counted, by the engine's clock: since when a node is hot or empty, a guest is dead,
 * or was given up.
 */
export type Spell = {
  subject: string;
  kind: 'hot' | 'empty' | 'dead' | 'gave-up';
  sinceMs: number;
};

const spellsBy = (history: History) =>
  [
    ['hot', history.hotSinceMs],
    ['empty', history.emptySinceMs],
  ] as const satisfies readonly (readonly [Spell['kind'], Map<NodeKey, number>])[];

export function spellsOf(history: History, cluster: string, nodes: Iterable<string>): Spell[] {
  const spells: Spell[] = [];
  for (const node of nodes) {
    for (const [kind, known] of spellsBy(history)) {
      const sinceMs = known.get(nodeKey(cluster, node));
      if (sinceMs !== undefined) spells.push({ subject: node, kind, sinceMs });
    }
  }
  const { died, gaveUp } = history.deaths;
  for (const [subject, sinceMs] of died.get(cluster) ?? []) {
    const kind = gaveUp.get(cluster)?.has(subject) === true ? 'gave-up' : 'dead';
    spells.push({ subject, kind, sinceMs });
  }
  return spells;
}

/** Goes on counting; the next sample that contradicts a spell ends it. Changes `history`. */
export function recallSpells(history: History, cluster: string, spells: readonly Spell[]): void {
  const died = new Map(history.deaths.died.get(cluster));
  for (const { subject, kind, sinceMs } of spells) {
    if (kind === 'hot') history.hotSinceMs.set(nodeKey(cluster, subject), sinceMs);
    else if (kind === 'empty') history.emptySinceMs.set(nodeKey(cluster, subject), sinceMs);
    else died.set(subject, sinceMs);
  }
  history.deaths.died.set(cluster, died);
}
