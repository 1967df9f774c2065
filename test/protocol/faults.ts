/**
 * What goes wrong, drawn step by step: crashes of either side at any durable step, pauses between
 * reading and writing, standing processes, partitions healed in another order than they came,
 * power cuts, disks that fail or are replaced, guests that end by themselves, and a time without
 * any backend. Supervisors and people set dead things going again.
 */
import type { House } from './house.ts';
import * as people from './people.ts';
import type { SimNode } from './node.ts';

const pickNode = ({ chance, nodes }: House): SimNode => chance.pick([...nodes.values()]);

/** A fault that is still to come does not come after the faults have ended. */
const soon = (house: House, maxMs: number, happens: () => void): void =>
  void house.clock.after(house.chance.between(0, maxMs), () =>
    house.isCalm ? undefined : happens(),
  );

function crashNode(house: House): void {
  const { chance } = house;
  const node = pickNode(house);
  const how = chance.is(0.4) ? 'power' : 'process';
  if (chance.is(0.6)) node.doom(how, chance.whole(1, 16));
  else soon(house, 10_000, () => node.die(how));
}

function crashBackend({ chance, backends }: House): void {
  const backend = chance.pick(backends);
  if (chance.is(0.2)) backend.kill();
  else backend.killAtCommit(chance.pick(['before', 'after']), chance.whole(1, 8));
}

function pauseBackend({ chance, backends }: House): void {
  const backend = chance.pick(backends);
  if (chance.is(0.7)) backend.pauseAt(chance.whole(1, 6), chance.between(0, 30_000));
  else backend.freeze(chance.between(0, 30_000));
}

function cut({ chance, clock, network }: House, end: string, maxMs: number): void {
  network.cut(end);
  clock.after(chance.between(500, maxMs), () => network.mend(end));
}

function partition(house: House): void {
  const { chance, nodes, backends } = house;
  if (chance.is(0.3)) return cut(house, chance.pick(backends).name, 40_000);
  // Each is cut at its own moment and healed at another, so heals come in any order.
  const ends = [...nodes.keys()].filter(() => chance.is(chance.is(0.3) ? 0.6 : 0.2));
  for (const end of ends) {
    soon(house, 5_000, () => cut(house, end, 60_000));
    if (chance.is(0.4)) house.nodes.get(end)?.disconnect();
  }
}

function blackout(house: House): void {
  for (const backend of house.backends) backend.kill();
  house.restartBackendsAtMs = house.world.now() + house.chance.between(30_000, 120_000);
}

function breakDisk(house: House): void {
  const node = pickNode(house);
  if (house.chance.is(0.7)) return node.disk.breakNextSync();
  node.die('process');
  return node.loseDisk();
}

function worldChanges({ chance, world, clock }: House): void {
  const guest = chance.pick([...world.guests.values()]);
  if (chance.is(0.6)) {
    guest.isRunning = false;
    return;
  }
  Object.assign(guest, { lock: 'backup', lockedAtMs: world.now() });
  clock.after(chance.between(5_000, 60_000), () => void (guest.lock = null));
}

function stopHere(house: House): void {
  const node = pickNode(house);
  node.setHold(true);
  house.clock.after(house.chance.between(5_000, 60_000), () => node.setHold(false));
}

function holdForAWhile(house: House): void {
  people.hold(house, true);
  house.clock.after(house.chance.between(3_000, 40_000), () => people.releaseAll(house));
}

const happenings: [weight: number, happens: (house: House) => void][] = [
  [46, people.submit],
  [14, people.propose],
  [5, people.approveAll],
  [4, people.cancelOne],
  [4, people.resolveOne],
  [3, holdForAWhile],
  [2, people.confirmJournals],
  [1, stopHere],
  [12, crashNode],
  [9, crashBackend],
  [7, pauseBackend],
  [6, partition],
  [2, breakDisk],
  [3, worldChanges],
  [1, blackout],
];
const weights = happenings.reduce((sum, [weight]) => sum + weight, 0);

export function happen(house: House): void {
  let drawn = house.chance.ratio() * weights;
  for (const [weight, happens] of happenings) {
    drawn -= weight;
    if (drawn < 0) return happens(house);
  }
}

/** systemd, and whoever switches a host on again after a power cut. */
export function supervise(house: House): void {
  const { chance, world, nodes, backends, clock } = house;
  const nowMs = world.now();
  for (const host of world.hosts.values()) {
    const isDueMs = host.downAtMs + 20_000 + host.plan.votes * 10_000;
    if (!host.isOn && host.downBy === 'world' && nowMs > isDueMs && chance.is(0.3))
      world.boot(host);
  }
  for (const node of nodes.values()) {
    if (!node.isUp() && node.host.isOn && chance.is(0.4)) node.start();
  }
  backends.forEach((backend, at) => {
    const mayStart = nowMs >= house.restartBackendsAtMs;
    if (!backend.isAlive() && mayStart && chance.is(0.35)) {
      house.counts.crashes += 1;
      house.startBackend(at);
    }
  });
  clock.after(4_000, () => supervise(house));
}
