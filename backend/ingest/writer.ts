/**
 * Brings buffered samples into the store: one batch in flight, every second or as soon as a batch
 * waits. A batch that fails goes back to the front and is tried again after a growing pause;
 * meanwhile the buffer may overflow, and what falls out is the daemons' to send again. While more
 * waits, nothing on the way needs a timer: with thousands of sockets readable at once the event loop
 * reaches none for seconds, and each step of a write waits for a whole round of them.
 */
import type { Cancel, Clock, Log } from '../../broker/contract/ports.ts';
import type { MetricsStore, StoredSample } from '../store/ports.ts';
import { landed, queuedCount, type SampleBuffer, takeOff, turnedBack } from './buffer.ts';

const flushEveryMs = 1_000;
/** 2.5 s of 2048 nodes at 5 s; so many are not made to wait for the second. */
const batchSamplesMin = 1_024;
/** Behind, a larger batch drains faster; with 20 guests each, 100 ms of work in this thread. */
const batchSamplesMax = 4_096;
const retryFirstMs = 500;
const retryMaxMs = 30_000;

export type WriterDeps = {
  buffer: SampleBuffer;
  store: Pick<MetricsStore, 'write'>;
  clock: Clock;
  log: Log;
  onStored(samples: readonly StoredSample[]): void;
  onFailed(): void;
};

export type Writer = {
  start(): void;
  /** Called when a sample was queued. */
  wake(): void;
  /** Writes what is queued, once, as long as the store takes it. */
  stop(): Promise<void>;
};

export function createWriter(deps: WriterDeps): Writer {
  const { buffer, store, clock, log } = deps;
  let writing: Promise<boolean> | null = null;
  let failures = 0;
  let retryAtMs = 0;
  let cancelTimer: Cancel = () => undefined;
  let isStopping = false;

  function failed(error: unknown): void {
    turnedBack(buffer);
    const delayMs = Math.min(retryMaxMs, retryFirstMs * 2 ** Math.min(failures, 10));
    failures += 1;
    retryAtMs = clock.monotonicMs() + delayMs;
    deps.onFailed();
    const fields = { err: error, queued: queuedCount(buffer), failures, delayMs };
    log.warn(fields, 'samples not stored, will be tried again');
  }

  /** False when the store did not take it. */
  async function writeBatch(): Promise<boolean> {
    takeOff(buffer, batchSamplesMax);
    const samples = buffer.flight.map(({ sample }) => sample);
    if (samples.length === 0) return true;
    try {
      await store.write(samples);
    } catch (error) {
      failed(error);
      return false;
    }
    landed(buffer);
    if (failures > 0) log.info({ failures }, 'samples are stored again');
    failures = 0;
    deps.onStored(samples);
    return true;
  }

  async function flush(): Promise<boolean> {
    writing = writeBatch();
    const isTaken = await writing;
    writing = null;
    wake();
    return isTaken;
  }

  const isReady = () =>
    writing === null && queuedCount(buffer) > 0 && clock.monotonicMs() >= retryAtMs;

  function wake(): void {
    if (!isStopping && isReady() && queuedCount(buffer) >= batchSamplesMin) void flush();
  }

  const loop = (): void => {
    cancelTimer = clock.after(flushEveryMs, () => {
      if (isReady()) void flush();
      loop();
    });
  };

  return {
    start: loop,
    wake,
    async stop() {
      cancelTimer();
      isStopping = true;
      await writing;
      let isTaken = true;
      while (isTaken && queuedCount(buffer) > 0) isTaken = await flush();
    },
  };
}
