/**
 * Samples on their way to the store: a queue bounded by count and bytes, and at most one batch in
 * flight. Order is kept across failures. What no longer fits falls out at the old end and is
 * handed to the caller; nothing leaves silently. It keeps the numbers of its samples itself, for as
 * long as they are queued or in flight and no longer. Pure.
 */
import type { StoredSample } from '../store/ports.ts';
import { bytesOf } from '../store/stored-sample.ts';
import { type Block, createBlocks, giveBack, keep, type NumberBlocks } from './number-blocks.ts';

export type Entry = {
  readonly sample: StoredSample;
  readonly bytes: number;
  readonly block: Block;
};
export type BufferLimits = { samplesMax: number; bytesMax: number };

export type SampleBuffer = {
  limits: BufferLimits;
  /** Taken from `head`; the part before it is garbage. */
  queue: Entry[];
  head: number;
  flight: Entry[];
  /** Of queue and flight together: both are held in memory. */
  bytes: number;
  blocks: NumberBlocks;
};

export const createBuffer = (limits: BufferLimits): SampleBuffer => ({
  limits,
  queue: [],
  head: 0,
  flight: [],
  bytes: 0,
  blocks: createBlocks(),
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

function leave(buffer: SampleBuffer, { bytes, block }: Entry): void {
  buffer.bytes -= bytes;
  giveBack(buffer.blocks, block);
}

/** Drops queued samples, oldest first, until the rest fits; a batch in flight stays. */
function trim(buffer: SampleBuffer): Entry[] {
  const { samplesMax, bytesMax } = buffer.limits;
  const dropped: Entry[] = [];
  const isFull = () =>
    buffer.bytes > bytesMax || queuedCount(buffer) + buffer.flight.length > samplesMax;
  while (isFull() && queuedCount(buffer) > 0) {
    const entry = shift(buffer);
    leave(buffer, entry);
    dropped.push(entry);
  }
  return dropped;
}

/** Copies the numbers of the sample. Answers what fell out for it, without its numbers. */
export function push(buffer: SampleBuffer, sample: StoredSample): Entry[] {
  const { numbers, block } = keep(buffer.blocks, sample.values);
  const kept = { ...sample, values: numbers };
  const bytes = bytesOf(kept);
  buffer.queue.push({ sample: kept, bytes, block });
  buffer.bytes += bytes;
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
  for (const entry of buffer.flight) leave(buffer, entry);
  buffer.flight = [];
}

/** The batch failed: back to the old end, in order. */
export function turnedBack(buffer: SampleBuffer): void {
  buffer.queue = [...buffer.flight, ...buffer.queue.slice(buffer.head)];
  buffer.head = 0;
  buffer.flight = [];
}
