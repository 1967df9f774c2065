/**
 * The machines and guests of the public benchmark, as CloudSim 3.0.3 defines them for the PlanetLab
 * experiments: two server models with their SPECpower curves and four guest sizes. Only numbers
 * and the arithmetic on them; what happens over time is in the worlds.
 *
 * Source: CloudSim 3.0.3 `Constants.java`, `PlanetLabConstants.java`, `Helper.createVmList`.
 */
import type { Trace } from './trace.ts';

export type HostModel = {
  name: string;
  cores: number;
  /** MIPS of one core and of all of them. */
  coreMips: number;
  mips: number;
  ramMb: number;
  /** Watts at 0, 10, .. 100 % of `mips`. */
  watts: readonly number[];
};

export type Hosts = {
  count: number;
  modelOf: readonly HostModel[];
};

export const ml110g4: HostModel = {
  name: 'HP ML110 G4',
  cores: 2,
  coreMips: 1860,
  mips: 3720,
  ramMb: 4096,
  watts: [86, 89.4, 92.6, 96, 99.5, 102, 106, 108, 112, 114, 117],
};

export const ml110g5: HostModel = {
  name: 'HP ML110 G5',
  cores: 2,
  coreMips: 2660,
  mips: 5320,
  ramMb: 4096,
  watts: [93.7, 97, 101, 105, 110, 116, 121, 125, 129, 133, 135],
};

export const planetlabHostCount = 800;

/**
 * A host of 16 cores for traces of big guests, with the curve of an IBM System x3550 M3 (Xeon
 * X5675), SPECpower_ssj2008 result 20110406-00368; a MHz counts as a MIPS.
 */
export const bigHost: HostModel = {
  name: '16 cores, 256 GB',
  cores: 16,
  coreMips: 2926,
  mips: 16 * 2926,
  ramMb: 256 * 1024,
  watts: [58.4, 98, 109, 118, 128, 140, 153, 170, 189, 205, 222],
};

export const bigHosts = (count: number): Hosts => ({
  count,
  modelOf: Array.from({ length: count }, () => bigHost),
});

/** Even places are G4, odd ones G5. */
export const planetlabHosts = (count = planetlabHostCount): Hosts => ({
  count,
  modelOf: Array.from({ length: count }, (_, host) => (host % 2 === 0 ? ml110g4 : ml110g5)),
});

const guestTypes = [
  { mips: 2500, ramMb: 870 },
  { mips: 2000, ramMb: 1740 },
  { mips: 1000, ramMb: 1740 },
  { mips: 500, ramMb: 613 },
] as const;

/** Half of the 1 Gbit/s of the target carries the copy: 62.5 MB/s. */
export const copyMbPerSecond = 62.5;

/** The type of a guest is the quarter of the file order in which it stands. */
export function planetlabGuests(count: number): Pick<Trace, 'mips' | 'cores' | 'ramMb'> {
  const perType = Math.ceil(count / guestTypes.length);
  const typeOf = (guest: number) => guestTypes[Math.floor(guest / perType)]!;
  return {
    mips: Float64Array.from({ length: count }, (_, guest) => typeOf(guest).mips),
    cores: new Float64Array(count).fill(1),
    ramMb: Float64Array.from({ length: count }, (_, guest) => typeOf(guest).ramMb),
  };
}

/**
 * Watts at a utilisation of 0..1, linear between the points of the curve. The comparison with a
 * multiple of 0.1 and the order of the operations are CloudSim's, so that the last digit agrees.
 */
export function wattsAt(model: HostModel, utilisation: number): number {
  if (utilisation < 0 || utilisation > 1) {
    throw new RangeError(`utilisation ${utilisation} lies outside 0..1`);
  }
  if (utilisation % 0.1 === 0) return model.watts[Math.trunc(utilisation * 10)]!;
  const low = Math.floor(utilisation * 10);
  const high = Math.ceil(utilisation * 10);
  const below = model.watts[low]!;
  const delta = (model.watts[high]! - below) / 10;
  return below + delta * (utilisation - low / 10) * 100;
}
