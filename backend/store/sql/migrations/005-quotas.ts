/** What was promised to guests by the commands that made or scaled them, and who made them. */
import type { Kysely } from 'kysely';
import type { Schema } from '../schema.ts';
import { createTables, int, nullable, type Tables, text } from './table.ts';

type Added = Pick<Schema, 'quota_claims'>;

export const quotaTables = {
  quota_claims: {
    columns: {
      cluster: text(63),
      guest: text(128),
      node: text(63),
      account: nullable(text(36)),
      cpu_count: int,
      memory_bytes: int,
      command_id: text(36),
      ver: int,
    },
    key: ['cluster', 'guest'],
    indexes: [['command_id']],
  },
} satisfies Tables<Added>;

export const up = (db: Kysely<unknown>): Promise<void> => createTables<Added>(db, quotaTables);
