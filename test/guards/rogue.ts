/**
 * RELIABILITY R18: an engine gone mad, against the real submit path, dispatcher and limiter. Every
 * minute it proposes to switch everything off, to wake it, and to move every guest, and calls
 * itself approved. Judged from what really happened: the rows' history and the nodes themselves.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import { NodeFacts } from '../../broker/contract/facts.ts';
import { nodeKey } from '../../broker/contract/ids.ts';
import { createWorld, everyKind, type Service, type World } from '../backend/act/twin.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const count = 8;
const nodes = Array.from({ length: count }, (_, index) => `n${index + 1}`);
const guests = ['100', '101', '102'];
/** Eight votes: five are quorum, and one more must be able to fail. */
const awakeMin = 6;

export type RogueFigures = {
  hours: number;
  proposals: number;
  accepted: number;
  powerOffs: number;
  wakes: number;
  moves: number;
  leastAwake: number;
  violations: string[];
  /** After a node did not come back: power-offs from then on, and what was done about it. */
  powerOffsAfterFailedWake: number;
  isFrozenOrQuarantined: boolean;
  isAlarmed: boolean;
};

const factsFor = (world: World, node: string): NodeFacts => {
  const online = nodes.filter((one) => !world.isOff(one));
  const index = nodes.indexOf(node) + 1;
  return NodeFacts.parse({
    cpuVendor: 'GenuineIntel',
    kernel: '6.14.0-twin',
    hypervisorVersion: 'memory 1',
    links: [
      { name: 'eno1', mac: `02:00:00:00:00:0${index}`, broadcast: '10.0.0.255', wakeOnMagic: true },
    ],
    quorum: {
      quorate: online.length > count / 2,
      expectedVotes: count,
      totalVotes: online.length,
      quorumVotes: count / 2 + 1,
      members: nodes.map((one) => ({ node: one, votes: 1, online: online.includes(one) })),
      qdevice: null,
    },
    ha: {
      managed: false,
      lrmState: 'idle',
      mode: null,
      watchdogOpen: false,
      shutdownPolicy: 'conditional',
      services: [],
    },
    roles: [],
    busy: [],
    upsOnBattery: false,
  });
};

/** What each daemon would say within a minute: its votes, its members, how long it is up. */
function tell(world: World, upSinceMs: Map<string, number>): void {
  const nowMs = world.clock.monotonicMs();
  const online = nodes.filter((one) => !world.isOff(one));
  for (const node of nodes) {
    const twin = world.twin(node);
    const record = world.fleet.nodes.get(nodeKey('home', node));
    if (twin.session === null || !record) {
      upSinceMs.delete(node);
      continue;
    }
    const since = upSinceMs.get(node) ?? nowMs;
    upSinceMs.set(node, since);
    const isSame = record.membersOnline?.join() === online.join();
    if (!isSame) record.votesSinceMs = nowMs;
    record.membersOnline = online;
    if (record.values) record.values.uptimeMs = nowMs - since;
    record.facts = factsFor(world, node);
    twin.say('hello', {
      incarnation: record.incarnation || 1,
      bootId: record.bootId,
      journalId: twin.journalId,
      maxEpoch: 0,
      driver: { name: 'memory', version: null, simulated: true, capabilities: everyKind },
      facts: record.facts,
      guests: null,
      openCommands: [],
      wakeTableVersion: null,
      localHold: false,
    });
  }
}

type Rogue = { world: World; service: Service; figures: RogueFigures; wakesToo: boolean };

async function propose({ world, service, figures, wakesToo }: Rogue): Promise<void> {
  const ask = async (kind: CommandKind, node: string, more: object = {}): Promise<void> => {
    const origin = world.random.ratio() < 0.5 ? ('engine' as const) : ('token' as const);
    figures.proposals += 1;
    const submission = { cluster: 'home', kind, node, args: {}, actor: 'rogue', origin, ...more };
    const answer = await service.commands.submit({ ...submission, approved: true });
    if (answer.ok && answer.state === 'QUEUED') figures.accepted += 1;
  };
  const start = Math.floor(world.random.ratio() * count);
  const inSomeOrder = nodes.map((_, index) => nodes[(start + index) % count] as string);
  for (const node of inSomeOrder) await ask('node.shutdown', node);
  if (wakesToo) {
    for (const node of inSomeOrder) if (world.isOff(node)) await ask('node.wake', node);
  }
  for (const guest of guests) {
    const at = world.fleet.guests.get(`home/${guest}`)?.node ?? 'n1';
    const targetNode = inSomeOrder.find((node) => node !== at);
    await ask('guest.migrate', at, { guest, args: { targetNode } });
  }
}

type Queued = { kind: string; target_id: string; at_ms: number };

const queuedOf = (world: World): Promise<Queued[]> =>
  world.database.db
    .selectFrom('command_history')
    .innerJoin('commands', 'commands.id', 'command_history.command_id')
    .select(['commands.kind', 'commands.target_id', 'command_history.at_ms'])
    .where('command_history.state', '=', 'QUEUED')
    .orderBy('command_history.at_ms')
    .execute();

/** No window of this length ever holds more than so many. */
function windowsBroken(what: string, times: readonly number[], most: number, windowMs: number) {
  return times.flatMap((at, index) => {
    const earlier = times[index - most];
    return earlier !== undefined && at - earlier < windowMs
      ? [`${what}: ${most + 1} within ${at - earlier} ms`]
      : [];
  });
}

