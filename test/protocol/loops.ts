/**
 * Lets the polling loops of a backend rest while a round could do nothing: nothing was committed
 * or heard since the last one began, and nothing in the store is due. The next round then comes at
 * the first tick of the loop's own pace at which that is no longer so, and every few seconds all
 * the same. The loop of the lease rests while the lease itself says that a look could bring
 * nothing. What a round does is untouched; only rounds that would do nothing are left out.
 */
import type { Cancel, Clock } from '../../broker/contract/ports.ts';
import { renewEveryMs } from '../../backend/act/lease.ts';
import type { Ledger } from './ledger.ts';

type Run = () => void | Promise<void>;
type Resting = { run: Run; sinceMs: number; everyMs: number; cancel: Cancel };

const restMaxMs = 10_000;
const relayEveryMs = 250;
/** The paces of relay and sweep; their `run` comes again and again as the same function. */
const paces: ReadonlySet<number> = new Set([relayEveryMs, 1_000]);

export type RestfulClock = Clock & { stir(): void };

export type RestDeps = {
  clock: Clock;
  ledger: Ledger;
  /** Whether a look at the leases could bring this backend anything. */
  mayLead: () => boolean;
};

export function restful({ clock, ledger, mayLead }: RestDeps): RestfulClock {
  const lastSeen = new Map<Run, number>();
  const resting = new Set<Resting>();
  let heard = 0;
  const stateNow = (): number => ledger.version * 2 ** 26 + heard;

  const delayOf = (everyMs: number): number => {
    const dueMs = ledger.nextDueMs(everyMs === relayEveryMs ? 'relay' : 'sweep');
    const waitMs = dueMs === null ? restMaxMs : Math.min(restMaxMs, dueMs - clock.wallMs());
    return Math.max(1, Math.ceil(waitMs / everyMs)) * everyMs;
  };
  const start = (run: Run): void | Promise<void> => {
    lastSeen.set(run, stateNow());
    return run();
  };
  const stir = (): void => {
    heard += 1;
    for (const rest of resting) {
      resting.delete(rest);
      rest.cancel();
      const passedMs = clock.monotonicMs() - rest.sinceMs;
      const delayMs = Math.max(1, Math.ceil(passedMs / rest.everyMs)) * rest.everyMs - passedMs;
      rest.cancel = clock.after(delayMs, () => start(rest.run));
    }
  };
  ledger.onVersion(stir);
  const afterPace = (run: Run): Cancel => {
    let cancel: Cancel = () => undefined;
    const arm = (): void => {
      cancel = clock.after(renewEveryMs, () => (mayLead() ? run() : arm()));
    };
    arm();
    return () => cancel();
  };
  return {
    ...clock,
    stir,
    after(delayMs, run) {
      if (delayMs === renewEveryMs) return afterPace(run);
      if (!paces.has(delayMs)) return clock.after(delayMs, run);
      const before = lastSeen.get(run);
      if (before === undefined) {
        // Seen once, it may be a timer of its own; a loop comes back.
        lastSeen.set(run, -1);
        return clock.after(delayMs, () => start(run));
      }
      const sinceMs = clock.monotonicMs();
      const restMs = before === stateNow() ? delayOf(delayMs) : delayMs;
      const rest: Resting = { run, sinceMs, everyMs: delayMs, cancel: () => undefined };
      rest.cancel = clock.after(restMs, () => {
        resting.delete(rest);
        return start(run);
      });
      resting.add(rest);
      return () => {
        resting.delete(rest);
        rest.cancel();
      };
    },
  };
}
