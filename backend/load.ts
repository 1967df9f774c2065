/**
 * The busiest of a node's past for the guards (SAFETY V8, W4): p95 over the minutes' maxima, from
 * the metrics store, so that a restart forgets nothing. Too few minutes, or a store that does not
 * answer soon, is null, which denies.
 */
import type { Clock } from '../broker/contract/ports.ts';
import type { Load } from './act/guard.ts';
import type { MetricsStore, Series } from './store/ports.ts';

const stepMs = 60_000;
const minutesMin = 5;
const answerWithinMs = 2_000;

function p95({ points }: Series): number | null {
  const values = points.flatMap(([, value]) => value ?? []).toSorted((a, b) => a - b);
  if (values.length < minutesMin) return null;
  return values[Math.min(values.length - 1, Math.floor(values.length * 0.95))] ?? null;
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
      return found ? p95(found) : null;
    };
    return { cpuRatio: of('cpuRatio'), memoryUsedBytes: of('memoryUsedBytes') };
  }
  return async (at: At, windowMs: number): Promise<Load | null> => {
    const late = Promise.withResolvers<null>();
    const cancel = clock.after(answerWithinMs, () => late.resolve(null));
    try {
      return await Promise.race([ask(at, windowMs), late.promise]);
    } catch {
      return null;
    } finally {
      cancel();
    }
  };
}
