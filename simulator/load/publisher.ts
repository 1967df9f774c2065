/**
 * A node's place when there is only a broker: it connects and publishes the samples a daemon would,
 * at the same instants, in the same words, and expects no answer. Nothing is kept for later: what
 * is due while the connection is away is counted as dropped.
 */
import { encode } from '../../broker/contract/codec.ts';
import type { Cancel, Random } from '../../broker/contract/ports.ts';
import type { DaemonClient } from '../../broker/client.ts';
import { memoryHypervisor } from '../../daemon/hypervisor/memory.ts';
import type { Hypervisor } from '../../daemon/hypervisor/port.ts';
import { type LinkCounters, noCounters } from '../../daemon/link/agent.ts';
import { breakableLine, type Line } from '../line.ts';
import { seededRandom, seedOfName } from '../prng.ts';
import {
  addTo,
  type FleetCredential,
  type FleetTraffic,
  plainTraffic,
  type Seat,
  type SeatDeps,
} from '../seat.ts';
import type { Arrivals } from './arrivals.ts';

/** In the ledger of the subscriber nothing more comes after so long. */
const quietMs = 3_000;

export type PublisherSetup = { arrivals: Arrivals; user: string | null };

type Life = {
  line: Line;
  client: DaemonClient;
  session: string;
  isBeating: boolean;
  cancelBeat: Cancel;
};

type Publisher = {
  deps: SeatDeps;
  traffic: FleetTraffic;
  credential: FleetCredential;
  setup: PublisherSetup;
  hypervisor: Hypervisor;
  random: Random;
  counters: LinkCounters;
  life: Life | undefined;
  seq: number;
  hasConnected: boolean;
};

async function publish(own: Publisher, life: Life, atMs: number): Promise<void> {
  const { deps, counters, setup, traffic } = own;
  const { cluster, node } = own.credential;
  const sample = await own.hypervisor.sample(node);
  counters.samples += 1;
  if (!life.client.isConnected()) {
    counters.dropped += 1;
    return;
  }
  own.seq += 1;
  const { seq } = own;
  setup.arrivals.due(cluster, node, { seq, atMs });
  const sentAtMs = Math.round(deps.clock.wallMs() + traffic.skewMsOf({ cluster, node }));
  const body = { incarnation: 1, sampledAtMs: sentAtMs, intervalMs: deps.intervalMs(), ...sample };
  const head = {
    v: 1,
    id: deps.newId(),
    cluster,
    node,
    session: life.session,
    seq,
    sentAtMs,
  } as const;
  await life.client.publish(encode('telemetry', { ...head, body }));
  counters.sent += 1;
}

/** Late beats are sent late, and count from when they were due: an open loop. */
function beatAt(own: Publisher, life: Life, dueMs: number): void {
  const { clock, isSampling, intervalMs } = own.deps;
  life.isBeating = true;
  life.cancelBeat = clock.after(Math.max(0, dueMs - clock.monotonicMs()), () => {
    if (own.life !== life) return;
    if (isSampling()) {
      publish(own, life, dueMs).catch(() => void (own.counters.failedSamples += 1));
    }
    beatAt(own, life, dueMs + intervalMs());
  });
}

function firstBeatMs({ deps, traffic, random }: Publisher): number {
  const intervalMs = deps.intervalMs();
  const phaseMs = traffic.isAligned
    ? intervalMs - (deps.clock.wallMs() % intervalMs)
    : random.ratio() * intervalMs;
  return deps.clock.monotonicMs() + phaseMs;
}

function connect(own: Publisher, onConnect: () => void): Life {
  const { deps, credential, setup, traffic, random } = own;
  const { clock, tally, log, caSha256 = null } = deps;
  const identity = `${credential.cluster}/${credential.node}`;
  const onUp = (): void => {
    own.hasConnected = true;
    if (!life.isBeating) beatAt(own, life, firstBeatMs(own));
    onConnect();
  };
  const line = breakableLine(deps.openClient, onUp, { ...traffic, tally, random });
  const client = line.open({
    url: deps.mqttUrl,
    clientId: identity,
    username: setup.user ?? identity,
    password: credential.secret,
    ...(caSha256 !== null && { fingerprintSha256: caSha256 }),
    subscriptions: [],
    will: () => undefined,
    onConnect: () => void (own.counters.sessions += 1),
    onMessage: () => undefined,
    onClose: () => undefined,
    clock,
    random,
    log,
  });
  const session = deps.newId();
  const life: Life = { line, client, session, isBeating: false, cancelBeat: () => undefined };
  return life;
}

/** What of this node never came, once nothing more can come, is no longer waited for. */
function waitingOf({ deps, setup, credential, seq }: Publisher): number {
  const silentMs = deps.clock.monotonicMs() - setup.arrivals.quietSinceMs();
  const isOver = !deps.isSampling() && silentMs > quietMs;
  return isOver ? 0 : seq - setup.arrivals.distinct(credential.cluster, credential.node);
}

export function createPublisher(
  deps: SeatDeps,
  credential: FleetCredential,
  setup: PublisherSetup,
): Seat {
  const { clock, live, load: traffic = plainTraffic } = deps;
  const { cluster, node } = credential;
  const own: Publisher = {
    deps,
    traffic,
    credential,
    setup,
    hypervisor: memoryHypervisor({ world: live.cluster(cluster), nodes: [node], clock }),
    random: seededRandom(seedOfName(live.world.seed, `${cluster}/${node}/${clock.wallMs()}`)),
    counters: noCounters(),
    life: undefined,
    seq: 0,
    hasConnected: false,
  };
  return {
    place: { cluster, node },
    async begin(onConnect) {
      if (own.life) return onConnect();
      own.life = connect(own, onConnect);
    },
    async end(how) {
      const { life } = own;
      own.life = undefined;
      life?.cancelBeat();
      if (how === 'abruptly') life?.line.cut();
      else await life?.client.end();
    },
    drop: () => own.life?.line.drop(),
    stall: (what) => own.life?.line.stall(what),
    unstall: () => own.life?.line.unstall(),
    setPace() {
      const { life } = own;
      life?.cancelBeat();
      if (life?.isBeating) beatAt(own, life, firstBeatMs(own));
    },
    isRunning: () => own.life !== undefined,
    isConnected: () => own.life?.client.isConnected() ?? false,
    hasConnected: () => own.hasConnected,
    unconfirmed: () => waitingOf(own),
    addCounters: (sum) => addTo(sum, own.counters),
  };
}
