/**
 * Gathers what only some guards need: the rest of the cluster for a power-off, configuration and
 * past moves of a guest. Read in the step's own transaction; it never judges, and what is unknown
 * stays null.
 */
import type { GuestFacts } from '../../broker/contract/facts.ts';
import { nodeKey } from '../../broker/contract/ids.ts';
import type { GuardFacts, GuestFact, Move, NodeFact, PowerFacts } from './guard.ts';
import { nodeFact } from './guard-node.ts';
import { activeStates } from './lifecycle.ts';
import type { Step } from './step.ts';

const dayMs = 86_400_000;

const open = (step: Step, kinds: readonly string[], self: string) =>
  step.trx
    .selectFrom('commands')
    .selectAll()
    .where('cluster', '=', step.cluster.id)
    .where('kind', 'in', kinds)
    .where('id', '!=', self)
    .where('state', 'in', activeStates);

async function readInDoubt(step: Step, self: string, target: string): Promise<string[]> {
  const rows = await open(step, ['node.shutdown', 'node.reboot'], self).execute();
  return [...new Set(rows.map((row) => row.target_id))].filter((id) => id !== target).sort();
}

const ended = (step: Step, kinds: readonly string[], sinceMs: number) =>
  step.trx
    .selectFrom('commands')
    .selectAll()
    .where('cluster', '=', step.cluster.id)
    .where('kind', 'in', kinds)
    .where('state', 'in', ['SUCCEEDED', 'FAILED'])
    .where('finished_at_ms', '>', sinceMs)
    .orderBy('finished_at_ms', 'desc');

async function readWakeProofs(step: Step, node: string): Promise<PowerFacts['wakeProofs']> {
  const row = await step.trx
    .selectFrom('wake_proofs')
    .select((eb) => [eb.fn.countAll<number>().as('succeeded'), eb.fn.max('woken_at_ms').as('last')])
    .where('cluster', '=', step.cluster.id)
    .where('node', '=', node)
    .where('succeeded', '=', 1)
    .executeTakeFirstOrThrow();
  const youngestAgeMs = row.last === null ? null : step.nowMs - row.last;
  return { succeeded: row.succeeded, youngestAgeMs };
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
const scaledDayMs = ({ cluster }: Step): number =>
  dayMs / (cluster.simulated === 1 ? cluster.time_scale : 1);

export async function readPower(step: Step, self: string, target: string): Promise<PowerFacts> {
  const rows = await step.trx
    .selectFrom('nodes')
    .selectAll()
    .where('cluster', '=', step.cluster.id)
    .where('id', '!=', target)
    .where('driver', 'is not', null)
    .orderBy('id')
    .execute();
  const sinceMs = step.nowMs - scaledDayMs(step);
  const changes = await ended(
    step,
    ['node.shutdown', 'node.wake', 'node.reboot'],
    sinceMs,
  ).execute();
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
    wakeProofs: await readWakeProofs(step, target),
    guestBytes: guestBytesOf(step),
  };
}

async function readMoves(step: Step, guest: string): Promise<Move[]> {
  const rows = await ended(step, ['guest.migrate'], step.nowMs - scaledDayMs(step))
    .where('target_id', '=', guest)
    .where('origin', '=', 'engine')
    .where('state', '=', 'SUCCEEDED')
    .execute();
  return rows.map(({ executor, args, finished_at_ms }) => ({
    from: executor,
    to: (JSON.parse(args) as { targetNode: string }).targetNode,
    agoMs: step.nowMs - (finished_at_ms ?? step.nowMs),
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

export async function readGuest(step: Step, guest: string): Promise<GuestFact | null> {
  const { context, cluster } = step;
  const sample = context.fleet().guests.get(`${cluster.id}/${guest}`);
  if (!sample) return null;
  const node = context.fleet().nodes.get(nodeKey(cluster.id, sample.node));
  const known = JSON.parse(node?.guestFactsJson ?? '[]') as GuestFacts[];
  const facts = known.find(({ id }) => id === guest) ?? describedElsewhere(step, guest);
  return { sample, facts, moves: await readMoves(step, guest) };
}

export async function readMigrations(
  step: Step,
  self: string,
  { from, to }: { from: string; to: string },
): Promise<NonNullable<GuardFacts['migrations']>> {
  const rows = await open(step, ['guest.migrate'], self).execute();
  const targets = rows.map(({ args }) => (JSON.parse(args) as { targetNode: string }).targetNode);
  return {
    outgoing: rows.filter(({ executor }) => executor === from).length,
    incoming: targets.filter((target) => target === to).length,
  };
}
