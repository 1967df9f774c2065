/**
 * Daemons that a server's own process runs for whole clusters, each by the API of its hypervisor,
 * so that a cluster is watched without anything installed on it. Where each one is and by which
 * token stands in a folder of its own, mode 0600, and is taken up again at every start. A cluster
 * that cannot be taken up leaves the others, and the server, as they are.
 */
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ClusterId, NodeId } from '../broker/contract/ids.ts';
import { type DaemonConfig, parseToken } from './config.ts';
import type { ApiEndpoint } from './hypervisor/proxmox-api/client.ts';
import { writeWhole } from './durable.ts';
import { lookAt } from './hypervisor/proxmox-api/look.ts';
import { credentialPath } from './link/credential.ts';
import { type DaemonDeps, type RunningDaemon, startDaemon } from './main.ts';

const Kept = z.strictObject({
  cluster: ClusterId,
  /** The daemon's name: its first node. */
  node: NodeId,
  endpoint: z.strictObject({
    urls: z.array(z.url()).min(1),
    tokenId: z.string(),
    tokenSecret: z.string(),
    fingerprints: z.array(z.string()),
    ca: z.string().nullable(),
  }),
});
type Kept = z.infer<typeof Kept>;

type Endpoint = Omit<ApiEndpoint, 'ca'>;

export type ApiClustersOptions = {
  /** Holds a folder per cluster. */
  folder: string;
  /** Of the server, once it listens. */
  mqttUrl: () => string;
  intervalMs: number;
  logLevel: DaemonConfig['logLevel'];
  deps: DaemonDeps;
};

const keptFile = 'endpoint.json';

export function createApiClusters({ folder, deps, ...options }: ApiClustersOptions) {
  const running = new Map<string, RunningDaemon>();

  async function start({ cluster, node, endpoint }: Kept, token: string | null): Promise<void> {
    const daemon = await startDaemon(
      {
        mqttUrl: options.mqttUrl(),
        cluster,
        node,
        enrolment: token === null ? null : { ...parseToken(token), caSha256: null },
        dataDir: join(folder, cluster),
        intervalMs: options.intervalMs,
        logLevel: options.logLevel,
        hypervisor: 'proxmox-api',
        pveApi: endpoint,
        script: null,
      },
      deps,
    );
    running.set(cluster, daemon);
  }

  async function resumeOne(cluster: string): Promise<void> {
    try {
      const text = await readFile(join(folder, cluster, keptFile), 'utf8');
      await start(Kept.parse(JSON.parse(text)), null);
    } catch (error) {
      const wayOut = 'add the cluster again in the panel';
      deps.log.error({ err: error, cluster, wayOut }, 'a cluster by its API is not watched');
    }
  }

  return {
    lookAtProxmox: (endpoint: Endpoint) => lookAt({ ...endpoint, ca: null }),

    /** @throws CredentialError when the server does not take the token. */
    async joinProxmox(order: {
      cluster: string;
      nodes: readonly string[];
      endpoint: Endpoint;
      token: string;
    }): Promise<void> {
      const { cluster, nodes, endpoint, token } = order;
      await running.get(cluster)?.stop();
      running.delete(cluster);
      const own = join(folder, cluster);
      const node = nodes[0] ?? cluster;
      const kept = Kept.parse({ cluster, node, endpoint: { ...endpoint, ca: null } });
      await writeWhole(join(own, keptFile), JSON.stringify(kept));
      // The token makes a new credential; the old one, if there was one, is void.
      await rm(credentialPath(own), { force: true });
      await start(kept, token);
    },

    /** Takes up what was joined before. */
    async resume(): Promise<void> {
      const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return [];
        throw error;
      });
      await Promise.all(names.map(resumeOne));
    },

    async stop(): Promise<void> {
      await Promise.all([...running.values()].map((daemon) => daemon.stop()));
      running.clear();
    },
  };
}
