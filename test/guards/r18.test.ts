/** The short form of R18: two hours of a rogue engine, then half an hour without a working wake. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { runRogue } from './rogue.ts';

describe('an engine that proposes to switch everything off, again and again, should', () => {
  it('never pass the limiter, never cost the spare vote, and find the cluster frozen', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'kr-rogue-'));
    try {
      const figures = await runRogue(folder, { hours: 2, hoursAfterBreak: 0.5, seed: 1 });
      expect(figures.violations).toEqual([]);
      expect(figures.proposals).toBeGreaterThan(1_000);
      expect(figures.powerOffs).toBeGreaterThan(0);
      expect(figures.moves).toBeGreaterThan(0);
      expect(figures.powerOffsAfterFailedWake).toBe(0);
      expect(figures.isFrozenOrQuarantined).toBe(true);
      expect(figures.isAlarmed).toBe(true);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }, 400_000);
});
