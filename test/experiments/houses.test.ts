/** The short form: a night of 24 s in the two smallest houses, and a house that loses its server. */
import { expect, it } from 'vitest';
import { quietScope } from '../support/experiment.ts';
import { houses } from './houses.ts';

type Cost = { kilowattHours: number; alwaysOnKilowattHours: number };

it('saves a night of power in small houses, and wakes all when the server is lost', async () => {
  const figures = await houses.run(quietScope(houses.short));
  expect(figures.violations).toEqual([]);
  expect(figures).toMatchObject({ blackout: { asleep: 3, woken: 3, otherEffects: 0 } });
  for (const cost of Object.values(figures['night'] as Record<string, Cost | []>)) {
    if (Array.isArray(cost)) continue;
    expect(cost.kilowattHours).toBeLessThan(cost.alwaysOnKilowattHours);
  }
  expect(figures['own']).toHaveLength(3);
}, 300_000);
