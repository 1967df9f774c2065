import { afterEach, describe, expect, it } from 'vitest';
import { type BacktestDeps, createBacktests } from '../../../backend/backtest/backtests.ts';
import { reelsOf, stretchesOf } from '../../../backend/backtest/load.ts';
import { startPlayer } from '../../../backend/backtest/runner.ts';
import { shippedPolicy } from '../../../backend/decide/strategies.ts';
import { emptyFleet } from '../../../backend/state/fleet.ts';
import { MetricsQueryError } from '../../../backend/store/metrics/errors.ts';
import type { RangeQuery, Series } from '../../../backend/store/ports.ts';
import { idsOf, seededRandom, virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';
import { until } from '../../support/servers.ts';
import { guestFact, minuteMs, nodeFact, startMs } from './reels.ts';

const hourMs = 60 * minuteMs;
const gib = 2 ** 30;
const values = {
  node: { cpuRatio: 0.1, cpuCount: 8, memoryUsedBytes: 4 * gib, memoryTotalBytes: 32 * gib },
  guest: { cpuRatio: 0.1, cpuCount: 2, memoryUsedBytes: gib, memoryTotalBytes: 2 * gib },
} as const;

/** Two nodes with a guest each; only what is asked for is answered. */
function answerOf({ entity, metrics, fromMs, toMs, stepMs }: RangeQuery): Series[] {
  const steps = (toMs - fromMs) / stepMs;
  return ['n1', 'n2'].flatMap((node, place) =>
    metrics.map((metric) => ({
      metric,
      node,
      ...(entity === 'guest' && { guest: place === 0 ? 'web' : 'mail' }),
      points: Array.from({ length: steps }, (_, step): [number, number | null] => [
        fromMs + step * stepMs,
        (values[entity] as Record<string, number>)[metric] ?? null,
      ]),
    })),
  );
}

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

function backtestsWith(change: Partial<BacktestDeps> = {}) {
  const clock = virtualClock();
  const backtests = createBacktests({
    fleet: emptyFleet,
    metrics: { range: async (query) => answerOf(query), finestStepMs: () => 1 },
    facts: async () => [
      nodeFact('n1'),
      nodeFact('n2'),
      guestFact('web'),
      guestFact('mail', { node: 'n2' }),
    ],
    player: startPlayer,
    pricePerKwh: null,
    clock,
    newId: idsOf(clock, seededRandom(5)),
    log: memoryLog(),
    ...change,
  });
  stops.push(() => backtests.stop());
  return backtests;
}

const order = (hours: number) => ({
  cluster: 'home',
  policy: shippedPolicy('save-power'),
  fromMs: startMs,
  toMs: startMs + hours * hourMs,
  pricePerKwh: 0.3,
  actor: 'account:ada',
});

describe('backtests', () => {
  it('run in a thread of their own and end with a result', async () => {
    const backtests = backtestsWith();
    const started = backtests.start(order(10));
    if (!started.ok) throw new Error('refused');
    const { id } = started.backtest;
    await until(() => backtests.get(id)?.state !== 'running', { what: 'the end' });
    const { state, progress, outcome, problem } = backtests.get(id)!;
    expect({ state, progress, problem }).toEqual({ state: 'done', progress: 1, problem: null });
    expect(outcome?.savedKwh).toBeGreaterThan(0);
    expect(outcome?.resolution).toEqual([
      { fromMs: startMs, toMs: startMs + 10 * hourMs, stepMs: minuteMs, source: 'raw' },
    ]);
  });

  it('run one at a time, and name the one that runs', async () => {
    const backtests = backtestsWith();
    const first = backtests.start(order(24));
    if (!first.ok) throw new Error('refused');
    const second = backtests.start(order(1));
    expect(second).toMatchObject({ ok: false, refusal: { status: 409, code: 'KR_BACKTEST_RUNS' } });
    expect(second.ok ? '' : second.refusal.wayOut).toContain(first.backtest.id);
  });

  it('end when they are cancelled, and leave room for the next', async () => {
    let asked = 0;
    const backtests = backtestsWith({
      metrics: {
        finestStepMs: () => 1,
        range: async (query) => {
          asked += 1;
          return answerOf(query);
        },
      },
    });
    const started = backtests.start(order(24 * 365));
    if (!started.ok) throw new Error('refused');
    await until(() => asked > 8, { what: 'some stretches' });
    const cancelled = await backtests.cancel(started.backtest.id);
    expect(cancelled).toMatchObject({ state: 'cancelled', outcome: null });
    const askedThen = asked;
    expect(backtests.start(order(1)).ok).toBe(true);
    expect(asked - askedThen).toBeLessThan(4);
  });

  it('say why they failed', async () => {
    const backtests = backtestsWith({
      facts: async () => {
        throw new Error('the database is away');
      },
    });
    const started = backtests.start(order(1));
    if (!started.ok) throw new Error('refused');
    await until(() => started.backtest.state !== 'running');
    expect(started.backtest).toMatchObject({ state: 'failed', problem: 'the database is away' });
  });
});

describe('what a backtest reads', () => {
  const span = { fromMs: startMs + 1, toMs: startMs + 30 * 24 * hourMs, stepMs: minuteMs };
  it('follows without gap or overlap, a little at a time, by the finest step there is', () => {
    const rawSinceMs = startMs + 23 * 24 * hourMs;
    const stretches = [...stretchesOf(span, 70, (at) => (at < rawSinceMs ? minuteMs : 1))];
    expect(stretches[0]?.fromMs).toBe(startMs);
    expect(stretches.at(-1)?.toMs).toBe(span.toMs);
    stretches.slice(1).forEach(({ fromMs }, place) => expect(fromMs).toBe(stretches[place]!.toMs));
    for (const { fromMs, toMs, stepMs } of stretches) {
      expect(stepMs).toBe(minuteMs);
      expect((toMs - fromMs) / stepMs).toBeLessThanOrEqual(240);
    }
  });

  it('is cut in halves where the store refuses the whole', async () => {
    const metrics = {
      finestStepMs: () => 1,
      range: async (query: RangeQuery) => {
        if (query.toMs - query.fromMs > 30 * minuteMs)
          throw new MetricsQueryError('metrics', 'many');
        return answerOf(query);
      },
    };
    const stretch = { fromMs: startMs, toMs: startMs + 100 * minuteMs, stepMs: minuteMs };
    const reels = await reelsOf(metrics, 'home', stretch);
    expect(reels.reduce((sum, { steps }) => sum + steps, 0)).toBe(100);
    expect(reels.length).toBeGreaterThan(3);
  });

  it('knows where each guest was recorded, also when it moved', async () => {
    const metrics = {
      finestStepMs: () => 1,
      range: async (query: RangeQuery): Promise<Series[]> => {
        const half = (first: boolean) => (point: [number, number | null], step: number) =>
          step < 5 === first ? point : ([point[0], null] as [number, null]);
        return answerOf(query).flatMap((series) =>
          series.guest === 'web'
            ? [
                { ...series, points: series.points.map(half(true)) },
                { ...series, node: 'n2', points: series.points.map(half(false)) },
              ]
            : [series],
        );
      },
    };
    const stretch = { fromMs: startMs, toMs: startMs + 10 * minuteMs, stepMs: minuteMs };
    const [reel] = await reelsOf(metrics, 'home', stretch);
    const row = reel!.guests.names.indexOf('web');
    const where = Array.from(reel!.guestNode.slice(row * 10, row * 10 + 10));
    expect(where.map((place) => reel!.nodes.names[place])).toEqual([
      ...Array.from({ length: 5 }, () => 'n1'),
      ...Array.from({ length: 5 }, () => 'n2'),
    ]);
    const loads = reel!.guests.values['cpuRatio']!.slice(row * 10, row * 10 + 10);
    expect(loads.some(Number.isNaN)).toBe(false);
  });
});
