/** Proving campaigns, and since when the engine is watched in each kind. */
import type { Kysely } from 'kysely';
import type { Schema } from '../schema.ts';
import { createTables, int, long, nullable, type Tables, text } from './table.ts';

const id = text(63);
const uuid = text(36);
const word = text(32);

type Added = Pick<Schema, 'wake_campaigns' | 'shadow_runs'>;

export const controlTables = {
  wake_campaigns: {
    columns: {
      id: uuid,
      cluster: id,
      node: id,
      waker: word,
      actor: long,
      cycles: int,
      phase: word,
      state: word,
      attempts: int,
      done: int,
      proven: int,
      command_id: nullable(uuid),
      binding_hash: nullable(text(64)),
      binding: nullable(long),
      why: long,
      is_cancelled: int,
      off_at_ms: nullable(int),
      started_at_ms: int,
      next_at_ms: int,
      deadline_at_ms: int,
      finished_at_ms: nullable(int),
      ver: int,
    },
    key: ['id'],
    indexes: [
      ['cluster', 'node', 'started_at_ms'],
      ['state', 'cluster'],
    ],
  },
  shadow_runs: {
    columns: { cluster: id, kind: word, since_ms: int, reason: long, ver: int },
    key: ['cluster', 'kind'],
  },
} satisfies Tables<Added>;

export const up = (db: Kysely<unknown>): Promise<void> => createTables<Added>(db, controlTables);
