/** What a world counts while a day goes by, in joules, seconds and MIPS seconds. */
export type Totals = {
  joules: number;
  migrations: number;
  wakes: number;
  shutdowns: number;
  movesPerTickMax: number;
  dropped: number;
  activeSeconds: number;
  violatedSeconds: number;
  hostingSeconds: number;
  overloadedSeconds: number;
  requested: number;
  allocated: number;
  lostToMoves: number;
};

/** Before the first second. */
export const noTotals = (): Totals => ({
  joules: 0,
  migrations: 0,
  wakes: 0,
  shutdowns: 0,
  movesPerTickMax: 0,
  dropped: 0,
  activeSeconds: 0,
  violatedSeconds: 0,
  hostingSeconds: 0,
  overloadedSeconds: 0,
  requested: 0,
  allocated: 0,
  lostToMoves: 0,
});
