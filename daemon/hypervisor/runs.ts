/**
 * What drivers share about effects under way: the memory of those this process ran, bounded, and a
 * wait that ends early when nobody wants the effect any more.
 */
import type { Clock } from '../../broker/contract/ports.ts';

/** What this process knows of the effect of a command; both times are monotonic. */
export type Run = {
  startedAtMs: number;
  /** Of a migration: whether the guest ran before it. */
  wasRunning?: boolean;
  /** `isOk`: what the tool or its task said at its end; null while it may be at work. */
  ended: { atMs: number; isOk: boolean } | null;
};

/** `qm reboot` ends when the guest is down; Proxmox gives its start 30 s and more for much memory. */
const upAgainMaxMs = 120_000;

/** Whether a guest that does not run now will not come up again by this restart. */
export function isDownForGood({ ended }: Run, nowMs: number): boolean {
  if (ended === null) return false;
  return !ended.isOk || nowMs >= ended.atMs + upAgainMaxMs;
}

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
