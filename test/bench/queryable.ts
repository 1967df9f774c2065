/**
 * How long after it is due a sample can be queried: picks a sample that is due next, asks the store
 * for it until it is there, pauses for a random time, and picks another. So many such probes at once,
 * each asking at most every `pollMs`; a latency is told as up to one such pause and one query too long.
 */
import type { Asked, BenchStore } from './ingest-stores.ts';

const pollMs = 100;
/** Longer than a batch is collected, so that probes do not fall into step with the writer. */
const pauseMaxMs = 1_500;
const giveUpMs = 30_000;
/** Series that are new take a store longer, once. */
const settleMs = 15_000;

export type Schedule = {
  nodes: number;
  intervalMs: number;
  samples: number;
  nameOf: (index: number) => string;
  /** Of the first sample, in the store's time. */
  fromMs: number;
};

export type Sighting = { dueAfterMs: number; seenAtMs: number };
export type Probes = {
  /** Ends them and tells their latencies, sorted; `startMs` is when the first sample was due. */
  stop(startMs: number): Promise<number[]>;
};

const pause = (ms: number): Promise<void> =>
  new Promise((done) => setTimeout(done, Math.max(0, ms)));
const nowMs = (): number => performance.timeOrigin + performance.now();

export function startProbes(
  count: number,
  { has }: Pick<BenchStore, 'has'>,
  { nodes, intervalMs, samples, nameOf, fromMs }: Schedule,
): Probes {
  const beganAtMs = nowMs();
  const sightings: Sighting[] = [];
  let isStopped = false;

  /** The sample that is due next: nodes sample in turn, spread over the interval. */
  function next(): (Asked & { dueAfterMs: number }) | null {
    const passed = (nowMs() - beganAtMs) / intervalMs;
    const number = Math.ceil(passed * nodes);
    if (isStopped || number >= nodes * samples) return null;
    const dueAfterMs = (number / nodes) * intervalMs;
    const atMs = fromMs + Math.round(dueAfterMs);
    const [first, last] = [atMs - 1, atMs + 2];
    return { node: nameOf(number % nodes), fromMs: first, toMs: last, dueAfterMs };
  }

  async function probe(): Promise<void> {
    await pause(settleMs + Math.random() * pauseMaxMs);
    for (let asked = next(); asked !== null; asked = next()) {
      const { dueAfterMs } = asked;
      let seenAtMs = Infinity;
      while (seenAtMs === Infinity && nowMs() - beganAtMs - dueAfterMs < giveUpMs) {
        const nextMs = nowMs() + pollMs;
        if (await has(asked)) seenAtMs = nowMs();
        else await pause(nextMs - nowMs());
      }
      sightings.push({ dueAfterMs, seenAtMs });
      await pause(Math.random() * pauseMaxMs);
    }
  }

  const probes = Promise.all(Array.from({ length: count }, probe));
  return {
    async stop(startMs) {
      isStopped = true;
      await probes;
      return sightings
        .map(({ dueAfterMs, seenAtMs }) => seenAtMs - startMs - dueAfterMs)
        .toSorted((a, b) => a - b);
    },
  };
}

export const quantile = (sorted: readonly number[], share: number): number | null =>
  sorted.length === 0
    ? null
    : (sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] as number);
