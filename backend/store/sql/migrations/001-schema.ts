/**
 * The tables of schema.ts: the compiler refuses a missing, surplus or differently typed column.
 * Once released this file never changes; a later table or column is a later migration.
 *
 * A text has a width only where a key needs one or our own format fixes it: a cluster, node or
 * daemon id has at most 63 characters, a guest's 128, a UUID 36, a SHA-256 in hex 64. Words of
 * people and tools have none, since a long reason must never make a transition fail.
 */
import type { Kysely } from 'kysely';
import type { Schema } from '../schema.ts';
import { createTables, int, long, nullable, real, type Tables, text } from './table.ts';

const id = text(63);
const guestOrNode = text(128);
const uuid = text(36);
const sha256 = text(64);
const word = text(32);
const json = long;
const sentence = long;
/** Who did it: a user name, `<cluster>/<daemon>`, `engine`. */
const actor = long;
const ver = int;

const people = {
  accounts: {
    columns: {
      id: uuid,
      username: text(64),
      password_hash: long,
      role: word,
      clusters: nullable(json),
      totp_secret: nullable(long),
      disabled: int,
      created_at_ms: int,
      password_changed_at_ms: int,
      ver,
    },
    key: ['id'],
    unique: [['username']],
  },
  sessions: {
    columns: {
      id: uuid,
      token_hash: sha256,
      account_id: uuid,
      created_at_ms: int,
      expires_at_ms: int,
      reauthenticated_at_ms: int,
      address: long,
      user_agent: long,
      ver,
    },
    key: ['id'],
    unique: [['token_hash']],
    indexes: [['account_id'], ['expires_at_ms']],
  },
  api_tokens: {
    columns: {
      id: uuid,
      name: long,
      token_hash: sha256,
      account_id: uuid,
      role: word,
      clusters: nullable(json),
      created_at_ms: int,
      expires_at_ms: nullable(int),
      revoked_at_ms: nullable(int),
      ver,
    },
    key: ['id'],
    unique: [['token_hash']],
    indexes: [['account_id']],
  },
} satisfies Partial<Tables<Schema>>;

const fleet = {
  clusters: {
    columns: {
      id,
      simulated: int,
      time_scale: real,
      autonomy: json,
      policy_id: nullable(uuid),
      limits: json,
      settings: json,
      hold: int,
      hold_reason: nullable(sentence),
      hold_by: nullable(actor),
      hold_at_ms: nullable(int),
      frozen_until_ms: nullable(int),
      frozen_reason: nullable(sentence),
      created_at_ms: int,
      ver,
    },
    key: ['id'],
  },
  nodes: {
    columns: {
      cluster: id,
      id,
      driver: nullable(json),
      boot_id: nullable(uuid),
      journal_id: nullable(uuid),
      journal_confirmed: int,
      incarnation: int,
      max_epoch: int,
      facts: nullable(json),
      facts_at_ms: nullable(int),
      protected: int,
      protected_reason: nullable(sentence),
      maintenance: int,
      desired: word,
      quarantined_until_ms: nullable(int),
      keep_awake_until_ms: nullable(int),
      wake_table_version: nullable(int),
      last_seen_at_ms: nullable(int),
      created_at_ms: int,
      ver,
    },
    key: ['cluster', 'id'],
  },
  daemons: {
    columns: {
      cluster: id,
      id,
      secret_hash: sha256,
      secret_hash_old: nullable(sha256),
      secret_hash_old_until_ms: nullable(int),
      mqtt_hash: nullable(long),
      simulated: int,
      created_at_ms: int,
      revoked_at_ms: nullable(int),
      ver,
    },
    key: ['cluster', 'id'],
  },
  daemon_nodes: {
    columns: { cluster: id, node: id, daemon: id, generation: int, role: word, ver },
    key: ['cluster', 'node', 'daemon'],
    unique: [['cluster', 'node', 'role', 'generation']],
    indexes: [['cluster', 'daemon']],
  },
  enrolments: {
    columns: {
      id: uuid,
      cluster: id,
      nodes: json,
      daemon: id,
      token_hash: sha256,
      mqtt_hash: long,
      created_by: actor,
      created_at_ms: int,
      expires_at_ms: int,
      used_at_ms: nullable(int),
      ver,
    },
    key: ['id'],
    unique: [['token_hash']],
    indexes: [['expires_at_ms']],
  },
  facts_history: {
    columns: {
      cluster: id,
      entity: word,
      entity_id: guestOrNode,
      valid_from_ms: int,
      facts: json,
    },
    key: ['cluster', 'entity', 'entity_id', 'valid_from_ms'],
  },
  wake_proofs: {
    columns: {
      id: uuid,
      cluster: id,
      node: id,
      waker: id,
      binding_hash: sha256,
      binding: json,
      off_at_ms: int,
      woken_at_ms: nullable(int),
      boot_ms: nullable(int),
      succeeded: int,
      command_id: nullable(uuid),
      created_at_ms: int,
    },
    key: ['id'],
    indexes: [['cluster', 'node', 'created_at_ms']],
  },
} satisfies Partial<Tables<Schema>>;

