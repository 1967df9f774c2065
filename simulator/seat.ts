/**
 * One node's place in the fleet: at most one daemon runs there at a time, and changes never
 * overlap. A gentle end says goodbye; the other kind is a power failure, after which nothing the
 * old daemon does reaches its disk or the network.
 */
import { z } from 'zod';
import type { Clock, Log, NewId } from '../broker/contract/ports.ts';
import { ringMs } from '../broker/contract/limits.ts';
import { Receipt, type ServerKey } from '../broker/contract/server.ts';
import { nodeKey } from '../broker/contract/ids.ts';
import type { ExecutorPort } from '../daemon/command/executor-port.ts';
import type { FilePort } from '../daemon/command/files.ts';
import { memoryHypervisor } from '../daemon/hypervisor/memory.ts';
import type { Hypervisor } from '../daemon/hypervisor/port.ts';
import { type LinkCounters, noCounters } from '../daemon/link/agent.ts';
import { type ExecutorParts, type RunningDaemon, startDaemon } from '../daemon/main.ts';
import { memoryWaker } from '../daemon/waker/memory.ts';
import { mount, type Mounted } from './disk.ts';
import { breakableLine, type Line, type OpenBreakable, type Tally } from './line.ts';
import type { LiveWorld } from './live-world.ts';
import { seededRandom, seedOfName } from './prng.ts';
import type { Place } from './scenarios/scenario.ts';

export type FleetCredential = {
  cluster: string;
  node: string;
  daemon: string;
  secret: string;
  serverId: string;
  serverKeys: ServerKey[];
};

/** Makes the executor of one daemon start; `files` holds its journal. */
export type MakeExecutor = (
  parts: ExecutorParts,
  seat: { cluster: string; node: string; files: FilePort; log: Log },
) => Promise<ExecutorPort>;

/** What a load test does to the traffic of a fleet; absent, it is that of real daemons. */
export type FleetTraffic = {
  qos: 0 | 1;
  /** All sample in the same instant. */
  isAligned: boolean;
  malformedRatio: number;
  duplicateRatio: number;
  /** By how much a node's clock is ahead, ms. */
  skewMsOf: (place: Place) => number;
  /** New connections in a second; null: as many as the broker takes. */
  connectRate: number | null;
};

export type FleetDeps = {
  live: LiveWorld;
  mqttUrl: string;
  intervalMs: number;
  credentials: readonly FleetCredential[];
  /** The disk of a node, asked for once. */
  diskOf: (place: Place) => FilePort;
  makeExecutor: MakeExecutor;
  openClient: OpenBreakable;
  /** Instead of the twin, for places that have another driver. */
  hypervisorOf?: (place: Place) => Hypervisor | undefined;
  load?: FleetTraffic;
  /** The CA that the broker's certificate must come from; SHA-256, 64 hex. */
  caSha256?: string | null;
  version: string;
  clock: Clock;
  newId: NewId;
  log: Log;
};

/** What a seat needs besides. */
export type SeatDeps = Omit<FleetDeps, 'intervalMs'> & {
  /** False once no more samples shall be taken. */
  isSampling: () => boolean;
  /** Ms between two samples, as of now. */
  intervalMs: () => number;
  tally: Tally;
};

/** One start of a daemon. */
type Life = { daemon: RunningDaemon; line: Line; disk: Mounted; incarnation: () => number };

export type Seat = {
  readonly place: Place;
  /** Starts a daemon, unless one runs or the node has no power. `onConnect` may come any time. */
  begin(onConnect: () => void): Promise<void>;
  end(how: 'gently' | 'abruptly'): Promise<void>;
  drop(): void;
  stall(what: 'reads' | 'both'): void;
  unstall(): void;
  setPace(intervalMs: number): void;
  isRunning(): boolean;
  isConnected(): boolean;
  hasConnected(): boolean;
  /** Samples of the running daemon that no receipt has covered yet. */
  unconfirmed(): number;
  /** Of every daemon that ever ran here. */
  addCounters(sum: LinkCounters): void;
};

const ReceiptMessage = z.object({ body: Receipt });

/** All rings together, so that an outage of a large fleet does not fill the memory. */
const ringsBytesMax = 512 * 2 ** 20;
const ringBytesMin = 64 * 2 ** 10;

export function addTo(sum: LinkCounters, more: Readonly<LinkCounters>): void {
  for (const name of Object.keys(sum) as (keyof LinkCounters)[]) sum[name] += more[name];
}

/** A simulated daemon is one of thousands: only what breaks it is worth a line. */
const quiet = (log: Log): Log => ({
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: (fields, message) => log.error(fields, message),
});

/** The fleet keeps the pace it was asked for, whatever the server would like. */
const atPace = (
  executor: ExecutorPort,
  pace: { intervalMs: () => number; onIncarnation: (count: number) => void },
): ExecutorPort => ({
  async introduce(node) {
    const introduction = await executor.introduce(node);
    pace.onIncarnation(introduction.incarnation);
    return introduction;
  },
  async deliver(message) {
    const sync = await executor.deliver(message);
    return sync && { ...sync, intervalMs: pace.intervalMs() };
  },
  onOutgoing: (listener) => executor.onOutgoing(listener),
  connected: (node, online) => executor.connected(node, online),
  close: () => executor.close(),
});

/** Everything goes on as before, only that there is nothing to measure any more. */
const untilPaused = (hypervisor: Hypervisor, isSampling: () => boolean): Hypervisor => ({
  ...hypervisor,
  sample: (node) =>
    isSampling() ? hypervisor.sample(node) : Promise.reject(new Error('sampling is over')),
});

