/**
 * Whether a migrated guest is where it should be, seen by the telemetry of its new node and not by
 * the tool that moved it (SAFETY V9): there, in a known state, its HA resource at rest. Until that
 * is seen, the executor's word is not enough. Its uptime proves nothing: Proxmox VE counts it from
 * the process of the new node.
 */
import type { CommandArgs } from '../../broker/contract/command.ts';
import type { Commands } from '../store/sql/schema.ts';
import { guestOf } from './facts.ts';
import type { Step } from './step.ts';

/** States of an HA resource that has settled; null is one that HA does not manage. */
const settled: ReadonlySet<string | null> = new Set([null, 'started', 'stopped', 'ignored']);

/** What is yet to be seen, or null: it has arrived. */
export function missingArrival(step: Step, row: Commands): string | null {
  const args = JSON.parse(row.args) as CommandArgs<'guest.migrate'>;
  const guest = guestOf(step.context, row.cluster, row.target_id);
  const sinceMs = step.nowMs - (row.started_at_ms ?? row.granted_at_ms ?? step.nowMs);
  if (!guest || guest.node !== args.targetNode) {
    return `${args.targetNode} does not list the guest yet`;
  }
  const ageMs = step.context.clock.monotonicMs() - guest.sampleAtMs;
  if (ageMs > sinceMs) return `no sample of ${args.targetNode} since the move began`;
  if (guest.state === 'unknown') return `${args.targetNode} cannot tell the state of the guest`;
  return settled.has(guest.haState) ? null : `its HA resource is ${guest.haState}`;
}
