/**
 * A house of fake Proxmox VE clusters with one real daemon process per node. The house holds the
 * simulated world and the sockets of its fake tools; what really began stands in effect logs that
 * the tools alone write. A node that loses power loses its daemon, and gets it back when it boots.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ServerKey } from '../../broker/contract/server.ts';
import {
  type FakeCluster,
  type LoggedEffect,
  openFakeCluster,
} from '../../simulator/proxmox/cluster.ts';
import { type LiveWorld, liveWorld } from '../../simulator/live-world.ts';
import { buildWorld, gibibyte, macOf } from '../../simulator/world/build.ts';
import type { GuestSpec, NodeSpec } from '../../simulator/world/model.ts';
import { realClock } from '../broker/wire.ts';
import type { HouseDaemon } from './proxmox-daemon.ts';
import { until } from './servers.ts';

export type HouseOptions = {
  clusters?: number;
  nodesPerCluster?: number;
  guestsPerNode?: number;
  /** Divides every duration of the world: a migration of 4 s takes 40 ms at 100. */
  timeScale?: number;
  seed?: number;
  intervalMs?: number;
};

export type DaemonProcess = {
  readonly cluster: string;
  readonly node: string;
  pid(): number | null;
  isRunning(): boolean;
  /** Its data folder, with the executor's journal below `journal`. */
  readonly dataDir: string;
  /** What it wrote to stderr, all starts together. */
  log(): string;
  start(): void;
  kill9(): Promise<void>;
  /** SIGTERM, then SIGKILL after 10 s. */
  stop(): Promise<void>;
};

/** What the house needs of a server: the API of test/support/stack.ts, or anything like it. */
export type Server = {
  mqttUrl: string;
  post(path: string, body: object): Promise<{ status: number; body: object }>;
};

export type House = {
  readonly folder: string;
  readonly live: LiveWorld;
  readonly clusters: readonly FakeCluster[];
  /** By `<cluster>/<node>`. */
  readonly daemons: ReadonlyMap<string, DaemonProcess>;
  /** Enrols every node at the server and starts a daemon for each. */
  startDaemons(server: Server): Promise<void>;
  /** Of all clusters, in the order of each log. */
  effects(): LoggedEffect[];
  close(): Promise<void>;
};

const daemonProgram = fileURLToPath(import.meta.resolve('./proxmox-daemon.ts'));
/** Counters must move between two samples, or they say nothing. */
const beatsPerSample = 3;

const nodeSpec = (cluster: string, node: string, index: number): NodeSpec => ({
  cluster,
  node,
  rack: 'r1',
  cpuModel: 'Intel N305',
  cpuCount: 8,
  singleThreadFactor: 1,
  memoryBytes: 64 * gibibyte,
  diskBytes: 2 ** 40,
  wattsIdle: 10,
  wattsLoaded: 40,
  votes: 1,
  mac: macOf(index + 1),
  address: `10.${Math.floor(index / 200)}.9.${(index % 200) + 1}`,
  broadcast: `10.${Math.floor(index / 200)}.9.255`,
  bootMs: 60_000,
  migrationBytesPerSecond: 1e9,
  roles: [],
});

/** Guest ids are 100, 101, ... in each cluster; odd ones are containers that may restart. */
const guestSpec = (cluster: string, node: string, index: number): GuestSpec => ({
  cluster,
  node,
  id: String(100 + index),
  kind: index % 2 === 0 ? 'vm' : 'container',
  running: true,
  name: `guest-${100 + index}`,
  cpuCount: 2,
  memoryBytes: 2 * gibibyte,
  diskBytes: 8 * gibibyte,
  load: { shape: 'constant', seed: index, base: 0.05, swing: 0.02 },
  tags: index % 2 === 0 ? ['lab'] : ['lab', 'kr_restart'],
});

function worldOf(options: Required<HouseOptions>) {
  const { clusters, nodesPerCluster, guestsPerNode, timeScale, seed } = options;
  const nodes: NodeSpec[] = [];
  const guests: GuestSpec[] = [];
  for (let c = 1; c <= clusters; c += 1) {
    const cluster = `pve-${c}`;
    for (let n = 1; n <= nodesPerCluster; n += 1) {
      const node = `n${n}`;
      nodes.push(nodeSpec(cluster, node, nodes.length));
      for (let g = 0; g < guestsPerNode; g += 1) {
        guests.push(guestSpec(cluster, node, (n - 1) * guestsPerNode + g));
      }
    }
  }
  return buildWorld({ seed, startMs: realClock.wallMs(), timeScale, nodes, guests });
}

type DaemonFiles = { settings: string; log: string; dataDir: string };

function daemonProcess(cluster: string, node: string, files: DaemonFiles): DaemonProcess {
  let child: ChildProcess | null = null;
  const isRunning = (): boolean =>
    child !== null && child.exitCode === null && child.signalCode === null;
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child === null || !isRunning()) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    const killer = setTimeout(() => child?.kill('SIGKILL'), 10_000);
    await exited;
    clearTimeout(killer);
  };
  return {
    cluster,
    node,
    dataDir: files.dataDir,
    pid: () => (isRunning() ? (child?.pid ?? null) : null),
    isRunning,
    log: () => readFileSync(files.log, 'utf8'),
    start() {
      if (isRunning()) return;
      const stderr = openSync(files.log, 'a');
      child = spawn(process.execPath, [daemonProgram, files.settings], {
        stdio: ['ignore', 'ignore', stderr],
        env: {},
      });
      closeSync(stderr);
    },
    kill9: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
  };
}

