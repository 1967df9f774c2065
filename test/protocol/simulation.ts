/**
 * One seed of the full tier: two production backends on one store, four production executors, a
 * bad network, crashes of either side and pauses, then the faults end and everything is judged.
 * The hash covers each message, state and effect with its virtual time; signatures are left out,
 * since a server's key is drawn by the system.
 */
import { createHash } from 'node:crypto';
import type { Signer } from '../../backend/act/signer.ts';
import { emptyFleet } from '../../backend/state/fleet.ts';
import { ensureCluster, ensureNodes } from '../../backend/store/sql/clusters.ts';
import { openDatabase } from '../../backend/store/sql/database.ts';
import { GuestFacts } from '../../broker/contract/facts.ts';
import { nodeKey } from '../../broker/contract/ids.ts';
import { nodeRecord } from '../backend/act/twin.ts';
import { idsOf, seededRandom } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { guestSample } from '../support/messages.ts';
import { type Backend, createBackend } from './backend.ts';
import { heapClock, settle } from './heap-clock.ts';
import { judge } from './invariants.ts';
import { createNetwork } from './network.ts';
import { createNode, type SimNode } from './node.ts';
import { createWorld, kinds } from './world.ts';

export type Outcome = {
  seed: number;
  violations: string[];
  hash: string;
  commands: number;
  effects: number;
  crashes: number;
  duplicates: number;
};

const cluster = 'home';
const nodeNames = ['n1', 'n2', 'n3', 'n4'];
const guests = ['100', '101', '102', '103', '104', '105'];
const rounds = 30;
/** An offer lives 5 min, a doubt is told to a person after 5 more, the slowest effect after that. */
const settleMs = 30 * 60_000;

const guestFacts = JSON.stringify(
  guests.map((id) =>
    GuestFacts.parse({
      id,
      kind: 'vm',
      name: `guest-${id}`,
      cpuType: 'x86-64-v3',
      hotplug: ['cpu', 'memory'],
      disks: [],
      localResources: [],
    }),
  ),
);

function createFleet() {
  const fleet = emptyFleet();
  const records = new Map(nodeNames.map((node) => [node, nodeRecord(cluster, node)]));
  fleet.nodesByCluster.set(cluster, records);
  for (const [node, record] of records) {
    record.guestFactsJson = guestFacts;
    fleet.nodes.set(nodeKey(cluster, node), record);
  }
  guests.forEach((id, index) => {
    const node = nodeNames[index % nodeNames.length] as string;
    fleet.guests.set(`${cluster}/${id}`, { ...guestSample(id), cluster, node, sampleAtMs: 0 });
  });
  return { fleet, records };
}

async function createHouse(seed: number, signer: Signer) {
  const clock = heapClock();
  const random = seededRandom(seed);
  const newId = idsOf(clock, random);
  const hash = createHash('sha256');
  const note = (line: string): void => void hash.update(`${clock.monotonicMs()} ${line}\n`);
  const nowMs = () => clock.wallMs();
  const database = await openDatabase({ file: ':memory:', nowMs, log: memoryLog() });
  await database.transaction(async (trx) => {
    await ensureCluster(trx, { id: cluster, simulated: true, nowMs: nowMs() });
    await ensureNodes(trx, { cluster, nodes: nodeNames, nowMs: nowMs() });
  });
  const { fleet, records } = createFleet();
  const network = createNetwork(clock, random);
  const world = createWorld(clock, random);
  const backends: Backend[] = [];
  const nodes = new Map<string, SimNode>();
  for (const [name, record] of records) {
    const send = (topic: string, payload: string): void =>
      network.carry(name, () => {
        note(`${topic} ${payload.length}`);
        for (const backend of backends) backend.hear(topic, payload);
      });
    const keys = signer.serverKeys;
    nodes.set(name, createNode({ name, clock, random, newId, world, keys, record, send }));
  }
  const publish = (topic: string, payload: string): void => {
    for (const [name, node] of nodes) {
      if (topic !== 'kr/v1/server' && topic.split('/')[3] !== name) continue;
      network.carry(name, () => {
        note(`${topic} ${payload.length}`);
        node.receive(topic, payload);
      });
    }
  };
  const startBackend = (owner: string): Backend => {
    const deps = { owner, clock, random, newId, database, signer, fleet, publish };
    const backend = createBackend(deps);
    void backend.commands.start();
    return backend;
  };
  return { clock, random, hash, note, database, network, world, backends, nodes, startBackend };
}
type House = Awaited<ReturnType<typeof createHouse>> & { crashes: number };

