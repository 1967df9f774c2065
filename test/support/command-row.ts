/** A command as it stands in the store before anything happened to it. */
import type { Commands } from '../../backend/store/sql/schema.ts';

type Named = Pick<
  Commands,
  'id' | 'cluster' | 'target_id' | 'executor' | 'generation' | 'planned_at_ms' | 'expires_at_ms'
>;

export const commandRow = (named: Named & Partial<Commands>): Commands => ({
  kind: 'guest.start',
  target_kind: 'guest',
  args: '{}',
  simulated: 1,
  origin: 'engine',
  actor: 'engine',
  reason: null,
  decision_id: null,
  plan_id: null,
  parent_id: null,
  idempotency_key: null,
  request_hash: null,
  state: 'QUEUED',
  state_reason: null,
  ver: 1,
  epoch: 1,
  policy_hash: null,
  guards: '[]',
  facts_hash: null,
  target_boot_id: null,
  nonce: null,
  claim_journal_id: null,
  claim_incarnation: null,
  grant_signed: null,
  handle: null,
  last_n: 0,
  witnesses: '[]',
  result: null,
  approved_by: null,
  offered_at_ms: null,
  granted_at_ms: null,
  started_at_ms: null,
  heartbeat_at_ms: null,
  deadline_at_ms: null,
  next_probe_at_ms: null,
  alarmed_at_ms: null,
  finished_at_ms: null,
  ...named,
});
