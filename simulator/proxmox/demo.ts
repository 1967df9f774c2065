/**
 * The Proxmox VE cluster of the demo: real drivers over fake tools and a fake API, in a temporary
 * folder. Two of its hosts have a daemon of their own, the third is driven by the API, as a host
 * is on which no daemon may run. Where Perl is missing, the twin stands in for all of them.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock, Log, NewId } from '../../broker/contract/ports.ts';
import type { Hypervisor } from '../../daemon/hypervisor/port.ts';
import { createProxmoxApiHypervisor } from '../../daemon/hypervisor/proxmox-api/driver.ts';
import { createProxmoxHypervisor } from '../../daemon/hypervisor/proxmox/driver.ts';
import { createSampler } from '../../daemon/sample/sampler.ts';
import type { LiveWorld } from '../live-world.ts';
import type { Place } from '../scenarios/scenario.ts';
import { findNode } from '../world/model.ts';
import { serveApi } from './api/server.ts';
import { type FakeCluster, openFakeCluster } from './cluster.ts';

export type DemoRack = {
  /** undefined: a node of another cluster, for the twin. */
  hypervisorOf(place: Place): Hypervisor | undefined;
  stop(): Promise<void>;
};

export type DemoRackOptions = {
  live: LiveWorld;
  cluster: string;
  /** Driven by the API; the others by their own tools. */
  apiNode: string;
  clock: Clock;
  newId: NewId;
  log: Log;
  version: string;
};

const perl = '/usr/bin/perl';
const beatMs = 2_000;

function startBeats({ trees }: FakeCluster, clock: Clock): () => void {
  let cancel = (): void => undefined;
  const beat = (): void => {
    for (const tree of Object.values(trees)) tree.beat();
    cancel = clock.after(beatMs, beat);
  };
  beat();
  return () => cancel();
}

const hex = (fingerprint: string): string => fingerprint.replaceAll(':', '').toLowerCase();

export async function openDemoRack(options: DemoRackOptions): Promise<DemoRack> {
  const { live, cluster, apiNode, clock, newId, log, version: daemonVersion } = options;
  if (!existsSync(perl)) {
    log.warn({ perl }, 'the fake tools of Proxmox need Perl: the demo goes on without them');
    return { hypervisorOf: () => undefined, stop: async () => undefined };
  }
  const folder = await mkdtemp(join(tmpdir(), 'kr-rack-'));
  const fake = await openFakeCluster({ live, cluster, folder, clock });
  const secret = newId();
  const api = await serveApi(fake, secret);
  const stopBeats = startBeats(fake, clock);
  const common = { daemonVersion, clock, log, simulated: true };

  function byTools(node: string): Hypervisor | undefined {
    const [tools, root] = [fake.tools[node], fake.trees[node]?.root];
    if (tools === undefined || root === undefined) return undefined;
    const spec = findNode(live.world, cluster, node)?.spec;
    const entry = { netmask: '', family: 'IPv4', internal: false, mac: spec?.mac ?? '' } as const;
    const address = spec?.address ?? '';
    const addresses = () => ({ eno1: [{ ...entry, address, cidr: `${address}/24` }] });
    const sampler = createSampler({ clock, addresses, root });
    return createProxmoxHypervisor({
      ...common,
      node,
      sampler,
      tools,
      root,
      outputFolder: join(folder, node, 'output'),
    });
  }
  const byApi = (node: string): Hypervisor => {
    const names = Object.keys(api.urls);
    const endpoint = {
      urls: names.map((name) => api.urls[name] ?? ''),
      fingerprints: names.map((name) => hex(api.certificates[name]?.fingerprint ?? '')),
      tokenId: 'kr@pve!kernreaktor',
      tokenSecret: secret,
      ca: null,
    };
    return createProxmoxApiHypervisor({ ...common, nodes: [node], endpoint, hasNoQdevice: true });
  };
  return {
    hypervisorOf(place) {
      if (place.cluster !== cluster) return undefined;
      return place.node === apiNode ? byApi(place.node) : byTools(place.node);
    },
    async stop() {
      stopBeats();
      await api.close();
      await fake.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
