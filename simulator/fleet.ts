/**
 * Many real daemons in one process, one per node of the world: own connection, credential,
 * session, journal and phase each. The first so many of them are wanted; when the world cuts a
 * node's power its daemon vanishes without a word, and when the node has booted it starts again.
 * The fleet adds nothing to what a daemon does but what a load test asks of its traffic.
 */
import { type NodeKey, nodeKey } from '../broker/contract/ids.ts';
import type { Clock } from '../broker/contract/ports.ts';
import { type LinkCounters, noCounters } from '../daemon/link/agent.ts';
import { newTally, type Tally } from './line.ts';
import type { Place } from './scenarios/scenario.ts';
import { createSeat, type FleetDeps, type Seat, type SeatDeps } from './seat.ts';
import { createStarter } from './starter.ts';
import { keyOf, type WorldNode } from './world/model.ts';

export type Fleet = {
  /** Resolves when every wanted daemon has connected once, or after `limitMs`. */
  start(limitMs: number): Promise<{ connected: number; connectMs: number }>;
  /** From now on the first `count` daemons run; others say goodbye. */
  resize(count: number): void;
  wanted(): number;
  setPace(intervalMs: number): void;
  /** Daemons that run, and those of them that are connected. */
  running(): number;
  connected(): number;
  /** Where a daemon is connected now. */
  online(): Place[];
  drop(places: readonly Place[]): void;
  restart(places: readonly Place[]): void;
  stall(places: readonly Place[], what: 'reads' | 'both'): void;
  unstall(places: readonly Place[]): void;
  /** Of all daemons that ever ran here. */
  counters(): LinkCounters;
  tally(): Readonly<Tally>;
  /** Daemons stay, but take no more samples: what is on its way can now arrive. */
  endSampling(): void;
  /** Samples of running daemons that the server has not confirmed as durable. */
  unconfirmed(): number;
  stop(): Promise<void>;
};

const lookEveryMs = 50;

const pause = (clock: Clock, delayMs: number): Promise<void> =>
  new Promise((resolve) => void clock.after(delayMs, () => resolve()));

/** What changes for all seats at once. */
type Now = { isSampling: boolean; intervalMs: number; tally: Tally };

const seatDepsOf = (deps: FleetDeps, now: Now): SeatDeps => ({
  ...deps,
  tally: now.tally,
  isSampling: () => now.isSampling,
  intervalMs: () => now.intervalMs,
});

function followPower(node: WorldNode, seat: Seat | undefined, begin: (seat: Seat) => void): void {
  if (!seat) return;
  if (node.power === 'on') begin(seat);
  else void seat.end('abruptly');
}

/** What many seats come to together. */
const sumsOf = (seats: readonly Seat[]) => ({
  running: () => seats.filter((seat) => seat.isRunning()).length,
  connected: () => seats.filter((seat) => seat.isConnected()).length,
  online: () => seats.filter((seat) => seat.isConnected()).map(({ place }) => place),
  unconfirmed: () => seats.reduce((sum, seat) => sum + seat.unconfirmed(), 0),
  counters() {
    const sum = noCounters();
    for (const seat of seats) seat.addCounters(sum);
    return sum;
  },
});

export function createFleet(
  deps: FleetDeps,
  makeSeat: (deps: SeatDeps, credential: FleetDeps['credentials'][number]) => Seat = createSeat,
): Fleet {
  const { clock, load } = deps;
  const now = { isSampling: true, intervalMs: deps.intervalMs, tally: newTally() };
  const seats = deps.credentials.map((credential) => makeSeat(seatDepsOf(deps, now), credential));
  const indexes = new Map<NodeKey, number>(
    seats.map(({ place }, index) => [nodeKey(place.cluster, place.node), index]),
  );
  const indexOf = ({ cluster, node }: Place): number => indexes.get(nodeKey(cluster, node)) ?? -1;
  const named = (places: readonly Place[]): Seat[] =>
    places.flatMap((place) => seats[indexOf(place)] ?? []);
  let isStopped = false;
  let wanted = seats.length;
  const starter = createStarter(clock, load?.connectRate ?? null);
  const begin = (seat: Seat): void => void (isStopped || seat.begin(() => undefined));

  deps.live.onPower((node) => {
    const index = indexes.get(keyOf(node)) ?? -1;
    if (index < wanted) followPower(node, seats[index], begin);
  });
  const isWaiting = (): boolean =>
    starter.isBusy() || seats.some((seat) => seat.isRunning() && !seat.hasConnected());

  return {
    ...sumsOf(seats),
    async start(limitMs) {
      const startMs = clock.monotonicMs();
      starter.add(seats.slice(0, wanted));
      while (isWaiting() && clock.monotonicMs() - startMs < limitMs)
        await pause(clock, lookEveryMs);
      const connected = seats.filter((seat) => seat.hasConnected()).length;
      return { connected, connectMs: clock.monotonicMs() - startMs };
    },
    resize(count) {
      if (isStopped) return;
      const before = wanted;
      wanted = Math.min(count, seats.length);
      starter.add(seats.slice(before, wanted));
      const leaving = seats.slice(wanted, before);
      starter.remove(new Set(leaving));
      for (const seat of leaving) void seat.end('gently');
    },
    wanted: () => wanted,
    setPace(pace) {
      if (pace === now.intervalMs) return;
      now.intervalMs = pace;
      for (const seat of seats) seat.setPace(pace);
    },
    drop(places) {
      for (const seat of named(places)) seat.drop();
    },
    restart(places) {
      for (const seat of named(places.filter((place) => indexOf(place) < wanted))) {
        void seat.end('abruptly');
        begin(seat);
      }
    },
    stall(places, what) {
      for (const seat of named(places)) seat.stall(what);
    },
    unstall(places) {
      for (const seat of named(places)) seat.unstall();
    },
    tally: () => now.tally,
    endSampling() {
      now.isSampling = false;
    },
    async stop() {
      isStopped = true;
      starter.remove(new Set(seats));
      await Promise.all(seats.map((seat) => seat.end('gently')));
    },
  };
}
