/**
 * Gathers what only some guards need: the rest of the cluster for a power-off, configuration and
 * past moves of a guest. Read in the step's own transaction; it never judges, and what is unknown
 * stays null.
 */
import type { GuestFacts } from '../../broker/contract/facts.ts';
import { nodeKey } from '../../broker/contract/ids.ts';
import type { GuestRecord, NodeRecord } from '../state/fleet.ts';
import type { CommandBrief, CommandFilter } from '../store/command-store.ts';
import type { Commands } from '../store/sql/schema.ts';
import type { GuardFacts, GuestFact, Move, NodeFact, PowerFacts } from './guard.ts';
import type { Limits } from './guard-limits.ts';
import { freshMsOf, nodeFact, parseFacts } from './guard-node.ts';
import { readFailingWakes, readIdleness, sizesOf } from './guard-surroundings.ts';
import { activeStates } from './lifecycle.ts';
import { type Step, timeScaleOf } from './step.ts';
import { readTableHolders } from './table-holders.ts';
import { type Proof, proofsOf } from './wake-ways.ts';

const dayMs = 86_400_000;

const powerOffKinds = ['node.shutdown', 'node.reboot'];

async function open(step: Step, kinds: readonly string[], self: string): Promise<CommandBrief[]> {
  const rows = await step.rows.commandsOf(step.cluster.id, { kinds, states: activeStates });
  return rows.filter(({ id }) => id !== self);
}

async function readInDoubt(step: Step, self: string, target: string): Promise<string[]> {
  const rows = await open(step, powerOffKinds, self);
  return [...new Set(rows.map((row) => row.target_id))].filter((id) => id !== target).sort();
}

type Ended = CommandBrief & { finished_at_ms: number };

/** Newest first. */
export async function ended(
  step: Step,
  finishedAfterMs: number,
  wanted: Pick<CommandFilter, 'kinds' | 'target'>,
): Promise<Ended[]> {
  const states = ['SUCCEEDED', 'FAILED'];
  const filter = { ...wanted, states, finishedAfterMs };
  const rows = (await step.rows.commandsOf(step.cluster.id, filter)) as Ended[];
  return rows.sort((a, b) => b.finished_at_ms - a.finished_at_ms);
}

async function readProofs(step: Step, node: string): Promise<Proof[]> {
  const key = { cluster: step.cluster.id, id: node };
  const row = await step.rows.node(key);
  const facts = row ? parseFacts(row) : null;
  return proofsOf(await step.rows.wakeProofs(key), { facts, nowMs: step.nowMs });
}

/** A command names its campaign; that one must run, and be about this very node. */
async function readCampaign(step: Step, { plan_id, target_id }: Subject): Promise<string | null> {
  const campaign = plan_id === null ? undefined : await step.rows.campaign(plan_id);
  const isOurs = campaign?.cluster === step.cluster.id && campaign.node === target_id;
  return isOurs && campaign.state === 'running' ? campaign.id : null;
}

/** null as soon as one running guest does not say how much it may use. */
function guestBytesOf(step: Step): number | null {
  const nodes = step.context.fleet().nodesByCluster.get(step.cluster.id);
  let total = 0;
  for (const { guests } of nodes?.values() ?? []) {
    for (const { state, memoryTotalBytes } of guests ?? []) {
      if (state === 'stopped') continue;
      if (memoryTotalBytes === null) return null;
      total += memoryTotalBytes;
    }
  }
  return total;
}

/** Durations of the simulated world are shorter; a day of it is a day divided by its scale. */
const scaledDayMs = ({ cluster }: Step): number => dayMs / timeScaleOf(cluster);

type Subject = Pick<Commands, 'id' | 'target_id' | 'origin' | 'plan_id'>;

