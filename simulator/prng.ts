/**
 * Seeded chance. Everything random in a simulation comes from here, so that one seed is one run.
 * `noiseAt` is a pure function of (seed, place): the load of a guest at any moment needs no state
 * and no history, which keeps sampling lazy and cheap.
 */
import type { Random } from '../broker/contract/ports.ts';

/** Finaliser of MurmurHash3: every input bit reaches every output bit. */
function mix(value: number): number {
  let mixed = value | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

const golden = 0x9e3779b9;

/** A seed made of a seed and a number; different numbers give unrelated seeds. */
export const seedOf = (seed: number, salt: number): number =>
  mix(Math.imul(seed, 31) ^ mix(salt + golden));

/** A seed made of a seed and a name (FNV-1a over UTF-16 units). */
export function seedOfName(seed: number, name: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < name.length; index += 1) {
    hash = Math.imul(hash ^ name.charCodeAt(index), 0x01000193);
  }
  return seedOf(seed, hash);
}

/** Uniform in [0, 1), the same for the same pair. */
export const ratioOf = (seed: number, salt: number): number => seedOf(seed, salt) / 2 ** 32;

/** Smooth value noise in [0, 1): a lattice of draws at whole numbers, eased in between. */
export function noiseAt(seed: number, place: number): number {
  const cell = Math.floor(place);
  const inside = place - cell;
  const eased = inside * inside * (3 - 2 * inside);
  const left = ratioOf(seed, cell);
  return left + (ratioOf(seed, cell + 1) - left) * eased;
}

/** splitmix32: one word of state, full period, replayable by its seed. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const word = (): number => {
    state = (state + golden) >>> 0;
    return mix(state);
  };
  return {
    ratio: () => word() / 2 ** 32,
    bytes: (count) => Uint8Array.from({ length: count }, () => word() >>> 24),
  };
}

/** A whole number in [low, high]. */
export const between = (random: Random, low: number, high: number): number =>
  low + Math.floor(random.ratio() * (high - low + 1));

/** One element of a list that is not empty. */
export function pick<T>(random: Random, items: readonly T[]): T {
  const item = items[Math.floor(random.ratio() * items.length)];
  if (item === undefined) throw new RangeError('nothing to pick from');
  return item;
}
