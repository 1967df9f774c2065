/**
 * One seed: a world with two clusters, two production backends on one store, production executors
 * on every host, a bad network, faults and people. Then the faults end, everything comes to rest,
 * and the end is judged. The hash covers each message, commit and effect with its virtual time.
 */
import { happen, supervise } from './faults.ts';
import { createHouse, type House, type Keeping, type Tier, type Workshop } from './house.ts';
import { settle } from './heap-clock.ts';
import {
  hasSettled,
  judgeBooks,
  judgeChain,
  judgeOutcomes,
  judgeProgress,
  judgeReceipts,
  judgeRoll,
  judgeWishes,
} from './judge-end.ts';
import * as people from './people.ts';

export type Counts = {
  commands: number;
  effects: number;
  powerOffs: number;
  wakes: number;
  crashes: number;
  duplicates: number;
  lost: number;
  late: number;
  tornWrites: number;
  takeovers: number;
  holds: number;
  forgedGrants: number;
  simulatedMs: number;
};
export type Outcome = {
  seed: number;
  tier: Tier;
  violations: string[];
  unjudged: Record<string, number>;
  hash: string;
  counts: Counts;
  /** Run twice, with the same event log. */
  isRepeated: boolean;
  lines: string[] | null;
};

const settleMaxMs = 3_600_000;
const sliceMs = 20_000;

async function open(house: House): Promise<void> {
  for (const at of [0, 1]) house.startBackend(at);
  for (const node of house.nodes.values()) {
    house.clock.after(house.chance.between(0, 2_000), () => node.start());
  }
  await house.clock.run(15_000);
  // A server that has just begun leaves a real cluster alone for 5 minutes (SAFETY T3).
  if (house.world.clusters.some(({ simulated }) => !simulated)) await house.clock.run(320_000);
  supervise(house);
}

async function disturb(house: House): Promise<void> {
  const { chance, clock } = house;
  const paceMs = chance.pick([3_000, 6_000, 12_000]);
  for (let round = chance.whole(25, 45); round > 0; round -= 1) {
    happen(house);
    await clock.run(chance.ratio() * paceMs);
  }
}

/** The network is whole, hosts and daemons are up, nothing is held, people answer. */
async function mend(house: House): Promise<void> {
  const { network, world, nodes, backends } = house;
  house.isCalm = true;
  network.heal();
  house.restartBackendsAtMs = 0;
  for (const node of nodes.values()) node.doom('process', Number.POSITIVE_INFINITY);
  for (const host of world.hosts.values()) {
    if (!host.isOn && host.downBy === 'world') world.boot(host);
  }
  backends.forEach((backend, at) => {
    if (!backend.isAlive()) house.startBackend(at);
    else backend.spare();
  });
  for (const node of nodes.values()) {
    node.setHold(false);
    node.start();
  }
  await house.clock.run(15_000);
  people.releaseAll(house);
  people.approveAll(house);
}

async function rest(house: House): Promise<void> {
  const { clock } = house;
  const faultsEndedMs = clock.monotonicMs();
  // Where nobody looks, the alarm is what must come.
  const isAttended = house.chance.is(0.6);
  await clock.run(sliceMs);
  // A HOLD that was ordered before may have waited in a backend that stood still until now.
  people.releaseAll(house);
  do {
    await clock.run(sliceMs);
    people.approveAll(house);
    if (isAttended) people.resolveOne(house);
    judgeProgress(house, faultsEndedMs);
  } while (!hasSettled(house) && clock.monotonicMs() - faultsEndedMs < settleMaxMs);
  if (!hasSettled(house)) house.court.accuse('L-1', 'an hour after the faults something is open');
  await clock.run(sliceMs);
}

async function judgeEnd(house: House, workshop: Workshop): Promise<void> {
  const { rows, audit } = await workshop.store.read();
  judgeOutcomes(house);
  judgeWishes(house);
  judgeReceipts(house, rows, workshop.signer.serverKeys);
  judgeChain(house, audit);
  judgeBooks(house, audit);
}

function countsOf(house: House): Counts {
  const { world, network, nodes, ledger, counts, clock } = house;
  const of = (kind: string): number =>
    world.effects.filter((effect) => effect.kind === kind).length;
  const sum = (figure: (node: House['nodes'] extends Map<string, infer N> ? N : never) => number) =>
    [...nodes.values()].reduce((total, node) => total + figure(node), 0);
  return {
    commands: ledger.commands.size,
    effects: world.effects.length,
    powerOffs: of('node.shutdown') + of('node.reboot'),
    wakes: of('node.wake'),
    crashes: counts.crashes + sum((node) => node.crashes),
    duplicates: network.counts.duplicates,
    lost: network.counts.lost,
    late: network.counts.late,
    tornWrites: sum((node) => node.disk.tornWrites),
    takeovers: counts.takeovers,
    holds: counts.holds,
    forgedGrants: counts.forged,
    simulatedMs: Math.round(clock.monotonicMs()),
  };
}

/** Nothing of this seed may reach into the next. */
async function close(house: House): Promise<void> {
  for (const backend of house.backends) backend.kill();
  for (const node of house.nodes.values()) node.die('process');
  await settle();
}

export async function simulate(
  seed: number,
  workshop: Workshop,
  keeping: Keeping = 'hash',
): Promise<Outcome> {
  const house = await createHouse(seed, workshop, keeping);
  await open(house);
  await disturb(house);
  await mend(house);
  await rest(house);
  const counts = countsOf(house);
  await judgeRoll(house);
  await judgeEnd(house, workshop);
  await close(house);
  const { violations, unjudged } = house.court;
  const { lines } = house.log;
  const hash = house.log.digest();
  return {
    seed,
    tier: workshop.tier,
    violations,
    unjudged,
    hash,
    counts,
    isRepeated: false,
    lines,
  };
}
