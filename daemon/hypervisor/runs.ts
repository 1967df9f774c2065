/**
 * What drivers share about effects under way: the memory of those this process ran, bounded, and a
 * wait that ends early when nobody wants the effect any more.
 */
import type { Clock } from '../../broker/contract/ports.ts';

/** What this process knows of the effect of a command. */
export type Run = { startedAtMs: number; hasEnded: boolean };

/** So many are remembered, to tell a restart that happened from one that did not. */
const runsMax = 64;

/** Remembers a run and forgets the oldest beyond the bound. */
export function keep<R>(runs: Map<string, R>, commandId: string, run: R): R {
  runs.set(commandId, run);
  const [oldest] = runs.keys();
  if (runs.size > runsMax && oldest !== undefined) runs.delete(oldest);
  return run;
}

/** Waits on the passed clock; ends early, quietly, when the signal fires. */
export const pause = (clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const wakeUp = (): void => {
      cancel();
      signal.removeEventListener('abort', wakeUp);
      resolve();
    };
    const cancel = clock.after(delayMs, wakeUp);
    signal.addEventListener('abort', wakeUp, { once: true });
  });
