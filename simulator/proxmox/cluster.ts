/**
 * One cluster of a live world as fake Proxmox VE hosts: per node a folder of tools and a tree of
 * the files that its host would show, and for all nodes one socket and one effect log, which the
 * tools alone write.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../broker/contract/ports.ts';
import type { LiveWorld } from '../live-world.ts';
import type { Effect, ToolName } from './frames.ts';
import { installTools } from './install.ts';
import { startPvestatd } from './metrics.ts';
import { createPve, nodesOf, type Pve } from './pve.ts';
import { type ProxmoxServer, serveProxmox } from './server.ts';
import { nodeTree, type Tree } from './tree.ts';

export type LoggedEffect = Effect & { tool: ToolName | 'api'; argv: string[] };

export type FakeCluster = {
  id: string;
  pve: Pve;
  server: ProxmoxServer;
  /** Absolute paths by node and tool. */
  tools: Record<string, Record<ToolName, string>>;
  /** What a host's `/` would show, by node. */
  trees: Record<string, Tree>;
  effectLog: string;
  /** What the tools have written so far. */
  effects(): LoggedEffect[];
  close(): Promise<void>;
};

export type FakeClusterOptions = {
  live: LiveWorld;
  cluster: string;
  folder: string;
  clock: Clock;
};

/** The last line may still be on its way to the file. */
function readEffects(path: string): LoggedEffect[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as LoggedEffect);
}

export async function openFakeCluster(options: FakeClusterOptions): Promise<FakeCluster> {
  const { live, cluster, folder, clock } = options;
  const pve = createPve(live, cluster, clock);
  await mkdir(folder, { recursive: true });
  const socket = join(folder, 'world.sock');
  const effectLog = join(folder, 'effects.jsonl');
  const server = await serveProxmox(pve, socket);
  const tools: FakeCluster['tools'] = {};
  const trees: FakeCluster['trees'] = {};
  for (const { spec } of nodesOf(pve)) {
    const { node } = spec;
    tools[node] = await installTools(join(folder, node, 'bin'), { socket, node, effectLog });
    trees[node] = nodeTree(pve, node, join(folder, node, 'root'));
  }
  pve.onChange = () => {
    for (const tree of Object.values(trees)) tree.refresh();
  };
  const stopPvestatd = startPvestatd(pve);
  live.onPower(({ spec }) => {
    if (spec.cluster === cluster) pve.onChange();
  });
  return {
    id: cluster,
    pve,
    server,
    tools,
    trees,
    effectLog,
    effects: () => readEffects(effectLog),
    async close() {
      stopPvestatd();
      await server.close();
      pve.onChange = () => undefined;
    },
  };
}
