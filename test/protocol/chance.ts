/** Draws of one seed, in words. Everything that is not certain in a simulation comes from here. */
import type { Random } from '../../broker/contract/ports.ts';
import { seededRandom } from '../support/clock.ts';

export type Chance = Random & {
  /** True so often in one. */
  is(share: number): boolean;
  between(low: number, high: number): number;
  /** A whole number of [low, high]. */
  whole(low: number, high: number): number;
  pick<T>(items: readonly T[]): T;
};

export function chanceOf(seed: number): Chance {
  const random = seededRandom(seed);
  const ratio = (): number => random.ratio();
  return {
    ...random,
    is: (share) => ratio() < share,
    between: (low, high) => low + ratio() * (high - low),
    whole: (low, high) => low + Math.floor(ratio() * (high - low + 1)),
    pick: <T>(items: readonly T[]) => items[Math.floor(ratio() * items.length)] as T,
  };
}
