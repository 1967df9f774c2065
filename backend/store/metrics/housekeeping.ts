/**
 * Roll-ups and retention between batches, piece by piece, so that storing never waits for more than
 * one piece. What fails is tried again; a store that is closed is left alone.
 */
import type { Cancel, Clock, Log } from '../../../broker/contract/ports.ts';

const everyMs = 10_000;

export type Housekeeping = {
  clock: Clock;
  log: Log;
  /** Runs between batches, one at a time. */
  inTurn: (work: () => Promise<void>) => Promise<void>;
  /** One piece of what is due; true when there is more. */
  piece: (nowMs: number) => Promise<boolean>;
};

/** Does what is due, piece by piece, and looks again every 10 s. Returns how to stop. */
export function keepHouse({ clock, log, inTurn, piece }: Housekeeping): () => void {
  const house = { isStopped: false };
  let cancel: Cancel = () => undefined;
  const next = async (): Promise<boolean> => {
    let isMore = false;
    await inTurn(async () => {
      isMore = !house.isStopped && (await piece(clock.wallMs()));
    });
    return isMore;
  };
  const turn = async (): Promise<void> => {
    try {
      while (await next());
    } catch (error) {
      log.warn({ err: error }, 'roll-ups not made, tried again in 10 s');
    }
    if (!house.isStopped) cancel = clock.after(everyMs, turn);
  };
  cancel = clock.after(everyMs, turn);
  return () => {
    house.isStopped = true;
    cancel();
  };
}
