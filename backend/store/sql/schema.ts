/**
 * The SQL schema as types, one interface per table; the migrations create exactly this. Times
 * are BIGINT ms, JSON is text, booleans are 0/1, every mutable row has `ver`, and every change of
 * state is one conditional UPDATE.
 */
import type { QuotaClaims, ShadowRuns } from './schema-control.ts';

export type { QuotaClaims, ShadowRuns };

import type { Evacuations } from './evacuations.ts';

type Flag = 0 | 1;
type Json = string;

export interface Accounts {
  id: string;
  username: string;
  password_hash: string;
  role: 'viewer' | 'operator' | 'admin';
  /** null = every cluster; else a JSON list of cluster ids. */
  clusters: Json | null;
  /** Sealed under the master key; null = no second factor. */
  totp_secret: string | null;
  disabled: Flag;
  created_at_ms: number;
  password_changed_at_ms: number;
  ver: number;
}

export interface Sessions {
  id: string;
  token_hash: string;
  account_id: string;
  created_at_ms: number;
  expires_at_ms: number;
  /** Last proof of the password or second factor, for what needs re-authentication. */
  reauthenticated_at_ms: number;
  address: string;
  user_agent: string;
  ver: number;
}

export interface ApiTokens {
  id: string;
  name: string;
  token_hash: string;
  account_id: string;
  role: 'viewer' | 'operator' | 'admin';
  clusters: Json | null;
  created_at_ms: number;
  expires_at_ms: number | null;
  revoked_at_ms: number | null;
  ver: number;
}

export interface Clusters {
  id: string;
  simulated: Flag;
  time_scale: number;
  /** kind -> observe | recommend | approve | auto; key `default` for the rest. */
  autonomy: Json;
  policy_id: string | null;
  limits: Json;
  settings: Json;
  hold: Flag;
  hold_reason: string | null;
  hold_by: string | null;
  hold_at_ms: number | null;
  frozen_until_ms: number | null;
  frozen_reason: string | null;
  created_at_ms: number;
  ver: number;
}

export interface Nodes {
  cluster: string;
  id: string;
  driver: Json | null;
  boot_id: string | null;
  journal_id: string | null;
  /** Set when a new journal appeared; destructive commands wait for an admin's word. */
  journal_confirmed: Flag;
  incarnation: number;
  max_epoch: number;
  facts: Json | null;
  facts_at_ms: number | null;
  protected: Flag;
  protected_reason: string | null;
  maintenance: Flag;
  desired: 'awake' | 'asleep';
  quarantined_until_ms: number | null;
  keep_awake_until_ms: number | null;
  wake_table_version: number | null;
  last_seen_at_ms: number | null;
  created_at_ms: number;
  ver: number;
}

export interface Daemons {
  cluster: string;
  id: string;
  secret_hash: string;
  /** The previous one during a rotation. */
  secret_hash_old: string | null;
  secret_hash_old_until_ms: number | null;
  /** Mosquitto's form of the secret's hash, for `kernreaktor broker acl`. */
  mqtt_hash: string | null;
  simulated: Flag;
  created_at_ms: number;
  revoked_at_ms: number | null;
  ver: number;
}

export interface DaemonNodes {
  cluster: string;
  node: string;
  daemon: string;
  generation: number;
  role: 'owner' | 'observer';
  ver: number;
}

export interface Enrolments {
  id: string;
  cluster: string;
  nodes: Json;
  daemon: string;
  token_hash: string;
  /** What an external Mosquitto checks the token by. */
  mqtt_hash: string;
  created_by: string;
  created_at_ms: number;
  expires_at_ms: number;
  used_at_ms: number | null;
  ver: number;
}

export interface Targets {
  cluster: string;
  kind: 'node' | 'guest';
  id: string;
  generation: number;
  /** The mutex: at most one active command. */
  active_command: string | null;
  /** Automation leaves it alone until then, after a person touched it. */
  paused_until_ms: number | null;
  paused_by: string | null;
  ver: number;
}

