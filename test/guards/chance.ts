/** Draws from one seeded source, in words. */
import type { Random } from '../../broker/contract/ports.ts';

export type Chance = {
  ratio(): number;
  of(probability: number): boolean;
  /** Both ends included. */
  whole(low: number, high: number): number;
  pick<T>(list: readonly T[]): T;
};

export function chanceOf(random: Random): Chance {
  const whole = (low: number, high: number): number =>
    low + Math.floor(random.ratio() * (high - low + 1));
  return {
    ratio: () => random.ratio(),
    of: (probability) => random.ratio() < probability,
    whole,
    pick(list) {
      const item = list[whole(0, list.length - 1)];
      if (item === undefined && list.length === 0) throw new Error('nothing to pick from');
      return item as (typeof list)[number];
    },
  };
}
