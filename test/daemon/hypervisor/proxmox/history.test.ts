/**
 * What Proxmox itself kept of the past, asked by both drivers of the fake cluster, which answers as
 * PVE::PullMetric does.
 */
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { ExportedPoints, pastSamples } from '../../../../daemon/hypervisor/proxmox/exported.ts';
import { createProxmoxHypervisor } from '../../../../daemon/hypervisor/proxmox/driver.ts';
import { createProxmoxApiHypervisor } from '../../../../daemon/hypervisor/proxmox-api/driver.ts';
import type { Hypervisor } from '../../../../daemon/hypervisor/port.ts';
import { createSampler } from '../../../../daemon/sample/sampler.ts';
import { takeRound } from '../../../../simulator/proxmox/metrics.ts';
import { realClock } from '../../../broker/wire.ts';
import { apiOf, proxmoxRig, type Rig } from '../../../simulator/proxmox/rig.ts';
import { memoryLog } from '../../../support/log.ts';

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

const stepMs = 10_000;

/** Rounds of pvestatd at these moments, as far as stamps go. */
function keep(rig: Rig, times: readonly number[]): void {
  for (const atMs of times) {
    takeRound({ ...rig.pve, clock: { ...realClock, wallMs: () => atMs } });
  }
}

async function bench(kind: 'host' | 'api'): Promise<{ rig: Rig; driver: Hypervisor }> {
  const rig = await proxmoxRig();
  ends.push(() => rig.close());
  const common = { daemonVersion: '1', clock: realClock, log: memoryLog(), simulated: true };
  if (kind === 'api') {
    const { api, endpoint } = await apiOf(rig);
    ends.push(() => api.close());
    const driver = createProxmoxApiHypervisor({ ...common, nodes: ['alpha', 'beta'], endpoint });
    ends.push(() => driver.close());
    return { rig, driver };
  }
  const { root = '' } = rig.trees['alpha'] ?? {};
  const sampler = createSampler({ clock: realClock, addresses: () => ({}), root });
  const { alpha } = rig.tools;
  if (!alpha) throw new Error('no tools');
  const own = {
    node: 'alpha',
    sampler,
    tools: alpha,
    root,
    outputFolder: join(rig.folder, 'output'),
  };
  const driver = createProxmoxHypervisor({ ...common, ...own });
  ends.push(() => driver.close());
  return { rig, driver };
}

/** On whole seconds, as pvestatd stamps. */
const startMs = Math.floor(realClock.wallMs() / 1_000) * 1_000 - 300_000;
const times = Array.from({ length: 13 }, (_, index) => startMs + index * stepMs);

describe.each(['host', 'api'] as const)('the past of a node, by the %s driver', (kind) => {
  it('is what lies strictly inside the span, with its own times and its guests', async () => {
    const { rig, driver } = await bench(kind);
    keep(rig, times);
    const span = { afterMs: startMs + stepMs, beforeMs: startMs + 6 * stepMs };
    const past = (await driver.history?.('alpha', span)) ?? [];
    expect(past.map(({ atMs }) => atMs)).toEqual(times.slice(2, 6));
    const [first] = past;
    expect(first?.node).toMatchObject({ cpuCount: 8, memoryTotalBytes: 32 * 2 ** 30 });
    expect(first?.node.cpuRatio).toBeGreaterThanOrEqual(0);
    expect(first?.node.networkInBytesPerSecond).not.toBeNull();
    expect(first?.node.temperatureCelsius).toBeNull();
    expect(first?.node.cpuPressureSomeAvg10Ratio).toBeNull();
    // A host daemon counts all local file systems, Proxmox the root alone.
    expect(first?.node.diskUsedBytes === null).toBe(kind === 'host');
    const guests = first?.guests?.map(({ id, kind: type, state }) => `${type} ${id} ${state}`);
    expect(guests?.sort()).toEqual(['container 101 running', 'vm 100 running', 'vm 102 stopped']);
  });

  it('is empty where nothing was kept', async () => {
    const { rig, driver } = await bench(kind);
    const span = { afterMs: startMs - 600_000, beforeMs: startMs };
    expect(await driver.history?.('alpha', span)).toEqual([]);
    keep(rig, times);
    expect(await driver.history?.('alpha', span)).toEqual([]);
  });
});

it('holds the guests of the asked node alone, also by the API of another', async () => {
  const { rig, driver } = await bench('api');
  keep(rig, times);
  const past = await driver.history?.('beta', { afterMs: startMs, beforeMs: times.at(-1) ?? 0 });
  expect(past?.map(({ guests }) => guests)).toEqual(times.slice(1, -1).map(() => []));
});

describe('points of the real shape', () => {
  const point = (id: string, metric: string, timestamp: number, value: number | null) => ({
    id,
    metric,
    timestamp,
    value,
    type: 'gauge',
  });
  const wanted = {
    pveNode: 'pve1',
    span: { afterMs: 0, beforeMs: 1e12 },
    hasRootDiskOnly: false,
  };
  const samplesOf = (data: object[]) => pastSamples(ExportedPoints.parse({ data }), wanted);

  it('make no rate of a counter that began anew, and none before the first', () => {
    const past = samplesOf([
      point('node/pve1', 'cpu_current', 100, 0.5),
      point('node/pve1', 'net_in', 100, 1_000),
      point('node/pve1', 'net_in', 110, 6_000),
      point('node/pve1', 'net_in', 120, 10),
    ]);
    expect(past.map(({ node }) => node.networkInBytesPerSecond)).toEqual([null, 500, null]);
    expect(past.map(({ node }) => node.cpuRatio)).toEqual([0.5, null, null]);
  });

  it('may have a null, a negative share, and an id that is none of ours', () => {
    const [only] = samplesOf([
      point('node/pve1', 'cpu_current', 100, null),
      point('node/pve1', 'mem_used', 100, 5),
      point('lxc/101', 'cpu_current', 101, -5.7e-5),
      point('node/pve2', 'mem_used', 100, 9),
      point('storage/pve1/local', 'disk_used', 100, 3),
      point('sdn/x', 'y', 100, 3),
    ]);
    expect(only?.node).toMatchObject({ cpuRatio: null, memoryUsedBytes: 5 });
    expect(only?.guests).toMatchObject([{ id: '101', kind: 'container', cpuRatio: 0 }]);
  });
});
