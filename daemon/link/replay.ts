/**
 * Which stored samples of one node still have to be sent again, as numbers only. Within one
 * session nothing is replayed twice unless the receipts stand still: a sample sent live is in
 * flight, not lost. And a server that confirms nothing may be one that has too much to do, so what
 * is repeated then is a small part of what is sent anyway, and grows only as receipts come. Pure;
 * times are monotonic ms passed in.
 *
 *   session --sync--> replaying (storedSeq, first live seq) --done--> live
 *                                      live --receipts stand still--> replaying
 */

/** A sample this old without a receipt was lost; receipts come every 10 s. */
export const overdueMs = 30_000;
/** Each fruitless repetition doubles the patience up to this. */
export const patienceMaxMs = 10 * 60_000;
/** While nothing is confirmed, repeating adds at most this to the load. */
const shareMax = 1 / 4;

export type Replay = {
  /** Everything up to here is durable at the server. */
  storedSeq: number;
  /** Next seq to send again; nothing to do when above `untilSeq`. */
  nextSeq: number;
  untilSeq: number;
  /** Of a repetition: up to here samples are overdue, and sent again window by window; else 0. */
  goalSeq: number;
  windowSamples: number;
  /** First seq sent live in this session. */
  liveFromSeq: number;
  isSynced: boolean;
  progressAtMs: number;
  patienceMs: number;
};

export const newReplay = (): Replay => ({
  storedSeq: 0,
  nextSeq: 1,
  untilSeq: 0,
  goalSeq: 0,
  windowSamples: 1,
  liveFromSeq: 1,
  isSynced: false,
  progressAtMs: 0,
  patienceMs: overdueMs,
});

/** A new connection: nothing is known of what arrived until its sync. */
export function beginSession(replay: Replay, lastSeq: number, nowMs: number): void {
  replay.liveFromSeq = lastSeq + 1;
  replay.isSynced = false;
  replay.nextSeq = 1;
  replay.untilSeq = 0;
  replay.goalSeq = 0;
  replay.progressAtMs = nowMs;
  replay.patienceMs = overdueMs;
}

function openWindow(replay: Replay): void {
  replay.nextSeq = replay.storedSeq + 1;
  replay.untilSeq = Math.min(replay.goalSeq, replay.storedSeq + replay.windowSamples);
}

/** A receipt that covers all that was repeated last: the server keeps up, and gets twice as much. */
function goOn(replay: Replay): void {
  if (replay.storedSeq < replay.untilSeq || replay.storedSeq >= replay.goalSeq) return;
  replay.windowSamples *= 2;
  openWindow(replay);
}

/** Only the first sync of a session starts a replay; a later one is as good as a receipt. */
export function onStored(replay: Replay, storedSeq: number, nowMs: number): void {
  if (storedSeq <= replay.storedSeq) return;
  replay.storedSeq = storedSeq;
  replay.progressAtMs = nowMs;
  replay.patienceMs = overdueMs;
  goOn(replay);
}

export function onSync(replay: Replay, storedSeq: number, nowMs: number): void {
  if (replay.isSynced) return onStored(replay, storedSeq, nowMs);
  replay.isSynced = true;
  // A server restored from a backup may know less than before; the ring may still fill that.
  replay.storedSeq = storedSeq;
  replay.nextSeq = storedSeq + 1;
  replay.untilSeq = replay.liveFromSeq - 1;
  replay.progressAtMs = nowMs;
}

export type Overdue = { lastSeq: number; intervalMs: number };

/**
 * Starts another replay when a sample is overdue and no receipt moved for as long as we are
 * patient. `lastSeq` is the newest sample that was sent `overdueMs` ago or earlier. The first of
 * them is the one that the receipts wait for.
 */
export function repeatIfStuck(replay: Replay, { lastSeq, intervalMs }: Overdue, nowMs: number) {
  const isBusy = !replay.isSynced || replay.nextSeq <= replay.untilSeq;
  if (isBusy || lastSeq <= replay.storedSeq) return false;
  if (nowMs - replay.progressAtMs < replay.patienceMs) return false;
  const sentMeanwhile = replay.patienceMs / intervalMs;
  replay.windowSamples = Math.max(1, Math.floor(sentMeanwhile * shareMax));
  replay.goalSeq = lastSeq;
  openWindow(replay);
  replay.progressAtMs = nowMs;
  replay.patienceMs = Math.min(patienceMaxMs, replay.patienceMs * 2);
  return true;
}

export const isReplaying = (replay: Replay): boolean => replay.nextSeq <= replay.untilSeq;
