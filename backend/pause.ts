/** Waits, but no longer than whoever asked does. */
import type { Clock } from '../broker/contract/ports.ts';

export const pause = (
  { clock, signal }: { clock: Clock; signal: AbortSignal },
  ms: number,
): Promise<void> =>
  new Promise((resolve) => {
    const onAbort = (): void => {
      cancel();
      resolve();
    };
    // Who follows something for hours must not gather a listener a second.
    const cancel = clock.after(ms, () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
    signal.addEventListener('abort', onAbort, { once: true });
  });
