/**
 * Whether a migrated guest is where it should be, seen by the telemetry of its new node and not by
 * the tool that moved it (SAFETY V9): there, running if it ran before, its HA resource at rest. Until
 * that is seen, the executor's word is not enough. Its uptime proves nothing: Proxmox VE counts it from
 * the process of the new node.
 */
import type { CommandArgs } from '../../broker/contract/command.ts';
import type { Commands } from '../store/sql/schema.ts';
import { guestOf } from './facts.ts';
import { ended } from './guard-facts.ts';
import type { Evaluation } from './guard.ts';
import type { Step } from './step.ts';

/** States of an HA resource that has settled; null is one that HA does not manage. */
const settled: ReadonlySet<string | null> = new Set([null, 'started', 'stopped', 'ignored']);

/** By the verdicts that the grant stands on. */
function ranAtGrant({ guards }: Commands): boolean {
  const atGrant = (JSON.parse(guards) as Evaluation[]).findLast(({ phase }) => phase === 'GRANT');
  const inputs = atGrant?.verdicts.flatMap(({ facts }) => facts) ?? [];
  return inputs.some(({ name, value }) => name === 'state' && value === 'running');
}

/** A grant may stand on a sample from before the end of a stop, which has not shown it yet. */
const sampleMaxMs = 60_000;

async function wasStoppedBefore(step: Step, row: Commands): Promise<boolean> {
  const grantedAtMs = row.granted_at_ms ?? step.nowMs;
  const target = { kind: 'guest', id: row.target_id } as const;
  const stops = await ended(step, grantedAtMs - sampleMaxMs, { kinds: ['guest.stop'], target });
  return stops.some(
    ({ state, finished_at_ms: atMs }) => state === 'SUCCEEDED' && atMs <= grantedAtMs,
  );
}

/** What is yet to be seen, or null: it has arrived. */
export async function missingArrival(step: Step, row: Commands): Promise<string | null> {
  const args = JSON.parse(row.args) as CommandArgs<'guest.migrate'>;
  const guest = guestOf(step.context, row.cluster, row.target_id);
  const sinceMs = step.nowMs - (row.started_at_ms ?? row.granted_at_ms ?? step.nowMs);
  if (!guest || guest.node !== args.targetNode) {
    return `${args.targetNode} does not list the guest yet`;
  }
  const ageMs = step.context.clock.monotonicMs() - guest.sampleAtMs;
  if (ageMs > sinceMs) return `no sample of ${args.targetNode} since the move began`;
  if (guest.state === 'unknown') return `${args.targetNode} cannot tell the state of the guest`;
  const isDown = guest.state !== 'running' && ranAtGrant(row);
  if (isDown && !(await wasStoppedBefore(step, row))) {
    return `it ran before the move, and is ${guest.state} on ${args.targetNode}`;
  }
  return settled.has(guest.haState) ? null : `its HA resource is ${guest.haState}`;
}
