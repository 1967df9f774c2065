/**
 * Whether a database that works for us still speaks. While work is under way it is asked beside it;
 * without an answer it is first suspected, which costs nobody anything but a "not now", and after
 * some seconds taken for gone. Time counts in looks and not by the clock: a process that was itself
 * stopped reads the answers that have come meanwhile before it looks again.
 *
 *   quiet --work--> asking --answer--> quiet
 *                     '--3 looks--> suspected --10 looks--> gone
 */
import type { Cancel, Clock } from '../../../broker/contract/ports.ts';

export type Watched = {
  clock: Clock;
  isBusy: () => boolean;
  /** Resolves when the database answers; a refusal is an answer, unless it took its time. */
  ask: () => Promise<void>;
  onSuspect: () => void;
  onAnswer: () => void;
  onGone: () => void;
};

const lookEveryMs = 250;
/** 750 ms: a loaded machine answers a ping later than an idle one, but not so late. */
const suspectLooks = 3;
/** 2.5 s: more than the two seconds for which a statement of ours may wait for a lock. */
const goneLooks = 10;

export function watchSilence(watched: Watched): { watch(): void; stop(): void } {
  const { clock, isBusy, ask, onSuspect, onAnswer, onGone } = watched;
  let cancel: Cancel | null = null;
  let isStopped = false;
  let asking: object | null = null;
  let looks = 0;

  const begin = async (): Promise<void> => {
    const own = {};
    asking = own;
    try {
      await ask();
      if (asking !== own) return;
      if (looks >= suspectLooks) onAnswer();
      looks = 0;
    } catch {
      // Refused at once it says so to everybody itself; refused late it was as good as silent.
      if (asking === own && looks < suspectLooks) looks = 0;
    } finally {
      if (asking === own) asking = null;
    }
  };

  const look = (): void => {
    cancel = null;
    // A suspicion is never left standing: it ends with an answer, or with the database gone.
    if (!isBusy() && looks < suspectLooks) {
      asking = null;
      looks = 0;
      return;
    }
    watch();
    if (asking === null) void begin();
    else looks += 1;
    if (looks === suspectLooks) onSuspect();
    if (looks < goneLooks) return;
    asking = null;
    looks = 0;
    onGone();
  };

  const watch = (): void => {
    if (cancel === null && !isStopped) cancel = clock.after(lookEveryMs, look);
  };
  const stop = (): void => {
    isStopped = true;
    cancel?.();
  };
  return { watch, stop };
}
