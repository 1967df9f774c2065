/**
 * Gives the sockets of a broker a share of each turn of the event loop and no more. libuv asks up to 48
 * times in a row for readable sockets, 1,024 at a time, before it comes to a timer: where thousands
 * send each second that is seconds in which nothing else happens, and a step of the store waits for
 * a whole round of sockets each. What is over the share is handled first in the next turn, in order
 * of arrival. The stream it belongs to is read no further until then, and only while few wait, so
 * that the rest waits with its sender and not here.
 */
import type { Clock } from './contract/ports.ts';

export const shareMs = 20;
/** More than a share can do, and at 64 kB a read 16 MB. */
export const waitingMax = 256;

export type Turns = {
  /** Does it now and answers what it answers; or later, and answers false. */
  take(work: () => boolean): boolean;
  /** Asks for more to take: at once unless too many wait already. */
  ask(read: () => void): void;
};

export function createTurns(clock: Pick<Clock, 'after' | 'monotonicMs'>): Turns {
  let waiting: (() => boolean)[] = [];
  let held: (() => void)[] = [];
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
    beganAtMs = clock.monotonicMs();
    if (waiting.length > 0) handle(0);
    else if (held.length > 0) readOn();
  }

  /** The first one always, so that even an overloaded machine gets on. */
  function handle(at: number): void {
    if (at === waiting.length || (at > 0 && !hasTime())) {
      waiting = waiting.slice(at);
      readOn();
      return;
    }
    try {
      waiting[at]?.();
    } finally {
      // A stream tells its reader in a tick of its own: only after that is known how long it took.
      process.nextTick(handle, at + 1);
    }
  }

  function readOn(): void {
    schedule();
    const room = Math.max(0, waitingMax - waiting.length);
    const due = held.slice(0, room);
    held = held.slice(room);
    for (const read of due) read();
  }

  return {
    take(work) {
      if (!isScheduled) beganAtMs = clock.monotonicMs();
      schedule();
      if (waiting.length === 0 && hasTime()) return work();
      waiting.push(work);
      return false;
    },
    ask(read) {
      if (waiting.length < waitingMax && held.length === 0) return read();
      held.push(read);
      return schedule();
    },
  };
}
