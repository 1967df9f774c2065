/**
 * Starts the daemons of a fleet in order, some at a time, and no more in a second than was asked
 * for: a broker checks the credentials of only so many at once from one address.
 */
import type { Cancel, Clock } from '../broker/contract/ports.ts';
import type { Seat } from './seat.ts';

/** Fewer than the broker lets wait for their credentials to be checked from one address. */
const connectingMax = 24;
const connectPatienceMs = 2_000;

const beginAndConnect = (clock: Clock, seat: Seat): Promise<void> =>
  new Promise((resolve) => {
    const cancel = clock.after(connectPatienceMs, () => resolve());
    void seat.begin(() => {
      cancel();
      resolve();
    });
  });

/** `ratePerSecond`: null lets them come as fast as the broker takes them. */
export function createStarter(clock: Clock, ratePerSecond: number | null) {
  const waiting: Seat[] = [];
  let working = 0;
  let nextAtMs = -Infinity;
  let cancel: Cancel | undefined;

  function isTooEarly(): boolean {
    if (ratePerSecond === null) return false;
    const nowMs = clock.monotonicMs();
    const waitMs = nextAtMs - nowMs;
    if (waitMs > 0) {
      cancel ??= clock.after(Math.ceil(waitMs), () => {
        cancel = undefined;
        pump();
      });
      return true;
    }
    // A timer that came late is made up for, but never by more than a tenth of a second.
    nextAtMs = Math.max(nextAtMs, nowMs - 100) + 1_000 / ratePerSecond;
    return false;
  }
  async function startOne(seat: Seat): Promise<void> {
    await beginAndConnect(clock, seat);
    working -= 1;
    pump();
  }
  function pump(): void {
    while (waiting.length > 0 && working < connectingMax && !isTooEarly()) {
      const seat = waiting.shift() as Seat;
      working += 1;
      void startOne(seat);
    }
  }
  return {
    add(seats: readonly Seat[]): void {
      waiting.push(...seats);
      pump();
    },
    remove(seats: ReadonlySet<Seat>): void {
      waiting.splice(0, waiting.length, ...waiting.filter((seat) => !seats.has(seat)));
    },
    isBusy: () => waiting.length > 0 || working > 0,
  };
}