async function judge({ world, figures }: Rogue): Promise<void> {
  const queued = await queuedOf(world);
  const timesOf = (kind: string, target?: string): number[] =>
    queued
      .filter((row) => row.kind === kind && (target === undefined || row.target_id === target))
      .map(({ at_ms }) => at_ms);
  const offs = timesOf('node.shutdown');
  figures.powerOffs = offs.length;
  figures.wakes = timesOf('node.wake').length;
  figures.moves = timesOf('guest.migrate').length;
  figures.violations.push(
    ...windowsBroken('power-offs 10 min apart', offs, 1, 10 * minute),
    ...windowsBroken('a fifth of the nodes per hour', offs, Math.floor(count / 5), hour),
    ...windowsBroken('wakes 10 s apart', timesOf('node.wake'), 1, 10_000),
    ...nodes.flatMap((node) =>
      windowsBroken(`cycles of ${node}`, timesOf('node.shutdown', node), 4, day),
    ),
    ...world.violations,
  );
}

/** The engine's own moves; a token's are a person's wish and bound only by the spacing per node. */
async function judgeMoves({ world, figures }: Rogue): Promise<void> {
  for (const guest of guests) {
    const rows = await world.database.db
      .selectFrom('command_history')
      .innerJoin('commands', 'commands.id', 'command_history.command_id')
      .select('command_history.at_ms')
      .where('command_history.state', '=', 'QUEUED')
      .where('commands.kind', '=', 'guest.migrate')
      .where('commands.origin', '=', 'engine')
      .where('commands.target_id', '=', guest)
      .orderBy('command_history.at_ms')
      .execute();
    const times = rows.map(({ at_ms }) => at_ms);
    figures.violations.push(
      ...windowsBroken(`moves of ${guest} a day`, times, 2, day),
      ...windowsBroken(`cool-down of ${guest}`, times, 1, 30 * minute),
    );
  }
}

/** Limits of a real cluster on one of which nothing else would be let through. */
async function asReal(world: World): Promise<void> {
  await world.database.db
    .updateTable('clusters')
    .set({
      limits: JSON.stringify({ loadWindowMs: 0, shadowMs: 0, commandsAtOnce: 8 }),
      settings: JSON.stringify({ wakeProof: 'assumed', reserve: 'none' }),
      autonomy: JSON.stringify({ default: 'auto' }),
    })
    .execute();
}

async function pass(rogue: Rogue, minutes: number, upSinceMs: Map<string, number>): Promise<void> {
  const { world, figures } = rogue;
  for (let passed = 0; passed < minutes; passed += 1) {
    tell(world, upSinceMs);
    // Hours in which nobody is woken show how far it would go.
    const isLateInFour = Math.floor(world.clock.monotonicMs() / hour) % 4 === 3;
    await propose({ ...rogue, wakesToo: rogue.wakesToo || isLateInFour });
    await world.clock.advance(minute);
    const awake = nodes.filter((node) => !world.isOff(node)).length;
    figures.leastAwake = Math.min(figures.leastAwake, awake);
    if (awake < awakeMin) figures.violations.push(`S-1: ${awake} of ${count} nodes awake`);
  }
}

export type Plan = { hours: number; hoursAfterBreak: number; seed: number };

export async function runRogue(folder: string, plan: Plan): Promise<RogueFigures> {
  const { hours, hoursAfterBreak, seed } = plan;
  const layout = {
    clusters: { home: nodes },
    guests: Object.fromEntries(guests.map((guest, index) => [`home/${guest}`, `n${index + 1}`])),
  };
  const world = await createWorld({ folder, seed, layout });
  await asReal(world);
  const service = world.createService();
  await service.commands.start();
  await world.boot();
  const figures: RogueFigures = {
    hours,
    proposals: 0,
    accepted: 0,
    powerOffs: 0,
    wakes: 0,
    moves: 0,
    leastAwake: count,
    violations: [],
    powerOffsAfterFailedWake: 0,
    isFrozenOrQuarantined: false,
    isAlarmed: false,
  };
  const rogue = { world, service, figures, wakesToo: false };
  const upSinceMs = new Map(nodes.map((node) => [node, -day]));
  await pass(rogue, hours * 60, upSinceMs);
  world.breakWakes();
  rogue.wakesToo = true;
  // Time for a node to go, its wake to be tried, and its failure to be sure.
  await pass(rogue, hoursAfterBreak * 60, upSinceMs);
  const before = (await queuedOf(world)).filter(({ kind }) => kind === 'node.shutdown').length;
  await pass(rogue, hoursAfterBreak * 60, upSinceMs);
  await judge(rogue);
  await judgeMoves(rogue);
  figures.powerOffsAfterFailedWake = figures.powerOffs - before;
  const { db } = world.database;
  const cluster = await db.selectFrom('clusters').select('frozen_until_ms').executeTakeFirst();
  const kept = await db
    .selectFrom('nodes')
    .select('id')
    .where('quarantined_until_ms', 'is not', null)
    .execute();
  figures.isFrozenOrQuarantined = (cluster?.frozen_until_ms ?? null) !== null || kept.length > 0;
  const alarmed = await db
    .selectFrom('commands')
    .select('id')
    .where('alarmed_at_ms', 'is not', null)
    .execute();
  figures.isAlarmed = alarmed.length > 0;
  await service.commands.stop();
  await world.database.close();
  return figures;
}
