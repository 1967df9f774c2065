import { describe, expect, it } from 'vitest';
import { compareHouse } from './houses/compare.ts';
import { drawHouse } from './houses/draw.ts';

const short = { days: 2, roundMs: 60_000 };

describe('a backtest of a generated house', () => {
  it.each([2, 7, 18])(
    'foretells what then happens under the guards of production: house %i',
    async (seed) => {
      const found = await compareHouse(seed, short);
      const { foretoldKwh, livedKwh, alwaysOnKwh, permittedKwh } = found;
      expect(Math.abs(foretoldKwh / livedKwh - 1)).toBeLessThan(0.05);
      expect(Math.abs(found.foretoldMoves - found.livedMoves)).toBeLessThanOrEqual(
        0.1 * found.livedMoves,
      );
      expect(found.livedMoves).toBeGreaterThan(0);
      // Nobody gets below what the guards permit. In so short a time the first waits weigh much.
      expect(livedKwh).toBeGreaterThanOrEqual(permittedKwh);
      expect(alwaysOnKwh - livedKwh).toBeGreaterThan(0.5 * (alwaysOnKwh - permittedKwh));
    },
  );

  it('has no saving to foretell where votes keep every node awake', async () => {
    const { house } = drawHouse(4, 0);
    expect(house).toMatchObject({ nodes: 3, votes: true });
    const found = await compareHouse(4, { ...short, days: 1 });
    expect([found.foretoldSleeps, found.livedSleeps]).toEqual([0, 0]);
    expect(found.foretoldKwh / found.alwaysOnKwh).toBeCloseTo(1, 2);
  });
});
