/**
 * Gives the sockets of a broker a share of each turn of the event loop and no more. libuv asks up to 48
 * times in a row for readable sockets, 1,024 at a time, before it comes to a timer: where thousands
 * send each second that is seconds in which nothing else happens, and a step of the store waits for
 * a whole round of sockets each. What is over the share is handled first in the next turn, in order
 * of arrival; the stream it belongs to is read no further until then, so that the rest waits with
 * its sender and not here.
 */
import type { Clock } from './contract/ports.ts';

export const shareMs = 20;

export type Turns = {
  /** Does it now and answers what it answers; or later, and answers false. */
  take(work: () => boolean): boolean;
};

export function createTurns(clock: Pick<Clock, 'after' | 'monotonicMs'>): Turns {
  let waiting: (() => boolean)[] = [];
  let isScheduled = false;
  let beganAtMs = 0;
  const hasTime = (): boolean => clock.monotonicMs() - beganAtMs < shareMs;

  function schedule(): void {
    if (isScheduled) return;
    isScheduled = true;
    clock.after(0, next);
  }

  function next(): void {
    isScheduled = false;
    if (waiting.length === 0) return;
    beganAtMs = clock.monotonicMs();
    handle(0);
  }

  /** The first one always, so that even an overloaded machine gets on. */
  function handle(at: number): void {
    if (at === waiting.length || (at > 0 && !hasTime())) {
      waiting = waiting.slice(at);
      schedule();
      return;
    }
    try {
      waiting[at]?.();
    } finally {
      // A stream tells its reader in a tick of its own: only after that is known how long it took.
      process.nextTick(handle, at + 1);
    }
  }

  return {
    take(work) {
      if (!isScheduled) beganAtMs = clock.monotonicMs();
      schedule();
      if (waiting.length === 0 && hasTime()) return work();
      waiting.push(work);
      return false;
    },
  };
}
