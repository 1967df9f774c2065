/**
 * Replays every sabotage at its recorded seed: the simulation must still see it there, and must
 * find nothing at that seed in the product itself. Whether type check and unit tests let each one
 * pass is the longer procedure of main.ts.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { simulate } from '../protocol/simulation.ts';
import { openWorkshop } from '../protocol/workshop.ts';
import { allSabotages, type Found, type Group, inCopy, simulateIn, type Tier } from './copy.ts';

/** SAFETY 3.4, by name. */
const nine = [
  'indeterminate-is-failed',
  'journal-after-exec',
  'no-cas',
  'no-claim',
  'no-epoch-fence',
  'no-journal',
  'no-tombstone',
  'optimistic-vote-budget',
  'rerun-of-started',
];
const seedMax = 10_000;
const workers = 2;
const replayMaxMs = 600_000;
const sabotages = allSabotages();
const countOf = (group: Group): number => sabotages.filter((one) => one.group === group).length;

describe('the sabotages', () => {
  it('are thirty or more, the nine of the model among them, in guards and in journal bytes', () => {
    expect(sabotages.length).toBeGreaterThanOrEqual(30);
    expect(sabotages.map(({ name }) => name)).toEqual(expect.arrayContaining(nine));
    expect(countOf('guards')).toBeGreaterThanOrEqual(10);
    expect(countOf('journal')).toBeGreaterThanOrEqual(5);
  });

  it.each(sabotages)('$name changes the product alone, and names its seed and judge', (one) => {
    expect(one.changes.length).toBeGreaterThan(0);
    for (const file of one.changes) expect(file).toMatch(/^(?:backend|broker|daemon)\/.+\.ts$/);
    expect(one.seed).toBeGreaterThanOrEqual(1);
    expect(one.seed).toBeLessThanOrEqual(seedMax);
    expect(one.judge).toMatch(/^(?:[A-Z]+-?\d+ ?)+$/);
  });
});

describe('the simulation', () => {
  const found = new Map<string, Found | null>();
  beforeAll(async () => {
    const waiting = [...sabotages];
    const work = (): Promise<void> =>
      inCopy(async (copy) => {
        for (let one = waiting.shift(); one; one = waiting.shift()) {
          const { name, tier, seed: from } = one;
          const replayed = await copy.broken(one, () =>
            simulateIn(copy.folder, { tier, from, seeds: 1 }),
          );
          found.set(name, replayed);
        }
      });
    await Promise.all(Array.from({ length: workers }, work));
  }, replayMaxMs);

  it.each(sabotages)('sees $name at seed $seed', ({ name, seed, judge }) => {
    const seen = found.get(name);
    expect(seen?.seed).toBe(seed);
    // A change elsewhere may let it be seen by one judge more, or by one less.
    const recorded = judge.split(' ');
    expect(seen?.judge.split(' ').some((id) => recorded.includes(id))).toBe(true);
  });

  it.each([...new Set(sabotages.map(({ tier }) => tier))])(
    'finds nothing at the recorded seeds of tier %s in the product itself',
    async (tier: Tier) => {
      const workshop = await openWorkshop(tier);
      const seeds = sabotages.filter((one) => one.tier === tier).map(({ seed }) => seed);
      for (const seed of new Set(seeds)) {
        const { violations } = await simulate(seed, workshop, 'nothing');
        expect(violations, `seed ${seed}`).toEqual([]);
      }
    },
    replayMaxMs,
  );
});