/** The seqs of a life count its samples from 1, so a receipt tells how many are left. */
function unconfirmedOf({ daemon, line, incarnation }: Life): number {
  const { samples } = daemon.counters();
  const payload = line.receipt();
  const decoded = payload && ReceiptMessage.safeParse(JSON.parse(Buffer.from(payload).toString()));
  if (!decoded?.success || decoded.data.body.incarnation !== incarnation()) return samples;
  return Math.max(0, samples - decoded.data.body.storedSeq);
}

type Start = { credential: FleetCredential; disk: FilePort; starts: number };

/** Its monotonic time is everybody's; only what it stamps is wrong. */
const skewed = (clock: Clock, byMs: number): Clock =>
  byMs === 0 ? clock : { ...clock, wallMs: () => clock.wallMs() + byMs };

/** The next instant that is a whole number of intervals since 1970. */
const alignedPhase =
  (clock: Clock) =>
  (intervalMs: number): number =>
    intervalMs - (clock.wallMs() % intervalMs);

export const plainTraffic: FleetTraffic = {
  qos: 0,
  isAligned: false,
  malformedRatio: 0,
  duplicateRatio: 0,
  skewMsOf: () => 0,
  connectRate: null,
};

async function startLife(deps: SeatDeps, start: Start, onConnect: () => void): Promise<Life> {
  const { live, newId, intervalMs, mqttUrl, version, tally, caSha256 = null } = deps;
  const { cluster, node, daemon, secret, serverId, serverKeys } = start.credential;
  const { load = plainTraffic } = deps;
  const clock = skewed(deps.clock, load.skewMsOf({ cluster, node }));
  const random = seededRandom(
    seedOfName(live.world.seed, `${cluster}/${node}/${start.starts}/${clock.wallMs()}`),
  );
  const world = live.cluster(cluster);
  const hypervisor =
    deps.hypervisorOf?.({ cluster, node }) ??
    memoryHypervisor({ world, nodes: [node], clock: deps.clock });
  let incarnation = 0;
  const disk = mount(start.disk);
  const line = breakableLine(deps.openClient, onConnect, { ...load, tally, random });
  const log = quiet(deps.log);
  const bytesMax = Math.max(ringBytesMin, Math.floor(ringsBytesMax / deps.credentials.length));
  const running = await startDaemon(
    {
      mqttUrl,
      cluster,
      node,
      enrolment: null,
      dataDir: '',
      intervalMs: intervalMs(),
      logLevel: 'silent',
      script: null,
    },
    {
      clock,
      random,
      newId,
      log,
      version,
      hypervisor: untilPaused(hypervisor, deps.isSampling),
      wakers: [memoryWaker(world, node)],
      credential: {
        cluster,
        daemon,
        nodes: [node],
        secret,
        serverId,
        serverKeys,
        simulated: true,
        caSha256,
      },
      createExecutor: async (parts) =>
        atPace(await deps.makeExecutor(parts, { cluster, node, files: disk.files, log }), {
          intervalMs,
          onIncarnation: (count) => void (incarnation = count),
        }),
      outboxBytesMax: null,
      link: {
        ring: { ageMaxMs: ringMs, bytesMax },
        ...(load.isAligned && { phaseMs: alignedPhase(deps.clock) }),
      },
      openClient: (options) => line.open(options),
    },
  );
  return { daemon: running, line, disk, incarnation: () => incarnation };
}

export function createSeat(deps: SeatDeps, credential: FleetCredential): Seat {
  const { cluster, node } = credential;
  const place: Place = { cluster, node };
  const disk = deps.diskOf(place);
  const past = noCounters();
  let life: Life | undefined;
  let ending: RunningDaemon | undefined;
  let starts = 0;
  let hasConnected = false;
  let queue: Promise<void> = Promise.resolve();

  /** A failed change is told and ends there, so that the next one still happens. */
  const enqueue = (change: () => Promise<void>): Promise<void> => {
    queue = queue.then(change).catch((error: unknown) => {
      deps.log.error({ error, cluster, node }, 'a simulated daemon failed');
    });
    return queue;
  };
  const hasPower = (): boolean => {
    const power = deps.live.world.nodes.get(nodeKey(cluster, node))?.power;
    return power === 'on' || power === 'stopping';
  };
  const pullThePlug = (): void => {
    life?.line.cut();
    life?.disk.unmount();
  };

  return {
    place,
    begin: (onConnect) =>
      enqueue(async () => {
        if (life || !hasPower()) return onConnect();
        starts += 1;
        const onFirst = (): void => {
          hasConnected = true;
          onConnect();
        };
        life = await startLife(deps, { credential, disk, starts }, onFirst);
      }),
    end(how) {
      // The power goes now, not when earlier changes are through.
      if (how === 'abruptly') pullThePlug();
      return enqueue(async () => {
        if (!life) return;
        if (how === 'abruptly') pullThePlug();
        const { daemon } = life;
        // What its end takes out of the ring was sent, and is found by query or missing there.
        const { dropped } = daemon.counters();
        life = undefined;
        ending = daemon;
        await daemon.stop();
        ending = undefined;
        addTo(past, { ...daemon.counters(), dropped });
      });
    },
    drop: () => life?.line.drop(),
    stall: (what) => life?.line.stall(what),
    unstall: () => life?.line.unstall(),
    setPace: (intervalMs) => life?.daemon.setPace(intervalMs),
    isRunning: () => life !== undefined,
    isConnected: () => life?.daemon.isConnected() ?? false,
    hasConnected: () => hasConnected,
    unconfirmed: () => (life === undefined ? 0 : unconfirmedOf(life)),
    addCounters(sum) {
      addTo(sum, past);
      if (ending) addTo(sum, ending.counters());
      if (life) addTo(sum, life.daemon.counters());
    },
  };
}
