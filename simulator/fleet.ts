/**
 * Many real daemons in one process, one per node of the world: own connection, credential,
 * session, journal and phase each. When the world cuts a node's power its daemon vanishes without
 * a word; when the node has booted it starts again. The fleet adds nothing to what a daemon does.
 */
import { type NodeKey, nodeKey } from '../broker/contract/ids.ts';
import type { Clock } from '../broker/contract/ports.ts';
import type { LinkCounters } from '../daemon/link/agent.ts';
import type { Place } from './scenarios/scenario.ts';
import { createSeat, type FleetDeps, noCounters, type Seat } from './seat.ts';
import { keyOf } from './world/model.ts';

export type Fleet = {
  /** Resolves when every daemon has connected once, or after `limitMs`. */
  start(limitMs: number): Promise<{ connected: number; connectMs: number }>;
  /** Daemons that run, and those of them that are connected. */
  running(): number;
  connected(): number;
  drop(places: readonly Place[]): void;
  restart(places: readonly Place[]): void;
  /** Of all daemons that ever ran here. */
  counters(): LinkCounters;
  /** Daemons stay, but take no more samples: what is on its way can now arrive. */
  endSampling(): void;
  /** Samples of running daemons that the server has not confirmed as durable. */
  unconfirmed(): number;
  stop(): Promise<void>;
};

/** Fewer than the broker lets wait for their credentials to be checked from one address. */
const connectingMax = 24;
const connectPatienceMs = 2_000;
const lookEveryMs = 50;

const pause = (clock: Clock, delayMs: number): Promise<void> =>
  new Promise((resolve) => void clock.after(delayMs, () => resolve()));

const beginAndConnect = (clock: Clock, seat: Seat): Promise<void> =>
  new Promise((resolve) => {
    const cancel = clock.after(connectPatienceMs, () => resolve());
    void seat.begin(() => {
      cancel();
      resolve();
    });
  });

async function startAll(clock: Clock, seats: readonly Seat[], limitMs: number) {
  const startMs = clock.monotonicMs();
  const waiting = seats.values();
  const worker = async (): Promise<void> => {
    for (const seat of waiting) await beginAndConnect(clock, seat);
  };
  await Promise.all(Array.from({ length: connectingMax }, worker));
  const isWaiting = (): boolean => seats.some((seat) => seat.isRunning() && !seat.hasConnected());
  while (isWaiting() && clock.monotonicMs() - startMs < limitMs) await pause(clock, lookEveryMs);
  const connected = seats.filter((seat) => seat.hasConnected()).length;
  return { connected, connectMs: clock.monotonicMs() - startMs };
}

export function createFleet(deps: FleetDeps): Fleet {
  let isSampling = true;
  const seatDeps = { ...deps, isSampling: () => isSampling };
  const seats = deps.credentials.map((credential) => createSeat(seatDeps, credential));
  const byKey = new Map<NodeKey, Seat>(
    seats.map((seat) => [nodeKey(seat.place.cluster, seat.place.node), seat]),
  );
  const named = (places: readonly Place[]): Seat[] =>
    places.flatMap(({ cluster, node }) => byKey.get(nodeKey(cluster, node)) ?? []);
  let isStopped = false;
  const begin = (seat: Seat): void => void (isStopped || seat.begin(() => undefined));

  deps.live.onPower((node) => {
    const seat = byKey.get(keyOf(node));
    if (!seat) return;
    if (node.power === 'on') begin(seat);
    else void seat.end('abruptly');
  });

  return {
    start: (limitMs) => startAll(deps.clock, seats, limitMs),
    running: () => seats.filter((seat) => seat.isRunning()).length,
    connected: () => seats.filter((seat) => seat.isConnected()).length,
    drop(places) {
      for (const seat of named(places)) seat.drop();
    },
    restart(places) {
      for (const seat of named(places)) {
        void seat.end('abruptly');
        begin(seat);
      }
    },
    counters() {
      const sum = noCounters();
      for (const seat of seats) seat.addCounters(sum);
      return sum;
    },
    endSampling() {
      isSampling = false;
    },
    unconfirmed: () => seats.reduce((sum, seat) => sum + seat.unconfirmed(), 0),
    async stop() {
      isStopped = true;
      await Promise.all(seats.map((seat) => seat.end('gently')));
    },
  };
}
