/**
 * The one clock of a simulation: a heap of timers ordered by due time and age. A timer is started,
 * never awaited, since what it waits for may be a later timer; then every promise that can go on
 * does so before the next timer. Nothing moves but by `run`, so a seed always gives one history.
 */
import type { Clock } from '../../broker/contract/ports.ts';

type Timer = { dueMs: number; order: number; isCancelled: boolean; run: () => unknown };

const isBefore = (a: Timer, b: Timer): boolean =>
  a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);

function sink(heap: Timer[]): void {
  for (let at = 0; ;) {
    const left = 2 * at + 1;
    let first = at;
    for (let child = left; child <= left + 1 && child < heap.length; child += 1) {
      if (isBefore(heap[child] as Timer, heap[first] as Timer)) first = child;
    }
    if (first === at) return;
    [heap[at], heap[first]] = [heap[first] as Timer, heap[at] as Timer];
    at = first;
  }
}

function rise(heap: Timer[]): void {
  for (let at = heap.length - 1; at > 0;) {
    const above = (at - 1) >> 1;
    if (!isBefore(heap[at] as Timer, heap[above] as Timer)) return;
    [heap[at], heap[above]] = [heap[above] as Timer, heap[at] as Timer];
    at = above;
  }
}

export type HeapClock = Clock & {
  run(ms: number): Promise<void>;
  /** A timer that threw: a bug of ours, which in production ends the process. */
  onBug(listener: (error: unknown) => void): void;
};

/**
 * Node runs this only when no promise can go on any more, and without a turn of the event loop:
 * nothing in a simulation waits for the system.
 */
export const settle = (): Promise<void> => new Promise((done) => process.nextTick(done));

/** More timers than this at one moment are a loop without a pause. */
const atOnceMax = 100_000;

export function heapClock(startWallMs = 1_800_000_000_000): HeapClock {
  const heap: Timer[] = [];
  let nowMs = 0;
  let order = 0;
  let bug: (error: unknown) => void = (error) => {
    throw error;
  };
  const pop = (): Timer => {
    const first = heap[0] as Timer;
    const last = heap.pop() as Timer;
    if (heap.length > 0) {
      heap[0] = last;
      sink(heap);
    }
    return first;
  };
  const start = async ({ run }: Timer): Promise<void> => {
    try {
      await run();
    } catch (error) {
      bug(error);
    }
  };
  return {
    wallMs: () => Math.floor(startWallMs + nowMs),
    monotonicMs: () => nowMs,
    after(delayMs, run) {
      order += 1;
      const dueMs = nowMs + Math.max(0, delayMs);
      const timer: Timer = { dueMs, order, isCancelled: false, run };
      heap.push(timer);
      rise(heap);
      return () => void (timer.isCancelled = true);
    },
    async run(ms) {
      const untilMs = nowMs + ms;
      let atOnce = 0;
      // What was begun just now may go on before any timer.
      await settle();
      while (heap[0] && heap[0].dueMs <= untilMs) {
        const timer = pop();
        if (timer.isCancelled) continue;
        atOnce = timer.dueMs > nowMs ? 0 : atOnce + 1;
        if (atOnce > atOnceMax) throw new Error(`time stands still at ${nowMs} ms`);
        nowMs = timer.dueMs;
        void start(timer);
        await settle();
      }
      nowMs = untilMs;
    },
    onBug: (listener) => void (bug = listener),
  };
}
