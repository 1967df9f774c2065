/**
 * Adversarial proposals over random clusters: a healthy house of 1 to 16 nodes, a random wish, and
 * then a few lies, gaps and coincidences at the very edge of the rules. One seed is one case.
 * Tuned so that about half of the cases may be allowed: a judge that always denies proves nothing.
 */
import type { Action, CommandKind } from '../../broker/contract/command.ts';
import type { Random } from '../../broker/contract/ports.ts';
import { seededRandom } from '../support/clock.ts';
import type { Case, CaseNode } from './case.ts';
import { chanceOf, type Chance } from './chance.ts';
import { addGuest, healthyCase, localOf, nameOf, quorumOf, type Shape } from './healthy.ts';
import { lies } from './lies.ts';

const gibibyte = 2 ** 30;

/** Plain data only; several times faster than structuredClone. */
function copyOf<T>(value: T): T {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(copyOf) as T;
  const copy: Record<string, unknown> = {};
  for (const [key, part] of Object.entries(value)) copy[key] = copyOf(part);
  return copy as T;
}

const templates = new Map<string, Case>();

function template(nodes: number, standalone: boolean): Case {
  const key = `${nodes}/${standalone}`;
  let found = templates.get(key);
  if (!found) {
    found = healthyCase({ nodes, standalone, votes: () => 1, deviceVotes: 0 });
    templates.set(key, found);
  }
  return copyOf(found);
}

function shapeOf(chance: Chance): Shape {
  const standalone = chance.of(0.12);
  const nodes = standalone ? chance.whole(1, 4) : chance.pick([2, 3, 4, 5, 5, 6, 7, 8, 9, 12, 16]);
  const heavy = chance.of(0.2) ? chance.whole(0, nodes - 1) : -1;
  const weight = chance.whole(2, 3);
  const usual = nodes % 2 === 0 ? 1 : Math.max(1, nodes - 1);
  const wantsDevice = nodes <= 3 ? 0.6 : 0.25;
  const deviceVotes = chance.of(wantsDevice) ? chance.pick([usual, usual, 1]) : 0;
  return {
    nodes,
    standalone,
    votes: (index) => (index === heavy ? weight : 1),
    deviceVotes: standalone ? 0 : deviceVotes,
  };
}

function house(chance: Chance): Case {
  const shape = shapeOf(chance);
  const question = template(shape.nodes, shape.standalone);
  if (!shape.standalone) {
    for (const { record } of question.nodes)
      if (record.facts) record.facts.quorum = quorumOf(shape);
  }
  question.cluster.spareVotes = chance.of(shape.nodes <= 3 ? 0.8 : 0.3) ? 0 : 1;
  question.cluster.wakersMin = Math.min(2, shape.nodes - 1);
  question.cluster.reserve = chance.pick(['awake', 'wakeable', 'wakeable']);
  question.proposal.origin = chance.pick(['person', 'token', 'engine', 'engine', 'engine']);
  return question;
}

const kinds: readonly (readonly [number, CommandKind])[] = [
  [0.52, 'node.shutdown'],
  [0.58, 'node.reboot'],
  [0.62, 'node.wake'],
  [0.84, 'guest.migrate'],
  [0.93, 'guest.scale'],
  [0.95, 'guest.stop'],
  [0.97, 'guest.restart'],
  [0.98, 'guest.start'],
  [1, 'guest.snapshot'],
];

const widePolicy = { cpuMin: 1, cpuMax: 64, memoryMinBytes: 2 ** 29, memoryMaxBytes: 2 ** 40 };

function scaleArgs(chance: Chance): Action & { kind: 'guest.scale' } {
  const memory = chance.pick([undefined, 2, 3, 4, 6, 8, 8.5, 0.5, 4.25, 1.25, 1.2]);
  const balloon = chance.of(0.15) ? chance.pick([1, 2, 1.25]) : undefined;
  const cpuCount = chance.pick([undefined, undefined, 1, 2, 4, 5]);
  const args = {
    ...(memory === undefined ? {} : { memoryBytes: Math.trunc(memory * gibibyte) }),
    ...(balloon === undefined ? {} : { balloonBytes: balloon * gibibyte }),
    ...(cpuCount === undefined ? {} : { cpuCount }),
  };
  return { kind: 'guest.scale', args: Object.keys(args).length > 0 ? args : { cpuUnits: 100 } };
}