const pickOf =
  ({ random }: House) =>
  <T>(items: readonly T[]): T =>
    items[Math.floor(random.ratio() * items.length)] as T;

function wish(house: House): void {
  const pick = pickOf(house);
  const id = pick(guests);
  const kind = pick(kinds);
  const node = nodeNames[guests.indexOf(id) % nodeNames.length] as string;
  const args =
    kind === 'guest.migrate'
      ? { targetNode: pick(nodeNames) }
      : kind === 'guest.scale'
        ? { cpuCount: 4 }
        : {};
  const common = { cluster, kind, node, guest: id, args, approved: true } as const;
  for (const { commands } of house.backends) {
    void commands.submit({ ...common, origin: 'token', actor: 'token:t' });
  }
}

/** The old process may go on until its next commit; the clock is all that ends it for sure. */
function reviveBackends(house: House): void {
  house.backends.forEach((backend, index) => {
    if (!backend.isAlive()) house.backends[index] = house.startBackend(`backend-${index}`);
  });
}

function disturb(house: House): void {
  const { random, clock, network } = house;
  const pick = pickOf(house);
  const chance = random.ratio();
  const node = pick([...house.nodes.values()]);
  if (chance < 0.5) return wish(house);
  if (chance < 0.7) {
    if (!node.isUp()) return;
    house.crashes += 1;
    if (random.ratio() < 0.6) node.tearAfter(Math.floor(random.ratio() * 1_500));
    clock.after(random.ratio() * 10_000, () => node.crash());
    clock.after(10_000 + random.ratio() * 40_000, () => (node.isUp() ? undefined : node.start()));
  } else if (chance < 0.82) {
    house.crashes += 1;
    pick(house.backends).killAtCommit(random.ratio() < 0.5 ? 'before' : 'after');
    clock.after(5_000 + random.ratio() * 30_000, () => reviveBackends(house));
  } else if (chance < 0.92) {
    pick(house.backends).pauseNext(random.ratio() * 30_000);
  } else {
    network.cut(node.name, true);
    clock.after(random.ratio() * 60_000, () => network.cut(node.name, false));
  }
}

async function calm(house: House): Promise<void> {
  await house.clock.run(60_000);
  house.network.heal();
  reviveBackends(house);
  for (const node of house.nodes.values()) {
    if (node.isUp()) continue;
    node.crash();
    void node.start();
  }
  await house.clock.run(settleMs);
}

export async function simulate(seed: number, signer: Signer): Promise<Outcome> {
  const house: House = { ...(await createHouse(seed, signer)), crashes: 0 };
  const { clock, random, database, world, hash, network } = house;
  for (const index of [0, 1]) house.backends.push(house.startBackend(`backend-${index}`));
  await settle();
  for (const node of house.nodes.values()) void node.start();
  const sample = (): void => {
    for (const node of house.nodes.values()) node.sample();
    clock.after(5_000, sample);
  };
  sample();
  await clock.run(10_000);
  for (let round = 0; round < rounds; round += 1) {
    disturb(house);
    await clock.run(random.ratio() * 12_000);
  }
  await calm(house);
  const violations = await judge(database, world);
  const history = await database.db
    .selectFrom('command_history')
    .select(['command_id', 'ver', 'state', 'at_ms'])
    .orderBy('command_id')
    .orderBy('ver')
    .execute();
  hash.update(JSON.stringify([history, world.effects]));
  const commands = new Set(history.map((line) => line.command_id)).size;
  await database.close();
  const { crashes } = house;
  const { duplicates } = network.counts;
  const effects = world.effects.length;
  return { seed, violations, hash: hash.digest('hex'), commands, effects, crashes, duplicates };
}
