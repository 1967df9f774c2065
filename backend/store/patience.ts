/**
 * For the few things that must be written before something can begin, and that hurt nobody when
 * they are written twice: they are tried until the SQL store answers. Any other failure is the
 * caller's at once. Everything else refuses while the store is away.
 */
import type { Clock, Log } from '../../broker/contract/ports.ts';
import { pause } from '../pause.ts';
import { StoreUnavailable } from './sql/errors.ts';

const tryEveryMs = 1_000;

export type Patience = { clock: Clock; log: Log; signal: AbortSignal };

/**
 * @param work begins anew each time
 * @throws what `work` throws beyond StoreUnavailable, and that, too, once the signal is given
 */
export async function whenStoreAnswers<T>(
  work: () => Promise<T>,
  { log, ...waiting }: Patience,
): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof StoreUnavailable) || waiting.signal.aborted) throw error;
      log.warn({ err: error }, 'waiting for the SQL store');
    }
    await pause(waiting, tryEveryMs);
  }
}