function guestWish(question: Case, kind: CommandKind, chance: Chance): Action {
  const first = question.nodes[0];
  if (!first) throw new Error('a house has nodes');
  const vm = chance.of(0.7);
  const state = kind === 'guest.start' || chance.of(0.1) ? 'stopped' : 'running';
  addGuest(first, '100', vm ? 'vm' : 'container', state);
  question.proposal.guest = '100';
  if (kind === 'guest.scale') {
    if (chance.of(0.8)) question.guestPolicy = { ...widePolicy };
    return scaleArgs(chance);
  }
  if (kind === 'guest.stop') {
    return { kind, args: { force: chance.of(0.3), timeoutMs: 180_000 } };
  }
  if (kind === 'guest.snapshot') return { kind, args: { name: 'before' } };
  if (kind === 'guest.migrate') return moveTo(question, vm, chance);
  return { kind, args: {} } as Action;
}

function moveTo(question: Case, vm: boolean, chance: Chance): Action {
  const last = Math.max(1, question.nodes.length - 1);
  return {
    kind: 'guest.migrate',
    args: {
      targetNode: nameOf(chance.of(0.03) ? 0 : chance.whole(1, last)),
      online: vm ? chance.of(0.95) : chance.of(0.5),
      withLocalDisks: chance.of(0.3),
      ...(chance.of(0.9) ? { bandwidthBytesPerSecond: 1e8 } : {}),
    },
  };
}

/** The node to be woken sleeps, as it was told to. */
function fallAsleep({ record }: CaseNode): void {
  record.online = false;
  record.desired = 'asleep';
  record.sampleAtMs = -3_600_000;
  record.offlineSinceMs = -3_590_000;
}

function switchOff({ proposal }: Case, chance: Chance): Action {
  proposal.proving = chance.of(0.05);
  const mode = chance.of(0.8) ? ('poweroff' as const) : ('suspend' as const);
  const typed = chance.of(0.06) ? { switchOnByHand: chance.pick([proposal.node, 'n2']) } : {};
  return { kind: 'node.shutdown', args: { mode, ...typed } };
}

function wish(question: Case, chance: Chance): void {
  const drawn = chance.ratio();
  const kind = kinds.find(([upTo]) => drawn < upTo)?.[1] ?? 'node.shutdown';
  const [first] = question.nodes;
  if (kind === 'node.wake' && first) fallAsleep(first);
  question.proposal.action = kind.startsWith('guest.')
    ? guestWish(question, kind, chance)
    : kind === 'node.shutdown'
      ? switchOff(question, chance)
      : ({ kind, args: {} } as Action);
}

/** Others carry guests too, since the reserve is counted in their memory. */
function populate(question: Case, chance: Chance): void {
  for (const [index, node] of question.nodes.entries()) {
    const count = index === 0 ? 0 : chance.whole(0, 2);
    for (let guest = 0; guest < count; guest += 1) {
      const kind = chance.of(0.6) ? 'vm' : 'container';
      addGuest(node, `g${index}-${guest}`, kind, chance.of(0.8) ? 'running' : 'stopped');
    }
  }
}

/** How many things are wrong at once: often none or one, sometimes many. */
function liesTold(chance: Chance): number {
  const drawn = chance.ratio();
  if (drawn < 0.35) return 0;
  if (drawn < 0.75) return 1;
  return drawn < 0.93 ? 2 : chance.whole(3, 6);
}

export function generate(seed: number): Case {
  const random: Random = seededRandom(seed);
  const chance = chanceOf(random);
  const question = house(chance);
  populate(question, chance);
  wish(question, chance);
  const [first] = question.nodes;
  if (!first) throw new Error('a house has nodes');
  question.local = localOf(first);
  const told = liesTold(chance);
  for (let index = 0; index < told; index += 1) {
    const lie = chance.pick(lies);
    // Most of what is wrong is seen by server and node alike; some only by one of them.
    const isShared = chance.of(0.7);
    lie(question, chance);
    if (isShared) question.local = { ...localOf(first), ageMs: 800, hold: question.local.hold };
  }
  return question;
}
