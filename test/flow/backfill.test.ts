/**
 * No hole after an outage: a real daemon process of a fake Proxmox host, a real backend. While the
 * server is away the daemon keeps its samples and their times; while the daemon itself is away
 * Proxmox keeps them, and what the daemon then fills in is stored once, with the time of then.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { takeRound } from '../../simulator/proxmox/metrics.ts';
import { realClock } from '../broker/wire.ts';
import { type House, openHouse, untilHeard } from '../support/proxmox-house.ts';
import { until } from '../support/servers.ts';
import { type Stack, startStack } from '../support/stack.ts';

type Points = [timeMs: number, value: number | null][];

let stack: Stack | undefined;
let house: House | undefined;
afterEach(async () => {
  await house?.close();
  await stack?.remove();
  [house, stack] = [undefined, undefined];
});

async function open() {
  const server = (stack = await startStack({}, { hasFixedPorts: true, role: 'backend' }));
  const home = (house = await openHouse({ nodesPerCluster: 1, guestsPerNode: 2, timeScale: 1 }));
  const { api } = server;
  await home.startDaemons({
    mqttUrl: server.runtime().mqttUrl,
    post: async (path, body) => api.post(path, body),
  });
  await untilHeard(home, (method, path) => api.send(method, path));
  const daemon = home.daemons.get('pve-1/n1');
  if (!daemon) throw new Error('no daemon');
  /** Of the node, or of one of its guests, one point per step. */
  const points = async (span: { fromMs: number; toMs: number; stepMs: number }, of = 'node=n1') => {
    const { fromMs, toMs, stepMs } = span;
    const query = `from=${fromMs}&to=${toMs}&stepMs=${stepMs}&aggregate=mean`;
    const { series } = await api.get<{ series: { points: Points }[] }>(
      `telemetry?cluster=pve-1&${of}&metrics=memoryUsedBytes&${query}`,
    );
    return series[0]?.points ?? [];
  };
  const missing = async () =>
    (await api.get<{ missing: number }>('telemetry/missing?sinceMs=0')).missing;
  return { server, home, daemon, api, points, missing };
}

const floor = (ms: number, step: number): number => Math.floor(ms / step) * step;
const gaps = (points: Points): number[] =>
  points.filter(([, value]) => value === null).map(([atMs]) => atMs);

it('has no hole where the server was away, and every sample its own time', async () => {
  const { server, points, missing, api } = await open();
  const before = realClock.wallMs();
  await server.kill9();
  const fromMs = floor(realClock.wallMs(), 2_000) + 2_000;
  await until(() => realClock.wallMs() > fromMs + 12_000);
  const toMs = floor(realClock.wallMs(), 2_000);
  await server.start();
  // Samples of the outage are sent again, two a second, behind the live ones.
  await until(
    async () => {
      const found = await points({ fromMs, toMs, stepMs: 2_000 });
      return found.length >= 6 && gaps(found).length === 0;
    },
    { withinMs: 90_000, what: 'no hole in the outage' },
  );
  expect(before).toBeLessThan(fromMs);
  await until(async () => (await missing()) === 0, { withinMs: 60_000, what: 'no number missing' });
  expect((await api.ingestFigures())['backfilled'] ?? 0).toBe(0);
}, 300_000);

it('has no hole where the daemon was away for as long as Proxmox kept it', async () => {
  const { home, daemon, points, api } = await open();
  await daemon.kill9();
  const [fake] = home.clusters;
  if (!fake) throw new Error('no cluster');
  // As if it had been gone for four minutes; what was kept is stamped accordingly.
  const toMs = floor(realClock.wallMs(), 10_000);
  const fromMs = toMs - 240_000;
  fake.pve.rounds.clear();
  for (let atMs = fromMs; atMs <= toMs; atMs += 10_000) {
    takeRound({ ...fake.pve, clock: { ...realClock, wallMs: () => atMs } });
  }
  const mark = JSON.stringify({ atMs: fromMs, isLast: true });
  await writeFile(join(daemon.dataDir, 'sampled', 'n1.json'), mark);
  daemon.start();
  const span = { fromMs: fromMs + 10_000, toMs, stepMs: 10_000 };
  await until(
    async () => {
      const found = await points(span);
      return found.length === 23 && gaps(found).length === 0;
    },
    { withinMs: 90_000, what: 'the gap filled' },
  );
  const guest = await points(span, 'guest=100');
  expect(gaps(guest)).toEqual([]);
  const figures = await api.ingestFigures();
  expect(figures['backfilled']).toBeGreaterThanOrEqual(23);
  expect(figures['backfilled']).toBeLessThanOrEqual(25);
  expect(figures['duplicate'] ?? 0).toBe(0);
  // The picture is of now, whatever came in last.
  const node = await api.get<{ sampledAt: string }>('clusters/pve-1/nodes/n1');
  expect(Date.parse(node.sampledAt)).toBeGreaterThan(toMs);
}, 300_000);
