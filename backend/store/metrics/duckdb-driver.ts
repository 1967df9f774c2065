/**
 * Our one use of DuckDB: an instance with one connection that writes and one that reads, so that
 * a query never holds a commit up. Queries run one after the other, in the library's own threads;
 * each connection would otherwise block a thread of Node's pool for every query that waits.
 */
import {
  BIGINT,
  DOUBLE,
  type DuckDBAppender,
  type DuckDBConnection,
  DuckDBDataChunk,
  DuckDBInstance,
  INTEGER,
  VARCHAR,
} from '@duckdb/node-api';
import native from '@duckdb/node-bindings';
import { MetricsQueryError } from './errors.ts';

/**
 * A column of a table with the value of each row to append, as INTEGER, BIGINT, DOUBLE or VARCHAR;
 * NaN, which no measured value is, stands for null.
 */
export type Column = {
  name: string;
  values: Int32Array | BigInt64Array | Float64Array | readonly (string | null)[];
};

export type Parameters = Record<string, string | bigint>;

export type DuckDb = {
  /** All or nothing, and on disk when it resolves. Never call it while one runs. */
  transaction(work: () => Promise<void>): Promise<void>;
  /** On the writing connection. */
  execute(sql: string): Promise<void>;
  /** Within a transaction. The columns of a table are the same at every call. */
  append(table: string, columns: readonly Column[], rowCount: number): Promise<void>;
  /** Forgets what appending to these tables took; needed before they are dropped. */
  release(tables: readonly string[]): void;
  /** Integers arrive as numbers only where the SQL casts them to DOUBLE or INTEGER. */
  query(sql: string, parameters?: Parameters): Promise<Record<string, unknown>[]>;
  close(): Promise<void>;
};

/** After it every statement fails until the file is opened again, say by a failed checkpoint. */
export const isFatal = (error: unknown): boolean =>
  error instanceof Error && /FATAL|INTERNAL Error|has been invalidated/.test(error.message);

/** The most rows DuckDB takes in one chunk. */
const chunkRows = 2_048;
/** At 10 ms a query, about a second of waiting. */
const waitingQueriesMax = 100;

/**
 * threads 1: a query takes at most one core. default_block_size: each column of each table that is
 * being written holds a block of it in memory, and a day, its roll-ups and their months are some 250
 * columns: at the usual 256 kB those are the 64 MB allowed, and a commit fails. Only a new file
 * takes it; an older one keeps its own. checkpoint_threshold: at 0.9 MB of log a second under
 * full load, a checkpoint of 0.4 s every 36 s, and at most that much to read after a crash.
 * allocator_*: freed memory goes back to the system at once; 50 MB less resident, no CPU more.
 */
const options = {
  threads: '1',
  default_block_size: '16384',
  checkpoint_threshold: '32MB',
  allocator_flush_threshold: '100KB',
  allocator_bulk_deallocation_flush_threshold: '100KB',
  autoinstall_known_extensions: 'false',
  autoload_known_extensions: 'false',
} as const;

/**
 * What appending to one table takes, made once and used for ever: the library frees appenders and
 * chunks only when the garbage collector finds them, which under full load held 170 MB.
 */
type Feeder = { appender: DuckDBAppender; chunk: DuckDBDataChunk };

function typeOf({ values }: Column) {
  if (values instanceof Int32Array) return INTEGER;
  if (values instanceof BigInt64Array) return BIGINT;
  return values instanceof Float64Array ? DOUBLE : VARCHAR;
}

async function feederOf(
  writer: DuckDBConnection,
  table: string,
  columns: readonly Column[],
): Promise<Feeder> {
  const appender = await writer.createAppender(table);
  return { appender, chunk: DuckDBDataChunk.create(columns.map(typeOf), chunkRows) };
}

type Numbers = Exclude<Column['values'], readonly unknown[]>;

