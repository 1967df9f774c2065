/**
 * Runs one thing again and again at its own pace, never twice at once. `wake` makes the next
 * round come early and tells it nothing. A round that fails because the store is away is tried
 * again next time; any other failure is ours and is not hidden.
 */
import type { Cancel, Clock, Log } from '../../broker/contract/ports.ts';
import { StoreUnavailable } from '../store/sql/errors.ts';
import { NotLeader } from './lease.ts';

export type Loop = { start(): void; wake(): void; stop(): Promise<void> };

export type LoopOptions = {
  name: string;
  clock: Clock;
  log: Log;
  everyMs: number;
  round: () => Promise<void>;
};

/** Whether a step may be given up for now: the store is away, or another backend leads. */
export const isPassing = (error: unknown): boolean =>
  error instanceof StoreUnavailable || error instanceof NotLeader;

export function createLoop({ name, clock, log, everyMs, round }: LoopOptions): Loop {
  let cancel: Cancel | undefined;
  let running: Promise<void> | undefined;
  let isStopped = true;
  let isWoken = false;

  async function guardedRound(): Promise<void> {
    try {
      await round();
    } catch (error) {
      if (!isPassing(error)) throw error;
      log.warn({ loop: name, err: error }, 'round given up, next one tries again');
    }
  }

  function schedule(delayMs: number): void {
    cancel?.();
    cancel = undefined;
    if (!isStopped) cancel = clock.after(delayMs, run);
  }

  async function run(): Promise<void> {
    if (isStopped) return;
    isWoken = false;
    running = guardedRound();
    try {
      await running;
    } finally {
      running = undefined;
    }
    schedule(isWoken ? 0 : everyMs);
  }

  return {
    start() {
      isStopped = false;
      schedule(everyMs);
    },
    wake() {
      if (isWoken) return;
      isWoken = true;
      if (!running) schedule(0);
    },
    async stop() {
      isStopped = true;
      cancel?.();
      await running?.catch(() => undefined);
    },
  };
}
