/** Samples for store tests, valid by default and changed where a test cares. */
import type { StoredSample } from '../../backend/store/ports.ts';
import { storedSample } from '../../backend/store/stored-sample.ts';
import type { GuestSample, NodeValues } from '../../broker/contract/telemetry.ts';
import { guestSample, nodeValues } from '../support/messages.ts';

export const startMs = 1_800_000_000_000;

export type Change = Partial<Omit<StoredSample, 'values' | 'guests'>> & {
  values?: NodeValues;
  guests?: readonly GuestSample[];
};

export function sampleOf(seq: number, change: Change = {}): StoredSample {
  const {
    values = nodeValues({ cpuRatio: seq / 100 }),
    guests = [guestSample('100', { cpuRatio: seq / 50, memoryUsedBytes: null })],
    ...rest
  } = change;
  const identity = { cluster: 'home', node: 'n1', incarnation: 1, seq };
  const sampledAtMs = startMs + seq * 5_000;
  return storedSample({ ...identity, sampledAtMs, ...rest }, { values, guests });
}
