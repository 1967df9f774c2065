/**
 * Our one use of DuckDB: an instance with one connection that writes and one that reads, so that
 * a query never holds a commit up. Queries run one after the other, in the library's own threads;
 * each connection would otherwise block a thread of Node's pool for every query that waits.
 */
import {
  BIGINT,
  DOUBLE,
  DuckDBDataChunk,
  DuckDBInstance,
  INTEGER,
  VARCHAR,
  type DuckDBConnection,
} from '@duckdb/node-api';
import { MetricsQueryError } from './errors.ts';

const types = { INTEGER, BIGINT, DOUBLE, VARCHAR } as const;

/** A column of a table with the value of each row to append. */
export type Column = {
  name: string;
  type: keyof typeof types;
  valueAt: (row: number) => string | number | bigint | null;
};

export type Parameters = Record<string, string | bigint>;

export type DuckDb = {
  /** All or nothing, and on disk when it resolves. Never call it while one runs. */
  transaction(work: () => Promise<void>): Promise<void>;
  /** On the writing connection. */
  execute(sql: string): Promise<void>;
  append(table: string, columns: readonly Column[], rowCount: number): Promise<void>;
  /** Integers arrive as numbers only where the SQL casts them to DOUBLE or INTEGER. */
  query(sql: string, parameters?: Parameters): Promise<Record<string, unknown>[]>;
  close(): Promise<void>;
};

/** The most rows DuckDB takes in one chunk. */
const chunkRows = 2_048;
/** At 10 ms a query, about a second of waiting. */
const waitingQueriesMax = 100;

/**
 * memory_limit: the page cache; a day of 2048 nodes is aggregated in it, spilling beside the file.
 * threads 1: a query takes at most one core. checkpoint_threshold: at 0.9 MB of log a second under
 * full load, a checkpoint of 0.15 s every 18 s, and at most that much to read after a crash.
 */
const options = {
  memory_limit: '128MB',
  threads: '1',
  checkpoint_threshold: '16MB',
  autoinstall_known_extensions: 'false',
  autoload_known_extensions: 'false',
} as const;

async function append(
  writer: DuckDBConnection,
  [table, columns, rowCount]: readonly [string, readonly Column[], number],
): Promise<void> {
  const appender = await writer.createAppender(table);
  try {
    for (let offset = 0; offset < rowCount; offset += chunkRows) {
      const count = Math.min(chunkRows, rowCount - offset);
      const chunk = DuckDBDataChunk.create(
        columns.map(({ type }) => types[type]),
        count,
      );
      columns.forEach(({ valueAt }, index) => {
        const vector = chunk.getColumnVector(index);
        for (let row = 0; row < count; row += 1) vector.setItem(row, valueAt(offset + row));
        vector.flush();
      });
      appender.appendDataChunk(chunk);
    }
    appender.flushSync();
  } finally {
    appender.closeSync();
  }
}

async function transaction(writer: DuckDBConnection, work: () => Promise<void>): Promise<void> {
  await writer.run('BEGIN');
  try {
    await work();
    await writer.run('COMMIT');
  } catch (error) {
    // A commit that failed has already rolled back, and says so when asked again.
    await writer.run('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

export async function openDuckDb(file: string): Promise<DuckDb> {
  const instance = await DuckDBInstance.create(file, { ...options, temp_directory: `${file}.tmp` });
  const writer = await instance.connect();
  const reader = await instance.connect();
  let tail: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  return {
    transaction: (work) => transaction(writer, work),
    execute: async (sql) => void (await writer.run(sql)),
    append: (table, columns, rowCount) => append(writer, [table, columns, rowCount]),
    query(sql, parameters) {
      if (waiting >= waitingQueriesMax) {
        const hint = `${waitingQueriesMax} queries wait already; ask again in a second`;
        return Promise.reject(new MetricsQueryError('store', hint));
      }
      waiting += 1;
      const answer = tail.then(async () => (await reader.run(sql, parameters)).getRowObjectsJS());
      tail = answer.then(
        () => (waiting -= 1),
        () => (waiting -= 1),
      );
      return answer;
    },
    async close() {
      await tail;
      reader.closeSync();
      writer.closeSync();
      instance.closeSync();
    },
  };
}