export interface Commands {
  id: string;
  cluster: string;
  kind: string;
  target_kind: 'node' | 'guest';
  target_id: string;
  /** The only node that may claim. */
  executor: string;
  args: Json;
  generation: number;
  simulated: Flag;
  origin: 'person' | 'token' | 'engine' | 'system';
  actor: string;
  reason: string | null;
  decision_id: string | null;
  /** Commands of one plan (drain, wake-then-start) share it. */
  plan_id: string | null;
  /** The command this one compensates or cleans up after. */
  parent_id: string | null;
  /** `<actor>:<key>` of the HTTP request, and what was asked under it. */
  idempotency_key: string | null;
  request_hash: string | null;
  state: string;
  state_reason: string | null;
  ver: number;
  epoch: number;
  policy_hash: string | null;
  /** Every guard's verdict with its inputs, per evaluation. */
  guards: Json;
  facts_hash: string | null;
  /** The target's boot id when granted: a wake is proven by another one. */
  target_boot_id: string | null;
  nonce: string | null;
  claim_journal_id: string | null;
  claim_incarnation: number | null;
  grant_signed: string | null;
  handle: string | null;
  last_n: number;
  /** Who saw the post-condition, and what. */
  witnesses: Json;
  result: Json | null;
  approved_by: string | null;
  planned_at_ms: number;
  expires_at_ms: number;
  offered_at_ms: number | null;
  granted_at_ms: number | null;
  started_at_ms: number | null;
  heartbeat_at_ms: number | null;
  /** When the present state times out into the next. */
  deadline_at_ms: number | null;
  next_probe_at_ms: number | null;
  alarmed_at_ms: number | null;
  finished_at_ms: number | null;
}

export interface CommandHistory {
  command_id: string;
  ver: number;
  state: string;
  at_ms: number;
  actor: string;
  reason: string | null;
  epoch: number;
  data: Json | null;
}

export interface Outbox {
  id: string;
  cluster: string;
  command_id: string;
  node: string;
  message: 'offer' | 'grant' | 'probe';
  attempts: number;
  due_at_ms: number;
  created_at_ms: number;
  published_at_ms: number | null;
  ver: number;
}

export interface Leases {
  cluster: string;
  owner: string;
  epoch: number;
  expires_at_ms: number;
  ver: number;
}

export interface Limiter {
  cluster: string;
  bucket: string;
  tokens: number;
  updated_at_ms: number;
  ver: number;
}

export interface Decisions {
  id: string;
  cluster: string;
  at_ms: number;
  epoch: number;
  policy_hash: string | null;
  inputs_hash: string;
  intents: number;
  outcome: 'acted' | 'recommended' | 'awaiting-approval' | 'nothing' | 'dropped';
  summary: string;
  plan: Json;
  report: Json;
  measured: Json | null;
  ver: number;
}

export interface Alarms {
  cluster: string;
  subject_kind: 'node' | 'guest' | 'cluster';
  subject_id: string;
  rule: string;
  state: 'pending' | 'firing' | 'clearing';
  since_ms: number;
  data: Json;
  ver: number;
}

export interface Cooldowns {
  cluster: string;
  key: string;
  until_ms: number;
  reason: string;
  ver: number;
}

export interface Policies {
  id: string;
  name: string;
  version: number;
  source: 'file' | 'panel' | 'shipped';
  yaml: string;
  hash: string;
  author: string;
  created_at_ms: number;
}

export interface FactsHistory {
  cluster: string;
  entity: 'node' | 'guest' | 'cluster';
  entity_id: string;
  valid_from_ms: number;
  facts: Json;
}

export interface WakeProofs {
  id: string;
  cluster: string;
  node: string;
  waker: string;
  /** MAC, NIC driver, kernel, BIOS, waker and Wake-on flag it is bound to. */
  binding_hash: string;
  binding: Json;
  off_at_ms: number;
  woken_at_ms: number | null;
  boot_ms: number | null;
  succeeded: Flag;
  command_id: string | null;
  created_at_ms: number;
}

