import { describe, expect, it } from 'vitest';
import { readIdleness, readLoad } from '../../../backend/act/guard-surroundings.ts';
import type { Step } from '../../../backend/act/step.ts';

const minute = 60_000;

/** The windows that the store is asked for. */
async function windows(cluster: { simulated: 0 | 1; time_scale: number }, loadWindowMs: number) {
  const asked: number[] = [];
  const loadOf = async (_at: object, windowMs: number) => {
    asked.push(windowMs);
    return null;
  };
  const step = { cluster: { id: 'home', ...cluster }, context: { loadOf } } as unknown as Step;
  await readLoad(step, 'n1', { loadWindowMs });
  await readIdleness(step, 'n1', { loadWindowMs });
  return asked;
}

describe('the past of a node that is to sleep', () => {
  it.each([10 * minute, 60 * minute, 1_440 * minute])(
    'is 40 minutes, when destinations are judged by %d ms',
    async (loadWindowMs) => {
      const real = { simulated: 0, time_scale: 1 } as const;
      expect(await windows(real, loadWindowMs)).toEqual([loadWindowMs, 40 * minute]);
    },
  );

  it('is as much shorter in a simulated cluster as its time is faster, and none without a past', async () => {
    const quick = { simulated: 1, time_scale: 60 } as const;
    expect(await windows(quick, minute)).toEqual([minute, 40_000]);
    expect(await windows(quick, 0)).toEqual([]);
  });
});
