/**
 * The one thing besides the codec in which the tiers differ: where rows are kept. Both tell what
 * a transaction has written, in order, before it commits, and begin each seed with the same rows.
 */
import { bindingHash, bindingOf } from '../../backend/act/wake-ways.ts';
import type { CommandRows, CommandStore } from '../../backend/store/command-store.ts';
import type {
  Audit,
  Clusters,
  Commands,
  Nodes,
  WakeProofs,
} from '../../backend/store/sql/schema.ts';
import type { ClusterRecord } from '../../backend/state/fleet.ts';
import type { NodeAdministration } from '../../backend/state/inputs.ts';
import { templateOf } from './driver.ts';
import type { ClusterPlan, HostPlan } from './houses.ts';
import type { Change } from './ledger.ts';

export type SimStore = {
  reads: CommandStore['reads'];
  /** `atCommit` sees what is about to be committed; what it throws rolls everything back. */
  transaction<T>(
    work: (rows: CommandRows) => Promise<T>,
    atCommit: (changes: Change[]) => void,
  ): Promise<T>;
  /** Empties it and writes a new seed's clusters; `nowMs` is its clock from here on. */
  begin(clusters: readonly ClusterPlan[], nowMs: () => number): Promise<Change[]>;
  administration(): Promise<{ clusters: ClusterRecord[]; nodes: NodeAdministration[] }>;
  read(): Promise<{ rows: Commands[]; audit: Audit[] }>;
};

/** The columns that judges look at; the rest is long. */
export const columns = {
  commands: [
    'id',
    'cluster',
    'kind',
    'target_kind',
    'target_id',
    'executor',
    'origin',
    'state',
    'state_reason',
    'ver',
    'epoch',
    'nonce',
    'witnesses',
    'granted_at_ms',
    'started_at_ms',
    'expires_at_ms',
    'deadline_at_ms',
    'next_probe_at_ms',
    'alarmed_at_ms',
  ],
  command_history: ['command_id', 'ver', 'state', 'epoch', 'at_ms'],
  outbox: ['id', 'due_at_ms'],
  clusters: ['id', 'hold', 'frozen_until_ms'],
  settings: ['name', 'value'],
  leases: ['cluster', 'owner', 'epoch'],
  targets: ['cluster', 'kind', 'id', 'active_command'],
  nodes: ['cluster', 'id', 'desired', 'boot_id'],
  audit: ['chain', 'seq', 'action', 'subject'],
} as const satisfies Record<Change['table'], readonly string[]>;

const clusterRow = (plan: ClusterPlan, nowMs: number): Clusters => ({
  id: plan.id,
  simulated: plan.simulated ? 1 : 0,
  time_scale: 1,
  autonomy: JSON.stringify(plan.autonomy),
  policy_id: null,
  limits: JSON.stringify(plan.limits),
  settings: JSON.stringify(plan.settings),
  hold: 0,
  hold_reason: null,
  hold_by: null,
  hold_at_ms: null,
  frozen_until_ms: null,
  frozen_reason: null,
  created_at_ms: nowMs,
  ver: 1,
});

const nodeRow = (cluster: string, plan: HostPlan, nowMs: number): Nodes => ({
  cluster,
  id: plan.name,
  driver: null,
  boot_id: null,
  journal_id: null,
  journal_confirmed: 1,
  incarnation: 0,
  max_epoch: 0,
  facts: null,
  facts_at_ms: null,
  protected: plan.isProtected ? 1 : 0,
  protected_reason: plan.isProtected ? 'drawn' : null,
  maintenance: 0,
  desired: 'awake',
  quarantined_until_ms: null,
  keep_awake_until_ms: null,
  wake_table_version: null,
  last_seen_at_ms: null,
  created_at_ms: nowMs,
  ver: 1,
});

function proofRow(cluster: string, plan: HostPlan, at: number, nowMs: number): WakeProofs {
  const binding = bindingOf(templateOf(plan), 'wol');
  return {
    id: `proof-${cluster}-${plan.name}-${at}`,
    cluster,
    node: plan.name,
    waker: 'wol',
    binding_hash: binding ? bindingHash(binding) : 'none',
    binding: JSON.stringify(binding),
    off_at_ms: nowMs - 7_200_000,
    woken_at_ms: nowMs - 7_100_000,
    boot_ms: 60_000,
    succeeded: 1,
    command_id: null,
    created_at_ms: nowMs - 7_100_000,
  };
}

/** What a seed begins with. */
export function firstRows(plans: readonly ClusterPlan[], nowMs: number) {
  const hosts = plans.flatMap(({ id, hosts: own }) => own.map((host) => ({ id, host })));
  return {
    clusters: plans.map((plan) => clusterRow(plan, nowMs)),
    nodes: hosts.map(({ id, host }) => nodeRow(id, host, nowMs)),
    proofs: hosts.flatMap(({ id, host }) =>
      Array.from({ length: host.wakeProofs }, (_, at) => proofRow(id, host, at, nowMs)),
    ),
  };
}