/** Off and on again with a person at hand, until a way to wake the node is proven. */
export interface WakeCampaigns {
  id: string;
  cluster: string;
  node: string;
  waker: string;
  actor: string;
  /** How many are asked for; how many came to their end; how many of them still count. */
  cycles: number;
  done: number;
  proven: number;
  /** Power-offs that were asked for. */
  attempts: number;
  phase: 'off' | 'wake' | 'rejoin';
  state: 'running' | 'succeeded' | 'failed' | 'cancelled';
  /** The command of the present phase. */
  command_id: string | null;
  /** What the node was when it was switched off. */
  binding_hash: string | null;
  binding: Json | null;
  why: string;
  is_cancelled: Flag;
  off_at_ms: number | null;
  started_at_ms: number;
  next_at_ms: number;
  deadline_at_ms: number;
  finished_at_ms: number | null;
  ver: number;
}

/** Since when the engine has proposed nothing of a kind that guards or the world contradicted. */
export interface Audit {
  /** A cluster id, or `system`. */
  chain: string;
  seq: number;
  at_ms: number;
  actor: string;
  action: string;
  subject: string;
  phase: 'opened' | 'closed' | 'done';
  /** seq of the entry this one closes. */
  opened_seq: number | null;
  detail: Json;
  prev_hash: string;
  hash: string;
}

export interface AuditHeads {
  chain: string;
  seq: number;
  hash: string;
  ver: number;
}

/** Third-party secrets (webhooks, BMC, Influx), sealed under the master key, never returned. */
export interface Secrets {
  name: string;
  sealed: string;
  updated_at_ms: number;
  ver: number;
}

export type Settings = { name: string; value: Json; ver: number };

export interface NotifyChannels {
  id: string;
  name: string;
  kind: string;
  /** ChannelTarget without its secret, which is sealed in `secrets`. */
  target: Json;
  is_enabled: Flag;
  /** Told instead when this one does not answer. */
  fallback_id: string | null;
  created_at_ms: number;
  ver: number;
}

/** Something that was told, or is to be; one row from its beginning to its end. */
export interface Notices {
  id: string;
  /** rule|cluster|subject while it is open, so that it is open once; null afterwards. */
  open_key: string | null;
  rule: string;
  severity: 'info' | 'warning' | 'critical';
  cluster: string | null;
  title: string;
  body: string;
  command_id: string | null;
  opened_at_ms: number;
  resolved_at_ms: number | null;
  ver: number;
}

export interface NoticeDeliveries {
  id: string;
  notice_id: string;
  channel_id: string;
  what: 'opened' | 'resolved';
  /** dropped: over before the quiet hours were. */
  state: 'waiting' | 'delivered' | 'dead' | 'dropped';
  attempts: number;
  due_at_ms: number;
  problem: string | null;
  created_at_ms: number;
  ended_at_ms: number | null;
  ver: number;
}

/** One-use addresses in messages: who has one may do this one thing. */
export interface NoticeActions {
  token_hash: string;
  command_id: string;
  verb: 'approve' | 'reject';
  expires_at_ms: number;
  used_at_ms: number | null;
}

export interface Schema {
  notify_channels: NotifyChannels;
  notices: Notices;
  notice_deliveries: NoticeDeliveries;
  notice_actions: NoticeActions;
  evacuations: Evacuations;
  accounts: Accounts;
  sessions: Sessions;
  api_tokens: ApiTokens;
  clusters: Clusters;
  nodes: Nodes;
  daemons: Daemons;
  daemon_nodes: DaemonNodes;
  enrolments: Enrolments;
  targets: Targets;
  commands: Commands;
  command_history: CommandHistory;
  outbox: Outbox;
  leases: Leases;
  limiter: Limiter;
  decisions: Decisions;
  alarms: Alarms;
  cooldowns: Cooldowns;
  policies: Policies;
  facts_history: FactsHistory;
  wake_proofs: WakeProofs;
  wake_campaigns: WakeCampaigns;
  shadow_runs: ShadowRuns;
  quota_claims: QuotaClaims;
  audit: Audit;
  audit_heads: AuditHeads;
  secrets: Secrets;
  settings: Settings;
}