/** One bit a row, set where there is a value; undefined where none is missing. */
function validityOf(values: Numbers): Uint8Array | undefined {
  if (!(values instanceof Float64Array)) return undefined;
  let valid: Uint8Array | undefined;
  for (let row = 0; row < values.length; row += 1) {
    if (values[row] === values[row]) continue;
    valid ??= new Uint8Array(chunkRows / 8).fill(0xff);
    valid[row >> 3] = (valid[row >> 3] as number) & ~(1 << (row & 7));
  }
  return valid;
}

/**
 * By the library's lower half: its vectors take values one by one, and where one is missing they do
 * 64-bit arithmetic for each, which took half of all that storing costs.
 */
function copyNumbers(chunk: DuckDBDataChunk, index: number, values: Numbers): void {
  const vector = native.data_chunk_get_vector(chunk.chunk, index);
  const { buffer, byteOffset, byteLength } = values;
  native.copy_data_to_vector(vector, 0, buffer as ArrayBuffer, byteOffset, byteLength);
  const valid = validityOf(values);
  if (valid === undefined) return;
  native.vector_ensure_validity_writable(vector);
  native.copy_data_to_vector_validity(vector, 0, valid.buffer as ArrayBuffer, 0, valid.length);
}

function feed({ appender, chunk }: Feeder, columns: readonly Column[], rowCount: number): void {
  for (let offset = 0; offset < rowCount; offset += chunkRows) {
    const end = Math.min(offset + chunkRows, rowCount);
    chunk.reset();
    chunk.rowCount = end - offset;
    columns.forEach(({ values }, index) => {
      if (Array.isArray(values)) chunk.setColumnValues(index, values.slice(offset, end));
      else copyNumbers(chunk, index, (values as Numbers).subarray(offset, end));
    });
    appender.appendDataChunk(chunk);
  }
  appender.flushSync();
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

export type DuckDbOptions = { file: string; memoryLimitMb: number };

function release(feeders: Map<string, Feeder>, tables: readonly string[]): void {
  for (const table of tables) {
    const feeder = feeders.get(table);
    feeders.delete(table);
    // Rows of a failed batch would be written by closing it.
    feeder?.appender.clear();
    feeder?.appender.closeSync();
  }
}

/** One query at a time; the others wait, as many as could be answered soon. */
function queueFor(reader: DuckDBConnection) {
  let tail: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  const query: DuckDb['query'] = (sql, parameters) => {
    if (waiting >= waitingQueriesMax) {
      const hint = `${waitingQueriesMax} queries wait already; ask again in a second`;
      return Promise.reject(new MetricsQueryError('store', hint));
    }
    waiting += 1;
    const answer = tail.then(async () => (await reader.run(sql, parameters)).getRowObjectsJS());
    tail = answer.catch(() => undefined).finally(() => (waiting -= 1));
    return answer;
  };
  return { query, idle: () => tail };
}

export async function openDuckDb({ file, memoryLimitMb }: DuckDbOptions): Promise<DuckDb> {
  const limits = { memory_limit: `${memoryLimitMb}MB`, temp_directory: `${file}.tmp` };
  const instance = await DuckDBInstance.create(file, { ...options, ...limits });
  const writer = await instance.connect();
  const reader = await instance.connect();
  const feeders = new Map<string, Feeder>();
  const { query, idle } = queueFor(reader);
  return {
    async transaction(work) {
      try {
        await transaction(writer, work);
      } catch (error) {
        release(feeders, [...feeders.keys()]);
        throw error;
      }
    },
    execute: async (sql) => void (await writer.run(sql)),
    async append(table, columns, rowCount) {
      const feeder = feeders.get(table) ?? (await feederOf(writer, table, columns));
      feeders.set(table, feeder);
      feed(feeder, columns, rowCount);
    },
    release: (tables) => release(feeders, tables),
    query,
    async close() {
      // A query that is still running would lose its connection under it.
      await idle();
      release(feeders, [...feeders.keys()]);
      reader.closeSync();
      writer.closeSync();
      instance.closeSync();
    },
  };
}
