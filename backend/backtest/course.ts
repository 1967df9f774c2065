/**
 * The course of a backtest, for charts: sums so far, as it was and as replayed, at equal distances
 * of time. Pure; bounded however long the time is.
 */
import type { Run } from './outcome.ts';

/** Sums from the beginning up to `atMs`. */
export type CoursePoint = {
  atMs: number;
  recordedKwh: number;
  replayedKwh: number;
  recordedMinutesOver: number;
  replayedMinutesOver: number;
  moves: number;
};

const pointsMax = 240;

export class Course {
  private readonly kept: CoursePoint[] = [];
  private latest: CoursePoint | null = null;
  private readonly everyMs: number;
  private nextMs: number;

  constructor({ fromMs, toMs }: { fromMs: number; toMs: number }) {
    this.everyMs = (toMs - fromMs) / pointsMax;
    this.nextMs = fromMs + this.everyMs;
  }

  /** Told after every step; keeps the first of each stretch, and the last of all. */
  mark(atMs: number, sums: { recorded: Run; replayed: Run; moves: number }): void {
    const { recorded, replayed, moves } = sums;
    this.latest = {
      atMs,
      recordedKwh: recorded.kwh,
      replayedKwh: replayed.kwh,
      recordedMinutesOver: recorded.minutesOver,
      replayedMinutesOver: replayed.minutesOver,
      moves,
    };
    if (atMs < this.nextMs) return;
    this.nextMs = atMs + this.everyMs;
    this.kept.push(this.latest);
  }

  points(): CoursePoint[] {
    const { kept, latest } = this;
    return latest === null || kept.at(-1) === latest ? kept : [...kept, latest];
  }
}
