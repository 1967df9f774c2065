/** The full tier in CI: real codec, Kysely on SQLite, real signatures, torn disks. */
import { describe, expect, it } from 'vitest';
import { expectEvidence, patienceMs } from './evidence.ts';
import { simulate } from './simulation.ts';
import { openWorkshop } from './workshop.ts';

describe('the production protocol with its real codec, store and signatures', () => {
  it(
    'keeps every invariant in each seed, and enough happens for that to count',
    async () => {
      const { tornWrites, powerOffs } = await expectEvidence('full', 300);
      expect(Math.min(tornWrites, powerOffs)).toBeGreaterThan(0);
    },
    patienceMs,
  );

  it('gives another event log for another seed', async () => {
    const workshop = await openWorkshop('full');
    const [first, again, other] = [
      await simulate(5, workshop),
      await simulate(5, workshop),
      await simulate(6, workshop),
    ];
    expect(again.hash).toBe(first.hash);
    expect(other.hash).not.toBe(first.hash);
  }, 60_000);
});
