/**
 * What the server itself can see of a power-off: the target's session ended, and another node's
 * cluster membership no longer lists it. Silence alone proves nothing; two different kinds of
 * witness do; a target that says hello in its old boot takes back everything said (sync.ts).
 */
import type { NodeRecord } from '../state/fleet.ts';
import type { Commands } from '../store/sql/schema.ts';
import { move, stateOf } from './ledger.ts';
import { witnessed } from './reports.ts';
import type { Step } from './step.ts';
import { parseWitnesses, type Witness } from './witnesses.ts';

/** Older membership is no news; corosync itself is seconds stale (SAFETY Q5). */
const membershipMaxAgeMs = 30_000;
/** As long a neighbour may not have noticed yet that the target joined, right before its grant. */
export const membershipSettleMs = 10_000;
/** Every daemon has reconnected long before, so one that did not is gone. */
const neverHeardAfterMs = 120_000;

type Seen = Pick<Witness, 'kind' | 'by' | 'detail'>;

function seeGone(step: Step, row: Commands, sinceMs: number): Seen | undefined {
  const { context, cluster } = step;
  const contact = context.reach.contact(cluster.id, row.target_id);
  if (contact.online || !context.link.isConnected()) return undefined;
  const offlineForMs =
    contact.offlineSinceMs === null
      ? context.reach.listeningForMs()
      : context.clock.monotonicMs() - contact.offlineSinceMs;
  // Before the grant it says nothing about this command.
  if (contact.offlineSinceMs !== null && offlineForMs > sinceMs) return undefined;
  if (contact.offlineSinceMs === null && offlineForMs < neverHeardAfterMs) return undefined;
  const detail = contact.isShuttingDown ? 'said goodbye to shut down' : 'its MQTT session ended';
  return { kind: 'gone', by: 'broker', detail };
}

function listsAsLeft(step: Step, row: Commands, record: NodeRecord, sinceMs: number): boolean {
  const { membersOnline, facts, sampleAtMs } = record;
  if (record.node === row.target_id || !membersOnline || sampleAtMs === null) return false;
  const ageMs = step.context.clock.monotonicMs() - sampleAtMs;
  if (ageMs > Math.min(membershipMaxAgeMs, sinceMs - membershipSettleMs)) return false;
  // A node that was never a member of that cluster would be missing from its list too.
  const isMember = facts?.quorum?.members.some(({ node }) => node === row.target_id) ?? false;
  return isMember && !membersOnline.includes(row.target_id);
}

function seeMembership(step: Step, row: Commands, sinceMs: number): Seen | undefined {
  const nodes = step.context.fleet().nodesByCluster.get(step.cluster.id);
  const record = [...(nodes?.values() ?? [])].find((one) => listsAsLeft(step, row, one, sinceMs));
  if (!record) return undefined;
  const detail = `membership of ${record.node} no longer lists ${row.target_id}`;
  return { kind: 'membership', by: record.node, detail };
}

/** It said goodbye to switch off: the executor's work is done, now it is to be seen. */
async function endByGoodbye(step: Step, row: Commands): Promise<Commands> {
  const contact = step.context.reach.contact(step.cluster.id, row.target_id);
  if (!contact.isShuttingDown || contact.online) return row;
  const change = { actor: `node:${row.target_id}`, reason: 'said goodbye to shut down' };
  let current = row;
  if (stateOf(current) === 'GRANTED') {
    current = await move(step, current, 'start', {
      ...change,
      patch: { started_at_ms: step.nowMs, heartbeat_at_ms: step.nowMs },
    });
  }
  return stateOf(current) === 'RUNNING' ? move(step, current, 'finish', change) : current;
}

export async function observePowerOff(step: Step, row: Commands): Promise<Commands> {
  if (row.granted_at_ms === null) return row;
  const sinceMs = step.nowMs - row.granted_at_ms;
  let current = await endByGoodbye(step, row);
  if (stateOf(current) !== 'VERIFYING' && stateOf(current) !== 'INDETERMINATE') return current;
  const before = parseWitnesses(current.witnesses);
  for (const seen of [seeGone(step, row, sinceMs), seeMembership(step, row, sinceMs)]) {
    const isNews = seen && !before.some(({ kind }) => kind === seen.kind);
    if (isNews && stateOf(current) !== 'SUCCEEDED') {
      current = await witnessed(step, current, { ...seen, atMs: step.nowMs });
    }
  }
  return current;
}
