/**
 * Every query of every board's Prometheus variant, asked of a real VictoriaMetrics that the backend
 * writes to and of Debian's Prometheus that scrapes `/metrics`, while a simulation runs; and their
 * numbers held against the API's.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Server, startPrometheus, startVictoriaMetrics, until } from '../support/servers.ts';
import { type Simulation, simulate, type Stack, startStack } from '../support/stack.ts';
import { alerts } from '../../grafana/source/alerts.ts';
import { boardsOf, type Target } from './files.ts';
import { instant, range } from './victoria.ts';

const variables: Record<string, string> = {
  $cluster: '.*',
  $node: '.*',
  $guest: '.*',
  $kind: '.*',
  $resolution: '15s',
  $__rate_interval: '15s',
  $__range: '2m',
  $price: '0.3',
};
/** Steps of a subquery lie on whole minutes; a run of less than one may hold none of them. */
const filledIn = (expr: string): string =>
  Object.entries(variables)
    .reduce((text, [name, value]) => text.replaceAll(name, value), expr)
    .replaceAll(':1m]', ':5s]');

type NodeRow = {
  id: string;
  cluster: string;
  cpuRatio: number;
  memoryUsedBytes: number;
  memoryTotalBytes: number;
};

let stack: Stack;
let victoria: Server;
let prometheus: Server;
let simulation: Simulation;
let rows: NodeRow[];
let endedAtMs = 0;

beforeAll(async () => {
  victoria = await startVictoriaMetrics();
  const settings = {
    KR_INFLUX_URL: victoria.url,
    KR_INFLUX_TOKEN: 'none',
    KR_METRICS_DETAIL: 'guest',
    KR_TLS_HOST: '127.0.0.1',
    KR_TLS_MQTT_PORT: '0',
    KR_TLS_HTTP_PORT: '0',
  };
  stack = await startStack(settings, { role: 'backend' });
  prometheus = await startPrometheus([new URL(stack.runtime().httpUrl).host]);
  simulation = simulate(stack, [
    '--nodes',
    '4',
    '--nodes-per-cluster',
    '2',
    '--guests',
    '3',
    '--interval',
    '1',
    '--minutes',
    '0.7',
    '--commands',
    '12',
  ]);
  // Own figures come every 10 s; a rate needs two of them.
  await until(
    async () =>
      (await instant(victoria.url, 'count_over_time(kr_guests[1m])', Date.now())).some(
        ({ value }) => value >= 3,
      ),
    { withinMs: 120_000, what: 'own figures in the store' },
  );
  await until(() => simulation.run.isOver(), {
    withinMs: 180_000,
    what: 'the end of the simulation',
  });
  const { items } = await stack.api.get<{ items: NodeRow[] }>('nodes?limit=100');
  rows = items;
  await until(
    async () => {
      const { received, stored, duplicate = 0, rejected = 0 } = await stack.api.ingestFigures();
      return received === (stored ?? 0) + duplicate + rejected;
    },
    { withinMs: 30_000, what: 'every sample stored' },
  );
  await fetch(`${victoria.url}/internal/force_flush`);
  // When the last sample was taken; the simulation reports for a while after that.
  const [newest] = await instant(victoria.url, 'max(tlast_over_time(node_seq[10m]))', Date.now());
  endedAtMs = (newest?.value ?? 0) * 1_000;
}, 360_000);
afterAll(async () => {
  await simulation?.run.stop();
  await prometheus?.stop();
  await stack?.remove();
  await victoria?.stop();
});

/** What has no value in a simulation without decisions, refusals, sleep and estimates. */
const mayBeEmpty = new Set([
  'Decisions by outcome',
  // The first forecasts are judged after ten minutes.
  'Predicted against measured',
  'Forecasts that held',
  'Targets after their moves',
  'Refusals by rule',
  'Saved by sleep, at least',
]);
const isOfEstimates = ({ expr = '' }: Target): boolean =>
  expr.includes('powerEstimatedWatts') && !expr.includes('powerWatts');