const commands = {
  targets: {
    columns: {
      cluster: id,
      kind: word,
      id: guestOrNode,
      generation: int,
      active_command: nullable(uuid),
      paused_until_ms: nullable(int),
      paused_by: nullable(actor),
      ver,
    },
    key: ['cluster', 'kind', 'id'],
  },
  commands: {
    columns: {
      id: uuid,
      cluster: id,
      kind: word,
      target_kind: word,
      target_id: guestOrNode,
      executor: id,
      args: json,
      generation: int,
      simulated: int,
      origin: word,
      actor,
      reason: nullable(sentence),
      decision_id: nullable(uuid),
      plan_id: nullable(uuid),
      parent_id: nullable(uuid),
      idempotency_key: nullable(text(512)),
      request_hash: nullable(sha256),
      state: word,
      state_reason: nullable(sentence),
      ver,
      epoch: int,
      policy_hash: nullable(sha256),
      guards: json,
      facts_hash: nullable(sha256),
      target_boot_id: nullable(uuid),
      nonce: nullable(word),
      claim_journal_id: nullable(uuid),
      claim_incarnation: nullable(int),
      grant_signed: nullable(long),
      handle: nullable(long),
      last_n: int,
      witnesses: json,
      result: nullable(json),
      approved_by: nullable(actor),
      planned_at_ms: int,
      expires_at_ms: int,
      offered_at_ms: nullable(int),
      granted_at_ms: nullable(int),
      started_at_ms: nullable(int),
      heartbeat_at_ms: nullable(int),
      deadline_at_ms: nullable(int),
      next_probe_at_ms: nullable(int),
      alarmed_at_ms: nullable(int),
      finished_at_ms: nullable(int),
    },
    key: ['id'],
    unique: [['cluster', 'target_kind', 'target_id', 'kind', 'generation'], ['idempotency_key']],
    indexes: [
      ['state', 'deadline_at_ms'],
      ['cluster', 'id'],
      ['cluster', 'planned_at_ms'],
      ['cluster', 'executor', 'state'],
      ['decision_id'],
    ],
  },
  command_history: {
    columns: {
      command_id: uuid,
      ver,
      state: word,
      at_ms: int,
      actor,
      reason: nullable(sentence),
      epoch: int,
      data: nullable(json),
    },
    key: ['command_id', 'ver'],
  },
  outbox: {
    columns: {
      id: uuid,
      cluster: id,
      command_id: uuid,
      node: id,
      message: word,
      attempts: int,
      due_at_ms: int,
      created_at_ms: int,
      published_at_ms: nullable(int),
      ver,
    },
    key: ['id'],
    indexes: [['due_at_ms'], ['command_id'], ['cluster', 'node']],
  },
  leases: {
    columns: { cluster: id, owner: text(128), epoch: int, expires_at_ms: int, ver },
    key: ['cluster'],
    indexes: [['owner']],
  },
  limiter: {
    columns: { cluster: id, bucket: text(128), tokens: real, updated_at_ms: int, ver },
    key: ['cluster', 'bucket'],
  },
} satisfies Partial<Tables<Schema>>;

const engine = {
  decisions: {
    columns: {
      id: uuid,
      cluster: id,
      at_ms: int,
      epoch: int,
      policy_hash: nullable(sha256),
      inputs_hash: sha256,
      intents: int,
      outcome: word,
      summary: sentence,
      plan: json,
      report: json,
      measured: nullable(json),
      ver,
    },
    key: ['id'],
    indexes: [['cluster', 'id'], ['at_ms']],
  },
  alarms: {
    columns: {
      cluster: id,
      subject_kind: word,
      subject_id: guestOrNode,
      rule: text(64),
      state: word,
      since_ms: int,
      data: json,
      ver,
    },
    key: ['cluster', 'subject_kind', 'subject_id', 'rule'],
  },
  cooldowns: {
    columns: { cluster: id, key: text(255), until_ms: int, reason: sentence, ver },
    key: ['cluster', 'key'],
  },
  policies: {
    columns: {
      id: uuid,
      name: text(128),
      version: int,
      source: word,
      yaml: long,
      hash: sha256,
      author: actor,
      created_at_ms: int,
    },
    key: ['id'],
    unique: [['name', 'version']],
    indexes: [['hash']],
  },
} satisfies Partial<Tables<Schema>>;

const records = {
  audit: {
    columns: {
      chain: id,
      seq: int,
      at_ms: int,
      actor,
      action: long,
      subject: long,
      phase: word,
      opened_seq: nullable(int),
      detail: json,
      prev_hash: sha256,
      hash: sha256,
    },
    key: ['chain', 'seq'],
  },
  audit_heads: {
    columns: { chain: id, seq: int, hash: sha256, ver },
    key: ['chain'],
  },
  secrets: {
    columns: { name: text(128), sealed: long, updated_at_ms: int, ver },
    key: ['name'],
  },
  settings: {
    columns: { name: text(128), value: json, ver },
    key: ['name'],
  },
} satisfies Partial<Tables<Schema>>;

type First = Omit<
  Schema,
  | 'wake_campaigns'
  | 'shadow_runs'
  | 'quota_claims'
  | 'notify_channels'
  | 'notices'
  | 'notice_deliveries'
  | 'notice_actions'
  | 'evacuations'
>;

export const tables = {
  ...people,
  ...fleet,
  ...commands,
  ...engine,
  ...records,
} satisfies Tables<First>;

export const up = (db: Kysely<unknown>): Promise<void> => createTables<First>(db, tables);
