/**
 * What the engine has learned of a cluster and the spells it is counting, as text and back, so that
 * a restart neither forgets a daily shape nor begins a wait anew. Numbers keep five digits. A text
 * that cannot be read is no memory: the engine learns again.
 */
import { z } from 'zod';
import { nodeKey } from '../../broker/contract/ids.ts';
import { type Forecast, firstForecast } from './forecast.ts';
import type { History } from './history.ts';
import { emptyPeaks } from './peaks.ts';
import { type Resource, type SizeWait, waitKey } from './sizing.ts';

const version = 1;
const digits = 5;
const short = (value: number): number => Number(value.toPrecision(digits));

const Slot = z.tuple([z.number(), z.number(), z.number()]).nullable();
const Learned = z.object({
  version: z.literal(version),
  calibration: z.tuple([z.number(), z.number(), z.number()]).nullable(),
  peaks: z
    .object({
      zone: z.string().default('UTC'),
      day: z.array(Slot).length(48),
      week: z.array(Slot).length(336),
    })
    .nullable(),
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
    peaks: peaks ? { zone: peaks.zone, day: slots(peaks.day), week: slots(peaks.week) } : null,
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
  const { day, week, zone } = learned.peaks;
  history.peaks.set(cluster, { ...emptyPeaks(zone), day: slots(day), week: slots(week) });
  return true;
}

const pressures = ['memoryRatio', 'memoryPressureRatio', 'ioPressureRatio'] as const;
const sizeKinds = ['cpu-grow', 'cpu-shrink', 'memory-grow', 'memory-shrink'] as const;
const nodeKinds = ['hot', 'urgent', 'empty', ...pressures] as const;
const guestKinds = ['dead', 'gave-up', ...sizeKinds] as const;

/**
 * What is being counted, by the engine's clock: since when a node is hot, pressed or empty, a guest
 * needs another size, is dead, or was given up.
 */
export type Spell = {
  subject: string;
  kind: (typeof nodeKinds)[number] | (typeof guestKinds)[number];
  sinceMs: number;
  /** The highest use since it began, where a size is waited for. */
  most?: number;
};

export const isNodeSpell = (kind: string): boolean => nodeKinds.some((one) => one === kind);
export const isSpell = (kind: string): kind is Spell['kind'] =>
  isNodeSpell(kind) || guestKinds.some((one) => one === kind);
/** Dead is a guest until it runs, however long nobody looked. */
export const outlasts = (kind: Spell['kind']): boolean => kind === 'dead' || kind === 'gave-up';

type NodeSpells = {
  known: Map<string, number>;
  keyOf: (cluster: string, node: string) => string;
};

const nodeSpellsBy = (history: History, kind: (typeof nodeKinds)[number]): NodeSpells => {
  if (kind === 'hot') return { known: history.hotSinceMs, keyOf: nodeKey };
  if (kind === 'urgent') return { known: history.urgentSinceMs, keyOf: nodeKey };
  if (kind === 'empty') return { known: history.emptySinceMs, keyOf: nodeKey };
  const keyOf = (cluster: string, node: string) => `${nodeKey(cluster, node)} ${kind}`;
  return { known: history.pressedSinceMs, keyOf };
};

export function spellsOf(history: History, cluster: string, nodes: Iterable<string>): Spell[] {
  const spells: Spell[] = [];
  for (const node of nodes) {
    for (const kind of nodeKinds) {
      const { known, keyOf } = nodeSpellsBy(history, kind);
      const sinceMs = known.get(keyOf(cluster, node));
      if (sinceMs !== undefined) spells.push({ subject: node, kind, sinceMs });
    }
  }
  for (const [key, { resource, way, sinceMs, most }] of history.sizeWaits.get(cluster) ?? []) {
    const subject = key.slice(0, -waitKey('', resource).length);
    spells.push({ subject, kind: `${resource}-${way}`, sinceMs, most });
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
  const sizes = new Map(history.sizeWaits.get(cluster));
  for (const { subject, kind, sinceMs, most = 0 } of spells) {
    const ofNode = nodeKinds.find((one) => one === kind);
    const ofSize = sizeKinds.find((one) => one === kind);
    if (ofNode !== undefined) {
      const { known, keyOf } = nodeSpellsBy(history, ofNode);
      known.set(keyOf(cluster, subject), sinceMs);
    } else if (ofSize !== undefined) {
      const [resource, way] = ofSize.split('-') as [Resource, SizeWait['way']];
      sizes.set(waitKey(subject, resource), { resource, way, sinceMs, most });
    } else died.set(subject, sinceMs);
  }
  history.deaths.died.set(cluster, died);
  history.sizeWaits.set(cluster, sizes);
}