async function isAnswered(url: string, { expr = '', instant: isInstant }: Target) {
  const query = filledIn(expr);
  if (isInstant === true) return (await instant(url, query, endedAtMs - 5_000)).length > 0;
  const span = { fromMs: endedAtMs - 40_000, toMs: endedAtMs, stepSeconds: 5 };
  return (await range(url, query, span)).some(({ values }) => values.some(Number.isFinite));
}

describe('every panel', () => {
  it.each([
    ['a VictoriaMetrics that is written to', () => victoria.url],
    ['a Prometheus that scrapes', () => prometheus.url],
  ])(
    'is answered by %s',
    async (_name, url) => {
      const silent: string[] = [];
      let count = 0;
      for (const { name, panels } of boardsOf('prometheus')) {
        for (const { title = '', targets } of panels) {
          for (const target of targets) {
            count += 1;
            const isThere = await isAnswered(url(), target);
            if (!isThere && !mayBeEmpty.has(title) && !isOfEstimates(target))
              silent.push(`${name}: ${title} ${target.expr}`);
          }
        }
      }
      expect(silent).toEqual([]);
      expect(count).toBeGreaterThan(70);
    },
    120_000,
  );
});

describe('every alert rule', () => {
  /** No series while every node reports, and none before the first verification. */
  const silentWhenWell = new Set(['kr-node-stale', 'kr-audit-chain']);

  it('asks both for figures that a running server really has', async () => {
    const silent = new Set<string>();
    for (const { url } of [victoria, prometheus]) {
      for (const { uid, promql } of alerts) {
        if ((await instant(url, promql, endedAtMs)).length === 0) silent.add(uid);
      }
    }
    expect([...silent].filter((uid) => !silentWhenWell.has(uid))).toEqual([]);
  });
});

describe('the numbers', () => {
  const own = (labels: Record<string, string>): NodeRow | undefined =>
    rows.find(({ id, cluster }) => id === labels['node'] && cluster === labels['cluster']);

  it("are the API's, node by node, in the store that is written to", async () => {
    const at = Date.now();
    for (const metric of ['cpuRatio', 'memoryUsedBytes', 'memoryTotalBytes'] as const) {
      const found = await instant(victoria.url, `last_over_time(node_${metric}[10m])`, at);
      expect([metric, found.length]).toEqual([metric, 4]);
      for (const { labels, value } of found) expect(value).toBe(own(labels)?.[metric]);
    }
  });

  it('are the sums of those, cluster by cluster, on the board', async () => {
    const fleet = boardsOf('prometheus').find(({ name }) => name === 'fleet');
    const panel = fleet?.panels.find(({ title }) => title === 'Memory used and there');
    const expr = panel?.targets.find(({ refId }) => refId === 'B')?.expr ?? '';
    for (const { url } of [victoria, prometheus]) {
      const found = await instant(url, filledIn(expr).replaceAll('15s', '5m'), Date.now());
      expect(found).toHaveLength(2);
      for (const { labels, value } of found) {
        const bytes = rows.filter(({ cluster }) => cluster === labels['cluster']);
        expect(value).toBe(bytes.reduce((sum, { memoryTotalBytes }) => sum + memoryTotalBytes, 0));
      }
    }
  });

  it('that were scraped are some that were stored', async () => {
    const at = Date.now();
    const scraped = await instant(prometheus.url, 'last_over_time(node_cpuRatio[10m])', at);
    expect(scraped).toHaveLength(4);
    for (const { labels, value } of scraped) {
      const query = `node_cpuRatio{cluster="${labels['cluster']}",node="${labels['node']}"}[10m]`;
      const answer = await fetch(
        `${victoria.url}/api/v1/query?${new URLSearchParams({ query }).toString()}`,
      );
      const { data } = (await answer.json()) as {
        data: { result: { values: [number, string][] }[] };
      };
      expect(data.result[0]?.values.map(([, stored]) => Number(stored))).toContain(value);
    }
  });
});