type Enrolled = {
  credentials: { node: string; daemon: string; secret: string }[];
  serverId: string;
  serverKeys: ServerKey[];
};

async function enrol(
  house: { folder: string; live: LiveWorld; intervalMs: number },
  fake: FakeCluster,
  server: Server,
): Promise<DaemonProcess[]> {
  const cluster = fake.id;
  const nodes = Object.keys(fake.tools);
  const { mqttUrl } = server;
  const answer = await server.post('enrolments', { cluster, nodes, simulated: true });
  if (answer.status !== 201) throw new Error(`enrolment: ${JSON.stringify(answer)}`);
  const { credentials, serverId, serverKeys } = answer.body as Enrolled;
  return Promise.all(
    credentials.map(async ({ node, daemon, secret }) => {
      const folder = join(house.folder, cluster, node);
      const dataDir = join(folder, 'data');
      const [settingsFile, log] = ['daemon.json', 'daemon.log'].map((name) => join(folder, name));
      const files = { settings: settingsFile ?? '', log: log ?? '', dataDir };
      await mkdir(folder, { recursive: true });
      const spec = house.live.world.nodes.get(`${cluster}/${node}`)?.spec;
      const settings: HouseDaemon = {
        config: {
          mqttUrl,
          cluster,
          node,
          enrolment: null,
          dataDir,
          intervalMs: house.intervalMs,
          logLevel: 'info',
          script: null,
        },
        credential: {
          cluster,
          daemon,
          nodes: [node],
          secret,
          serverId,
          serverKeys,
          simulated: true,
          caSha256: null,
        },
        tools: fake.tools[node] as HouseDaemon['tools'],
        root: fake.trees[node]?.root ?? '',
        address: `${spec?.address}/24`,
      };
      writeFileSync(files.settings, JSON.stringify(settings));
      return daemonProcess(cluster, node, files);
    }),
  );
}

/** Numbers of the fake hosts move, whoever looks. */
function startBeats(clusters: readonly FakeCluster[], beatMs: number): () => void {
  const timer = setInterval(() => {
    for (const { trees } of clusters) for (const tree of Object.values(trees)) tree.beat();
  }, beatMs);
  return () => clearInterval(timer);
}

export async function openHouse(options: HouseOptions = {}): Promise<House> {
  const usual = { clusters: 1, nodesPerCluster: 3, guestsPerNode: 4, seed: 7, intervalMs: 2_000 };
  const wanted = { ...usual, timeScale: 20, ...options };
  const folder = await mkdtemp(join(tmpdir(), 'kr-house-'));
  const live = liveWorld(worldOf(wanted), realClock);
  const clusters: FakeCluster[] = [];
  for (const cluster of live.world.clusters.keys()) {
    const own = { live, cluster, folder: join(folder, cluster), clock: realClock };
    clusters.push(await openFakeCluster(own));
  }
  const stopBeats = startBeats(clusters, wanted.intervalMs / beatsPerSample);
  const daemons = new Map<string, DaemonProcess>();
  let isClosing = false;
  live.onPower(({ spec, power }) => {
    const daemon = daemons.get(`${spec.cluster}/${spec.node}`);
    if (isClosing || daemon === undefined) return;
    if (power === 'on') daemon.start();
    else if (power === 'off') void daemon.kill9();
  });
  return {
    folder,
    live,
    clusters,
    daemons,
    async startDaemons(server) {
      for (const fake of clusters) {
        const started = await enrol({ folder, live, intervalMs: wanted.intervalMs }, fake, server);
        for (const daemon of started) daemons.set(`${daemon.cluster}/${daemon.node}`, daemon);
      }
      for (const daemon of daemons.values()) daemon.start();
    },
    effects: () => clusters.flatMap((cluster) => cluster.effects()),
    async close() {
      isClosing = true;
      stopBeats();
      live.stop();
      await Promise.all([...daemons.values()].map((daemon) => daemon.stop()));
      for (const cluster of clusters) await cluster.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Waits until the server has a description and a sample of every node of the house. */
export async function untilHeard(
  { daemons }: House,
  send: (
    method: 'GET',
    path: string,
  ) => Promise<{ status: number; body: { facts?: unknown; state?: unknown } }>,
): Promise<void> {
  const missing = new Set(daemons.values());
  await until(
    async () => {
      for (const { cluster, node } of [...missing].slice(0, 8)) {
        const { status, body } = await send('GET', `/api/v1/clusters/${cluster}/nodes/${node}`);
        if (status !== 200 || !body.facts || body.state !== 'awake') break;
        missing.delete(daemons.get(`${cluster}/${node}`) as DaemonProcess);
      }
      return missing.size === 0;
    },
    { withinMs: 180_000, what: `${daemons.size} awake and described nodes` },
  );
}