export async function readPower(step: Step, subject: Subject, limits: Limits): Promise<PowerFacts> {
  const { id: self, target_id: target } = subject;
  const rows = await step.rows.neighbours({ cluster: step.cluster.id, id: target });
  const row = await step.rows.node({ cluster: step.cluster.id, id: target });
  const sinceMs = step.nowMs - scaledDayMs(step);
  const changes = await ended(step, sinceMs, { kinds: [...powerOffKinds, 'node.wake'] });
  const cycles = changes.filter(
    ({ kind, target_id, state }) =>
      kind !== 'node.wake' && target_id === target && state === 'SUCCEEDED',
  );
  const lastMs = changes[0]?.finished_at_ms ?? null;
  return {
    neighbours: rows.map((row): NodeFact => nodeFact(step, row)),
    inDoubt: await readInDoubt(step, self, target),
    lastChangeAgoMs: lastMs === null ? null : step.nowMs - lastMs,
    cyclesToday: cycles.length,
    proofs: await readProofs(step, target),
    wakeTable: row ? await readTableHolders(step, row, rows) : null,
    failingWakes: await readFailingWakes(step),
    provingCampaign: await readCampaign(step, subject),
    load: subject.origin === 'engine' ? await readIdleness(step, target, limits) : null,
    guestBytes: guestBytesOf(step),
  };
}

async function readMoves(step: Step, guest: string): Promise<Move[]> {
  const target = { kind: 'guest', id: guest } as const;
  const sinceMs = step.nowMs - scaledDayMs(step);
  const rows = await ended(step, sinceMs, { kinds: ['guest.migrate'], target });
  return rows
    .filter(({ origin, state }) => origin === 'engine' && state === 'SUCCEEDED')
    .map(({ executor, args, finished_at_ms }) => ({
      from: executor,
      to: (JSON.parse(args) as { targetNode: string }).targetNode,
      agoMs: step.nowMs - finished_at_ms,
    }));
}

/** A guest that has just moved is described by its new node within a minute; till then, as before. */
function describedElsewhere({ context, cluster }: Step, guest: string): GuestFacts | null {
  for (const node of context.fleet().nodesByCluster.get(cluster.id)?.values() ?? []) {
    if (!node.guestFactsJson?.includes(`"${guest}"`)) continue;
    const known = JSON.parse(node.guestFactsJson) as GuestFacts[];
    const facts = known.find(({ id }) => id === guest);
    if (facts) return facts;
  }
  return null;
}

/** A guest that two nodes claim to run is known to run on neither. */
function alsoOn({ context, cluster }: Step, { id, node: home }: GuestRecord): string[] {
  const nowMs = context.clock.monotonicMs();
  const isHeard = ({ online, sampleAtMs, intervalMs }: NodeRecord): boolean =>
    online && sampleAtMs !== null && nowMs - sampleAtMs <= freshMsOf(intervalMs);
  return [...(context.fleet().nodesByCluster.get(cluster.id)?.values() ?? [])]
    .filter((record) => record.node !== home && isHeard(record))
    .filter(({ guests }) => guests?.some((one) => one.id === id && one.state !== 'stopped'))
    .map(({ node }) => node);
}

type Asked = { target_id: string; kind: string; origin: string };

export async function readGuest(
  step: Step,
  { target_id: guest, kind, origin }: Asked,
): Promise<GuestFact | null> {
  const { context, cluster } = step;
  // A person answers for what it uses now; automation for all it ever used.
  const asksStore = kind === 'guest.scale' && origin === 'engine';
  const sample = context.fleet().guests.get(`${cluster.id}/${guest}`);
  if (!sample) return null;
  const node = context.fleet().nodes.get(nodeKey(cluster.id, sample.node));
  const known = JSON.parse(node?.guestFactsJson ?? '[]') as GuestFacts[];
  const facts = known.find(({ id }) => id === guest) ?? describedElsewhere(step, guest);
  return {
    sample,
    facts,
    alsoOn: alsoOn(step, sample),
    memoryP99Bytes: asksStore ? await context.memoryP99Of({ cluster: cluster.id, guest }) : null,
    sizes: sizesOf(step, sample),
    moves: await readMoves(step, guest),
  };
}

export async function readMigrations(
  step: Step,
  self: string,
  { from, to }: { from: string; to: string },
): Promise<NonNullable<GuardFacts['migrations']>> {
  const rows = await open(step, ['guest.migrate'], self);
  const targets = rows.map(({ args }) => (JSON.parse(args) as { targetNode: string }).targetNode);
  const { context, cluster } = step;
  const guests = context.fleet().nodes.get(nodeKey(cluster.id, from))?.guests ?? [];
  // What people and the hypervisor itself move shows only as a lock of the guest at its source.
  const locked = guests.filter(({ lock }) => lock === 'migrate').length;
  return {
    outgoing: Math.max(locked, rows.filter(({ executor }) => executor === from).length),
    incoming: targets.filter((target) => target === to).length,
  };
}
