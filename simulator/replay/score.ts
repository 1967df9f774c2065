/** From a finished world to the figures of the benchmark, under the names its readers know. */
import type { Totals } from './totals.ts';

export type Score = {
  energyKwh: number;
  /** Share of active time with less allocated than requested, arriving copies included. */
  slatah: number;
  /** Share of all demand that was lost to moves. */
  pdm: number;
  slav: number;
  esv: number;
  /** Share of hosting time with demand above capacity. */
  otf: number;
  undelivered: number;
  migrations: number;
  wakes: number;
  shutdowns: number;
  movesPerTickMax: number;
};

const share = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);

export function scoreOf(totals: Totals): Score {
  const energyKwh = totals.joules / 3_600_000;
  const slatah = share(totals.violatedSeconds, totals.activeSeconds);
  const pdm = share(totals.lostToMoves, totals.requested);
  return {
    energyKwh,
    slatah,
    pdm,
    slav: slatah * pdm,
    esv: energyKwh * slatah * pdm,
    otf: share(totals.overloadedSeconds, totals.hostingSeconds),
    undelivered: share(totals.requested - totals.allocated, totals.requested),
    migrations: totals.migrations,
    wakes: totals.wakes,
    shutdowns: totals.shutdowns,
    movesPerTickMax: totals.movesPerTickMax,
  };
}
