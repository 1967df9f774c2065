/** Channels of notifications, what was told through them, and what may be done from a message. */
import type { Kysely } from 'kysely';
import type { Schema } from '../schema.ts';
import { createTables, int, long, nullable, type Tables, text } from './table.ts';

const uuid = text(36);
const word = text(32);

type Added = Pick<Schema, 'notify_channels' | 'notices' | 'notice_deliveries' | 'notice_actions'>;

export const notificationTables = {
  notify_channels: {
    columns: {
      id: uuid,
      name: text(64),
      kind: word,
      target: long,
      is_enabled: int,
      fallback_id: nullable(uuid),
      created_at_ms: int,
      ver: int,
    },
    key: ['id'],
    unique: [['name']],
  },
  notices: {
    columns: {
      id: uuid,
      open_key: nullable(text(255)),
      rule: word,
      severity: word,
      cluster: nullable(text(63)),
      title: long,
      body: long,
      command_id: nullable(uuid),
      opened_at_ms: int,
      resolved_at_ms: nullable(int),
      ver: int,
    },
    key: ['id'],
    unique: [['open_key']],
    indexes: [['opened_at_ms']],
  },
  notice_deliveries: {
    columns: {
      id: uuid,
      notice_id: uuid,
      channel_id: uuid,
      what: word,
      state: word,
      attempts: int,
      due_at_ms: int,
      problem: nullable(long),
      created_at_ms: int,
      ended_at_ms: nullable(int),
      ver: int,
    },
    key: ['id'],
    indexes: [['state', 'due_at_ms'], ['notice_id']],
  },
  notice_actions: {
    columns: {
      token_hash: text(64),
      command_id: uuid,
      verb: word,
      expires_at_ms: int,
      used_at_ms: nullable(int),
    },
    key: ['token_hash'],
    indexes: [['expires_at_ms']],
  },
} satisfies Tables<Added>;

export const up = (db: Kysely<unknown>): Promise<void> =>
  createTables<Added>(db, notificationTables);
