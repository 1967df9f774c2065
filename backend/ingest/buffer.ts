/**
 * Samples on their way to the store: a queue bounded by count and bytes, and at most one batch in
 * flight. Order is kept across failures. What no longer fits falls out at the old end and is
 * handed to the caller; nothing leaves silently. Pure.
 */
import type { StoredSample } from '../store/ports.ts';

export type Entry = { sample: StoredSample; bytes: number };
export type BufferLimits = { samplesMax: number; bytesMax: number };

export type SampleBuffer = {
  limits: BufferLimits;
  /** Taken from `head`; the part before it is garbage. */
  queue: Entry[];
  head: number;
  flight: Entry[];
  /** Of queue and flight together: both are held in memory. */
  bytes: number;
};

export const createBuffer = (limits: BufferLimits): SampleBuffer => ({
  limits,
  queue: [],
  head: 0,
  flight: [],
  bytes: 0,
});

export const queuedCount = ({ queue, head }: SampleBuffer): number => queue.length - head;

function shift(buffer: SampleBuffer): Entry {
  const entry = buffer.queue[buffer.head] as Entry;
  buffer.head += 1;
  // Moving the rest costs its length, so only when that is no more than what it frees.
  if (buffer.head * 2 > buffer.queue.length) {
    buffer.queue = buffer.queue.slice(buffer.head);
    buffer.head = 0;
  }
  return entry;
}

/** Drops queued samples, oldest first, until the rest fits; a batch in flight stays. */
function trim(buffer: SampleBuffer): Entry[] {
  const { samplesMax, bytesMax } = buffer.limits;
  const dropped: Entry[] = [];
  const isFull = () =>
    buffer.bytes > bytesMax || queuedCount(buffer) + buffer.flight.length > samplesMax;
  while (isFull() && queuedCount(buffer) > 0) {
    const entry = shift(buffer);
    buffer.bytes -= entry.bytes;
    dropped.push(entry);
  }
  return dropped;
}

export function push(buffer: SampleBuffer, entry: Entry): Entry[] {
  buffer.queue.push(entry);
  buffer.bytes += entry.bytes;
  return trim(buffer);
}

/** Moves up to `count` samples into flight. Only while nothing is in flight. */
export function takeOff(buffer: SampleBuffer, count: number): void {
  while (buffer.flight.length < count && queuedCount(buffer) > 0) {
    buffer.flight.push(shift(buffer));
  }
}

/** The batch is stored. */
export function landed(buffer: SampleBuffer): void {
  for (const { bytes } of buffer.flight) buffer.bytes -= bytes;
  buffer.flight = [];
}

/** The batch failed: back to the old end, in order. */
export function turnedBack(buffer: SampleBuffer): void {
  buffer.queue = [...buffer.flight, ...buffer.queue.slice(buffer.head)];
  buffer.head = 0;
  buffer.flight = [];
}
