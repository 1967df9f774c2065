/**
 * Small houses as people have them, from a seed: two to seven machines of different make, strength
 * and thirst, each with guests of its own. Some have votes, with or without a QDevice, some are
 * machines that stand alone.
 */
import { between, pick, ratioOf, seededRandom, seedOf } from '../../../simulator/prng.ts';
import { buildWorld, gibibyte, macOf } from '../../../simulator/world/build.ts';
import { loadShapes } from '../../../simulator/world/load.ts';
import type { GuestSpec, NodeSpec, World } from '../../../simulator/world/model.ts';

type Kind = {
  cpuModel: string;
  size: readonly [cpus: number, memory: number, factor: number];
  watts: readonly [idle: number, loaded: number];
  bootMs: number;
};

const kinds: readonly Kind[] = [
  { cpuModel: 'Intel N100', size: [4, 16, 0.65], watts: [7, 25], bootMs: 62_000 },
  { cpuModel: 'Intel N305', size: [8, 32, 0.7], watts: [10, 45], bootMs: 65_000 },
  { cpuModel: 'Intel i5-9500T', size: [6, 32, 0.85], watts: [12, 55], bootMs: 70_000 },
  { cpuModel: 'Intel i7-10700', size: [16, 64, 0.9], watts: [40, 160], bootMs: 90_000 },
  { cpuModel: 'Intel Xeon E5-2680 v4', size: [28, 128, 0.6], watts: [90, 260], bootMs: 170_000 },
];

/** As the replays name them, so that the gate finds their place. */
export const nodeName = (place: number): string => `h${String(place).padStart(4, '0')}`;
export const guestName = (place: number): string => `g${place}`;

export type House = {
  seed: number;
  nodes: number;
  guests: number;
  votes: boolean;
  qdevice: boolean;
};

function nodeOf(house: House, place: number): NodeSpec {
  const random = seededRandom(seedOf(house.seed, 100 + place));
  const kind = pick(random, kinds);
  const [cpuCount, memory, singleThreadFactor] = kind.size;
  const [wattsIdle, wattsLoaded] = kind.watts;
  return {
    cluster: 'home',
    node: nodeName(place),
    rack: 'home',
    cpuModel: kind.cpuModel,
    cpuCount,
    singleThreadFactor,
    memoryBytes: memory * gibibyte,
    diskBytes: 2 ** 41,
    wattsIdle,
    wattsLoaded,
    votes: house.votes ? 1 : 0,
    mac: macOf(place + 1),
    address: `192.168.1.${place + 10}`,
    broadcast: '192.168.1.255',
    bootMs: kind.bootMs,
    migrationBytesPerSecond: 1.1e8,
    roles: [],
  };
}

/** Guests of a machine: as many as a fifth of its memory holds, so that memory seldom decides. */
function guestsOf(house: House, node: NodeSpec, first: number, place: number): GuestSpec[] {
  const random = seededRandom(seedOf(house.seed, 200 + place));
  const guests: GuestSpec[] = [];
  let left = node.memoryBytes / 5;
  const count = between(random, 1, 6);
  for (let index = 0; index < count; index += 1) {
    const memoryBytes = pick(random, [0.5, 0.5, 1, 1, 2, 4]) * gibibyte;
    if (memoryBytes > left) continue;
    left -= memoryBytes;
    const number = first + guests.length;
    guests.push({
      cluster: 'home',
      id: guestName(number),
      name: guestName(number),
      kind: random.ratio() < 0.5 ? 'vm' : 'container',
      node: node.node,
      cpuCount: Math.min(node.cpuCount, pick(random, [1, 1, 2, 2, 4])),
      memoryBytes,
      diskBytes: 16 * gibibyte,
      load: {
        shape: pick(random, loadShapes),
        seed: Math.floor(random.ratio() * 2 ** 31),
        base: 0.02 + 0.1 * random.ratio(),
        swing: 0.5 * random.ratio(),
      },
      tags: [],
      running: true,
    });
  }
  return guests;
}

/** The house of a seed, and its world at the beginning; the same each time it is asked for. */
export function drawHouse(seed: number, startMs: number): { house: House; world: World } {
  const count = 2 + Math.floor(6 * ratioOf(seed, 1));
  const votes = count > 2 && ratioOf(seed, 2) < 0.5;
  const qdevice = votes && ratioOf(seed, 3) < 0.5;
  const house: House = { seed, nodes: count, guests: 0, votes, qdevice };
  const nodes = Array.from({ length: count }, (_, place) => nodeOf(house, place));
  const guests: GuestSpec[] = [];
  nodes.forEach((node, place) => guests.push(...guestsOf(house, node, guests.length, place)));
  const world = buildWorld({ seed, startMs, timeScale: 1, nodes, guests });
  if (qdevice) world.clusters.get('home')!.qdeviceVotes = 1;
  return { house: { ...house, guests: guests.length }, world };
}
