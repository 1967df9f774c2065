/**
 * The busiest of a node's and a guest's past for the guards (SAFETY V8, W4, S1): p95 over the minutes' maxima, from
 * the metrics store, so that a restart forgets nothing. Too few minutes, or a store that does not
 * answer soon, is null, which denies.
 */
import type { Clock } from '../broker/contract/ports.ts';
import type { Load } from './act/guard.ts';
import type { MetricsStore, Series } from './store/ports.ts';

const stepMs = 60_000;
const minutesMin = 5;
const answerWithinMs = 2_000;

function quantileOf({ points }: Series, share: number): number | null {
  const values = points.flatMap(([, value]) => value ?? []).toSorted((a, b) => a - b);
  if (values.length < minutesMin) return null;
  return values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? null;
}

/** The answer, or null where there is none soon. */
async function soon<T>(clock: Clock, ask: () => Promise<T>): Promise<T | null> {
  const late = Promise.withResolvers<null>();
  const cancel = clock.after(answerWithinMs, () => late.resolve(null));
  try {
    return await Promise.race([ask(), late.promise]);
  } catch {
    return null;
  } finally {
    cancel();
  }
}

/** Two days hold a night and a backup; the maxima of ten minutes hold what matters of them. */
const pastMs = 2 * 86_400_000;
const pastStepMs = 600_000;

/** Bytes of memory a guest used over two days, p99, so that shrinking it forgets no busy hour. */
export function createMemoryReader(metrics: Pick<MetricsStore, 'range'>, clock: Clock) {
  return ({ cluster, guest }: { cluster: string; guest: string }): Promise<number | null> =>
    soon(clock, async () => {
      const toMs = clock.wallMs();
      const [series] = await metrics.range({
        cluster,
        entity: 'guest',
        guest,
        metrics: ['memoryUsedBytes'],
        fromMs: toMs - pastMs,
        toMs,
        stepMs: pastStepMs,
        aggregate: 'max',
      });
      return series ? quantileOf(series, 0.99) : null;
    });
}

type At = { cluster: string; node: string };

export function createLoadReader(metrics: Pick<MetricsStore, 'range'>, clock: Clock) {
  async function ask({ cluster, node }: At, windowMs: number): Promise<Load> {
    const toMs = clock.wallMs();
    const series = await metrics.range({
      cluster,
      entity: 'node',
      node,
      metrics: ['cpuRatio', 'memoryUsedBytes'],
      fromMs: toMs - windowMs,
      toMs,
      stepMs,
      aggregate: 'max',
    });
    const of = (name: string): number | null => {
      const found = series.find(({ metric }) => metric === name);
      return found ? quantileOf(found, 0.95) : null;
    };
    return { cpuRatio: of('cpuRatio'), memoryUsedBytes: of('memoryUsedBytes') };
  }
  return (at: At, windowMs: number): Promise<Load | null> => soon(clock, () => ask(at, windowMs));
}
