/**
 * The decisions that CloudSim 3.0.3 took on a day, read back and scored again in our world: the
 * proof that both count alike. The log names moves; when they arrive and who is dropped must
 * follow from the world alone, and is compared.
 */
import type { CloudsimWorld } from './cloudsim-world.ts';
import type { Move } from './world.ts';

export type GoldenLog = {
  placement: Int32Array;
  /** Moves of each tick in the order in which they were started. */
  movesAt: Map<number, Move[]>;
  ticks: { requestedMips: number; joules: number }[];
  joules: number;
  dropped: number;
};

const isTick = (seconds: number): boolean => Math.abs(((seconds - 0.1) / 300) % 1) < 1e-6;

/** Place of a moment among the decisions of the day, from 0. */
const tickOf = (seconds: number): number => Math.round((seconds - 0.1) / 300) - 1;

export async function readGoldenLog(
  lines: AsyncIterable<string> | Iterable<string>,
  guestCount: number,
): Promise<GoldenLog> {
  const log: GoldenLog = {
    placement: new Int32Array(guestCount),
    movesAt: new Map(),
    ticks: [],
    joules: 0,
    dropped: 0,
  };
  for await (const line of lines) {
    const [kind, ...fields] = line.split(',');
    const numbers = fields.map(Number);
    const at = (place: number): number => numbers[place] ?? Number.NaN;
    if (kind === 'P') log.placement[at(0)] = at(1);
    else if (kind === 'R') log.dropped += 1;
    else if (kind === 'E') log.joules = at(1);
    else if (kind === 'T') log.ticks.push({ requestedMips: at(4), joules: at(6) });
    else if (kind === 'M') {
      if (!isTick(at(0))) throw new Error(`the log moves outside a tick: ${line}`);
      const tick = tickOf(at(0));
      const moves = log.movesAt.get(tick) ?? [];
      moves.push({ guest: at(1), to: at(3) });
      log.movesAt.set(tick, moves);
    }
  }
  return log;
}

/** Plays the logged moves in `world` and answers how far its energy strays at any tick. */
export function rescore(world: CloudsimWorld, log: GoldenLog, ticks: readonly number[]): number {
  let strayed = 0;
  const stray = (joules: number): void => {
    const relative = Math.abs(world.totals.joules - joules) / Math.max(1, joules);
    strayed = Math.max(strayed, relative);
  };
  ticks.forEach((seconds, tick) => {
    world.advance(seconds);
    stray(log.ticks[tick]?.joules ?? Number.NaN);
    world.start(log.movesAt.get(tick) ?? []);
  });
  world.finish();
  stray(log.joules);
  return strayed;
}
