/** Samples for store tests, valid by default and changed where a test cares. */
import type { StoredSample } from '../../backend/store/ports.ts';
import { guestSample, nodeValues } from '../support/messages.ts';

export const startMs = 1_800_000_000_000;

export const sampleOf = (seq: number, change: Partial<StoredSample> = {}): StoredSample => ({
  cluster: 'home',
  node: 'n1',
  incarnation: 1,
  seq,
  sampledAtMs: startMs + seq * 5_000,
  values: nodeValues({ cpuRatio: seq / 100 }),
  guests: [guestSample('100', { cpuRatio: seq / 50, memoryUsedBytes: null })],
  ...change,
});
