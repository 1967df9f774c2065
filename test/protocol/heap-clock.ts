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
    for (const child of [left, left + 1]) {
      if (heap[child] && isBefore(heap[child], heap[first] as Timer)) first = child;
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

export type HeapClock = Clock & { run(ms: number): Promise<void> };

export const settle = (): Promise<void> => new Promise((done) => setImmediate(done));

export function heapClock(startWallMs = 1_800_000_000_000): HeapClock {
  const heap: Timer[] = [];
  let nowMs = 0;
  let order = 0;
  const pop = (): Timer => {
    const first = heap[0] as Timer;
    const last = heap.pop() as Timer;
    if (heap.length > 0) {
      heap[0] = last;
      sink(heap);
    }
    return first;
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
      while (heap[0] && heap[0].dueMs <= untilMs) {
        const timer = pop();
        if (timer.isCancelled) continue;
        nowMs = timer.dueMs;
        void timer.run();
        await settle();
      }
      nowMs = untilMs;
    },
  };
}
