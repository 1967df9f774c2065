/** Waits, but no longer than the person does. */
import type { Clock } from '../../broker/contract/ports.ts';

export const pause = (
  { clock, signal }: { clock: Clock; signal: AbortSignal },
  ms: number,
): Promise<void> =>
  new Promise((resolve) => {
    const cancel = clock.after(ms, resolve);
    const onAbort = (): void => {
      cancel();
      resolve();
    };
    signal.addEventListener('abort', onAbort, { once: true });
  });
