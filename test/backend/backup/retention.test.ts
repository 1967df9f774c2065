import { array, assert, integer, property } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { keptTimes } from '../../../backend/backup/retention.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const nowMs = Date.parse('2026-11-20T12:00:00Z');
const quarterHourly = (days: number) =>
  Array.from({ length: days * 96 }, (_, index) => nowMs - index * (hourMs / 4));

describe('the backups that are kept', () => {
  it('are all of a day, one a day for a week and one a week for four weeks', () => {
    const kept = [...keptTimes(quarterHourly(60), nowMs)].sort((a, b) => b - a);
    const within = (fromMs: number, toMs: number) =>
      kept.filter((atMs) => nowMs - atMs >= fromMs && nowMs - atMs < toMs).length;
    expect(within(0, dayMs)).toBe(96);
    expect(within(dayMs, 7 * dayMs)).toBe(6);
    expect(within(7 * dayMs, 28 * dayMs)).toBe(3);
    expect(within(28 * dayMs, 60 * dayMs)).toBe(0);
  });

  it('never lack the newest one, however old it is', () => {
    expect([...keptTimes([nowMs - 400 * dayMs, nowMs - 500 * dayMs], nowMs)]).toEqual([
      nowMs - 400 * dayMs,
    ]);
    expect(keptTimes([], nowMs).size).toBe(0);
  });

  it('stay kept when pruning is repeated, and only shrink with time', () => {
    assert(
      property(
        array(integer({ min: nowMs - 60 * dayMs, max: nowMs }), { maxLength: 200 }),
        integer({ min: 0, max: 10 * dayMs }),
        (times, laterMs) => {
          const kept = keptTimes(times, nowMs);
          expect(keptTimes([...kept], nowMs)).toEqual(kept);
          for (const atMs of keptTimes([...kept], nowMs + laterMs))
            expect(kept.has(atMs)).toBe(true);
        },
      ),
    );
  });
});
