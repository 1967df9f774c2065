/**
 * How busy a guest wants to be: a pure function of its shape, its seed and the world's time, so
 * that any moment can be asked for in any order. Answers the wanted share of its own cpus, 0..1;
 * what it gets is decided where it competes with its neighbours.
 */
import { noiseAt, ratioOf } from '../prng.ts';

export const loadShapes = ['constant', 'diurnal', 'spike', 'weekly', 'walk'] as const;
export type LoadShape = (typeof loadShapes)[number];

/** What was recorded of one guest: a share of its cpus, 0..1, for each step from `startMs` on. */
export type Recording = { startMs: number; stepMs: number; ratios: ArrayLike<number> };

export type Load = {
  shape: LoadShape;
  seed: number;
  /** Share of its cpus at rest. */
  base: number;
  /** Added at the peak of the shape. */
  swing: number;
  /** Takes the place of the shape. */
  recording?: Recording;
};

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
/** Between two draws of fine noise: no two neighbouring samples are equal. */
const jitterMs = 7_000;
const walkMs = 4 * 60_000;
const spikeEveryMs = 20 * 60_000;
const spikeMs = 3 * 60_000;

/** 0 at night, 1 at the guest's own peak hour, which is between 17 and 22 o'clock UTC. */
function daylight(load: Load, atMs: number): number {
  const peakHour = 17 + 5 * ratioOf(load.seed, 1);
  const turn = (atMs / dayMs - peakHour / 24) * 2 * Math.PI;
  return (1 + Math.cos(turn)) / 2;
}

/** Saturday and Sunday at a quarter; day 0 of the epoch was a Thursday. */
const workday = (atMs: number): number => {
  const day = (Math.floor(atMs / dayMs) + 4) % 7;
  return day === 0 || day === 6 ? 0.25 : 1;
};

/** Idle most of the time; once in each 20 minutes three minutes of full swing. */
function spike(load: Load, atMs: number): number {
  const round = Math.floor(atMs / spikeEveryMs);
  const startMs = round * spikeEveryMs + ratioOf(load.seed, round) * (spikeEveryMs - spikeMs);
  return atMs >= startMs && atMs < startMs + spikeMs ? 1 : 0;
}

const walk = (load: Load, atMs: number): number =>
  0.6 * noiseAt(load.seed, atMs / walkMs) + 0.4 * noiseAt(load.seed + 1, atMs / (walkMs / 7));

const shapes: Record<LoadShape, (load: Load, atMs: number) => number> = {
  constant: () => 0.5,
  diurnal: daylight,
  weekly: (load, atMs) => daylight(load, atMs) * workday(atMs),
  spike,
  walk,
};

/** Linear between the steps; after its end it begins anew. */
function recordedRatio({ startMs, stepMs, ratios }: Recording, atMs: number): number {
  const count = ratios.length;
  const place = (((atMs - startMs) / stepMs) % count) + (atMs < startMs ? count : 0);
  const before = Math.floor(place) % count;
  const from = ratios[before] ?? 0;
  const to = ratios[(before + 1) % count] ?? from;
  return from + (to - from) * (place - Math.floor(place));
}

export function wantedRatio(load: Load, atMs: number): number {
  if (load.recording) return Math.min(1, Math.max(0, recordedRatio(load.recording, atMs)));
  const jitter = 0.9 + 0.2 * noiseAt(load.seed + 2, atMs / jitterMs);
  return Math.min(
    1,
    Math.max(0.001, (load.base + load.swing * shapes[load.shape](load, atMs)) * jitter),
  );
}
