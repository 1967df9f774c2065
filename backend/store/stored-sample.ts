/**
 * A sample as it waits for the store: its numbers side by side in one array, so that the some 600
 * objects it was decoded from are garbage at once and not only after the next flush. Pure.
 */
import { guestMetrics, nodeMetrics } from '../../broker/contract/metrics.ts';
import type { GuestSample, NodeValues } from '../../broker/contract/telemetry.ts';
import type { StoredSample } from './ports.ts';

const nodeNames = nodeMetrics.map(({ name }) => name);
const guestNames = guestMetrics.map(({ name }) => name);

/** Where the values of a guest begin. */
export const guestOffset = (index: number): number => nodeNames.length + index * guestNames.length;

type Identity = Omit<StoredSample, 'values' | 'guests'>;
type Measured = {
  values: NodeValues;
  guests: readonly GuestSample[];
  /** Where decoding has them already. */
  numbers?: Float64Array | undefined;
  /** The guests of a sample before: where they are the same, their list is used again. */
  lastIds?: readonly string[] | undefined;
};

function numbersOf({ values, guests }: Measured): Float64Array {
  const numbers = new Float64Array(guestOffset(guests.length));
  let at = 0;
  for (const name of nodeNames) numbers[at++] = values[name] ?? NaN;
  for (const guest of guests) for (const name of guestNames) numbers[at++] = guest[name] ?? NaN;
  return numbers;
}

function idsOf({ guests, lastIds }: Measured): readonly string[] {
  const isSame =
    lastIds?.length === guests.length && guests.every(({ id }, index) => id === lastIds[index]);
  return isSame ? lastIds : guests.map(({ id }) => id);
}

export function storedSample(identity: Identity, measured: Measured): StoredSample {
  const { cluster, node, incarnation, seq, sampledAtMs } = identity;
  const guests = idsOf(measured);
  const values = measured.numbers ?? numbersOf(measured);
  return { cluster, node, incarnation, seq, sampledAtMs, values, guests };
}

/** The objects around its numbers; its list of guests is that of its node. */
const sampleBytes = 320;

/** What it takes in memory, near enough to bound how many wait. */
export const bytesOf = ({ values }: StoredSample): number => sampleBytes + values.byteLength;
