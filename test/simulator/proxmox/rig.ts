/**
 * A small Proxmox cluster of fake tools in a temporary folder: two nodes of a quick world, their
 * tools, their files, and the log of what the tools really began.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ApiEndpoint } from '../../../daemon/hypervisor/proxmox-api/client.ts';
import { type FakeApi, serveApi } from '../../../simulator/proxmox/api/server.ts';
import { type FakeCluster, openFakeCluster } from '../../../simulator/proxmox/cluster.ts';
import type { ToolName } from '../../../simulator/proxmox/frames.ts';
import { type LiveWorld, liveWorld } from '../../../simulator/live-world.ts';
import { buildWorld, gibibyte, macOf } from '../../../simulator/world/build.ts';
import type { GuestSpec, NodeSpec } from '../../../simulator/world/model.ts';
import { runTool, type ToolResult } from '../../../daemon/command/sandbox.ts';
import { realClock } from '../../broker/wire.ts';

const nodeSpec = (cluster: string, node: string, votes: number, index: number): NodeSpec => ({
  cluster,
  node,
  rack: 'r1',
  cpuModel: 'Intel N305',
  cpuCount: 8,
  singleThreadFactor: 1,
  memoryBytes: 32 * gibibyte,
  diskBytes: 2 ** 40,
  wattsIdle: 10,
  wattsLoaded: 40,
  votes,
  mac: macOf(index + 1),
  address: `10.9.0.${index + 1}`,
  broadcast: '10.9.0.255',
  bootMs: 60_000,
  migrationBytesPerSecond: 1e9,
  roles: [],
});

const guestSpec = (
  [cluster, node]: readonly [string, string],
  id: string,
  kind: 'vm' | 'container',
  running: boolean,
): GuestSpec => ({
  cluster,
  node,
  id,
  kind,
  running,
  name: `guest-${id}`,
  cpuCount: 2,
  memoryBytes: 2 * gibibyte,
  diskBytes: 8 * gibibyte,
  load: { shape: 'constant', seed: 1, base: 0.1, swing: 0 },
  tags: ['lab'],
});

export type Rig = Omit<FakeCluster, 'effects'> & {
  live: LiveWorld;
  folder: string;
  run(node: string, tool: ToolName, ...argv: string[]): Promise<ToolResult>;
  effects(): Promise<ReturnType<FakeCluster['effects']>>;
};

/** `votes: 0` makes `alpha` a single node without a cluster, and leaves `beta` out. */
export async function proxmoxRig({ votes = 1, timeScale = 100 } = {}): Promise<Rig> {
  const folder = await mkdtemp(join(tmpdir(), 'kr-pve-'));
  const names = votes === 0 ? ['alpha'] : ['alpha', 'beta', 'gamma'];
  const cluster = 'lab';
  const world = buildWorld({
    seed: 7,
    startMs: realClock.wallMs(),
    timeScale,
    nodes: names.map((name, index) => nodeSpec(cluster, name, votes, index)),
    guests: [
      guestSpec([cluster, 'alpha'], '100', 'vm', true),
      guestSpec([cluster, 'alpha'], '101', 'container', true),
      guestSpec([cluster, 'alpha'], '102', 'vm', false),
    ],
  });
  const live = liveWorld(world, realClock);
  const fake = await openFakeCluster({ live, cluster, folder, clock: realClock });
  const { tools } = fake;
  const signal = new AbortController().signal;
  return {
    ...fake,
    live,
    folder,
    run: (node, tool, ...argv) =>
      runTool({ path: tools[node]?.[tool] ?? '', argv, env: {}, timeoutMs: 30_000, signal }),
    effects: async () => fake.effects(),
    async close() {
      live.stop();
      await fake.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export const apiSecret = '0f0f0f0f-1111-2222-3333-444444444444';

/** The API of the rig's cluster and what a driver needs to reach it: all members, each pinned. */
export async function apiOf(rig: Rig): Promise<{ api: FakeApi; endpoint: ApiEndpoint }> {
  const fake = { ...rig, effects: () => [] };
  const api = await serveApi(fake, apiSecret);
  const names = Object.keys(api.urls);
  return {
    api,
    endpoint: {
      urls: names.map((name) => api.urls[name] ?? ''),
      tokenId: 'kr@pve!kernreaktor',
      tokenSecret: apiSecret,
      fingerprints: names.map((name) =>
        (api.certificates[name]?.fingerprint ?? '').replaceAll(':', '').toLowerCase(),
      ),
      ca: null,
    },
  };
}
