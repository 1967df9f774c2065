/**
 * The metrics store killed under a running simulation: a real VictoriaMetrics, which answers before
 * its disk has what it took, gets SIGKILL and is started again. Nothing is missing in it at the end,
 * by its own export.
 */
import { afterEach, expect, it } from 'vitest';
import { startVictoriaMetrics, until, type VictoriaMetrics } from '../support/servers.ts';
import { type Simulation, simulate, type Stack, startStack } from '../support/stack.ts';

type Exported = { metric: { cluster: string; node: string }; values: number[] };

let store: VictoriaMetrics | undefined;
let stack: Stack | undefined;
let simulation: Simulation | undefined;
afterEach(async () => {
  await simulation?.run.stop();
  await stack?.remove();
  await store?.stop();
});

/** By node, the sequence numbers that the store holds. */
async function held({ url }: VictoriaMetrics): Promise<Map<string, Set<number>>> {
  await fetch(`${url}/internal/force_flush`);
  const answer = await fetch(`${url}/api/v1/export?match[]=node_seq`);
  const nodes = new Map<string, Set<number>>();
  for (const line of (await answer.text()).split('\n').filter((text) => text !== '')) {
    const { metric, values } = JSON.parse(line) as Exported;
    const key = `${metric.cluster}/${metric.node}`;
    nodes.set(key, new Set([...(nodes.get(key) ?? []), ...values]));
  }
  return nodes;
}

const holes = (nodes: Map<string, Set<number>>): string[] =>
  [...nodes].flatMap(([node, seqs]) => {
    const missing = Math.max(...seqs) - seqs.size;
    return missing === 0 ? [] : [`${node}: ${missing} of ${Math.max(...seqs)} are missing`];
  });

it('costs not one sample, although the store had promised some of them already', async () => {
  const metrics = (store = await startVictoriaMetrics());
  const server = (stack = await startStack(
    { KR_INFLUX_URL: metrics.url, KR_INFLUX_TOKEN: 'none' },
    { role: 'backend' },
  ));
  const options = ['--nodes', '8', '--guests', '3', '--interval', '1', '--minutes', '1'];
  const simulated = (simulation = simulate(server, options));
  const figure = async (name: string): Promise<number> => {
    const { body } = await server.api.send<string>('GET', '/metrics');
    const found = new RegExp(`^kr_store\\{figure="${name}"\\} (\\S+)$`, 'm').exec(body);
    return Number(found?.[1] ?? NaN);
  };
  const stored = async () => (await server.api.ingestFigures())['stored'] ?? 0;
  await until(async () => (await stored()) > 60, { withinMs: 120_000, what: 'a running fleet' });
  process.kill(metrics.pid, 'SIGKILL');
  await until(async () => (await figure('spoolSamples')) > 60, {
    withinMs: 60_000,
    what: 'a spool',
  });
  await metrics.restart();
  await until(async () => (await figure('spoolSamples')) === 0, {
    withinMs: 120_000,
    what: 'an empty spool',
  });
  await until(() => simulated.run.isOver(), { withinMs: 180_000, what: 'the end of the run' });
  await until(
    async () => {
      const { received, stored: kept = 0, duplicate = 0 } = await server.api.ingestFigures();
      return received === kept + duplicate && (await figure('spoolSamples')) === 0;
    },
    { withinMs: 60_000, what: 'every sample delivered' },
  );
  const nodes = await held(metrics);
  expect(nodes.size).toBe(8);
  expect(holes(nodes)).toEqual([]);
  const count = [...nodes.values()].reduce((sum, seqs) => sum + seqs.size, 0);
  expect(count).toBe(await stored());
  expect(await figure('spoolDropped')).toBe(0);
}, 400_000);
