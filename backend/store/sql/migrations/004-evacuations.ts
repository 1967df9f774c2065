/** Nodes that a person wants emptied for maintenance, and who ran there before. */
import type { Kysely } from 'kysely';
import type { Schema } from '../schema.ts';
import { createTables, int, long, type Tables, text } from './table.ts';

type Added = Pick<Schema, 'evacuations'>;

export const evacuationTables = {
  evacuations: {
    columns: {
      cluster: text(63),
      node: text(63),
      phase: text(32),
      sleeps: int,
      guests: long,
      actor: long,
      started_at_ms: int,
      ver: int,
    },
    key: ['cluster', 'node'],
  },
} satisfies Tables<Added>;

export const up = (db: Kysely<unknown>): Promise<void> => createTables<Added>(db, evacuationTables);
