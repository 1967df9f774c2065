/**
 * Tables in memory with what the contract needs of SQL: keys that are unique, columns that take
 * only what SQL takes, and a log by which an aborted transaction is undone. Rows are never changed
 * in place, so whoever has read one keeps what it read.
 */
import { isTerminal, type CommandState } from '../../broker/contract/command.ts';
import { UniqueViolation } from '../../backend/store/sql/errors.ts';
import type { Commands, Schema } from '../../backend/store/sql/schema.ts';

export type TableName =
  | 'audit'
  | 'audit_heads'
  | 'clusters'
  | 'command_history'
  | 'commands'
  | 'leases'
  | 'limiter'
  | 'nodes'
  | 'outbox'
  | 'settings'
  | 'targets'
  | 'shadow_runs'
  | 'quota_claims'
  | 'wake_campaigns'
  | 'wake_proofs';

/** One write; `row` null: dropped, `was` null: new. */
export type Written = {
  [T in TableName]: { table: T; row: Schema[T] | null; was: Schema[T] | null };
}[TableName];

type Undo = { table: Table<TableName>; key: string; written: Written };

/** Columns that take fractions; SQL refuses them everywhere else. */
const real: ReadonlySet<string> = new Set(['time_scale', 'tokens']);

function checkColumns(row: object): void {
  for (const column in row) {
    const value: unknown = row[column as keyof typeof row];
    if (value === null || typeof value === 'string') continue;
    const isNumber = real.has(column) ? Number.isFinite(value) : Number.isSafeInteger(value);
    if (!isNumber) throw new TypeError(`column ${column} does not take ${JSON.stringify(value)}`);
  }
}

export class Table<T extends TableName> {
  readonly rows = new Map<string, Schema[T]>();
  readonly #name: T;
  readonly #log: Undo[];
  readonly #keyOf: (row: Schema[T]) => string;

  constructor(name: T, log: Undo[], keyOf: (row: Schema[T]) => string) {
    this.#name = name;
    this.#log = log;
    this.#keyOf = keyOf;
  }

  get(key: string): Schema[T] | undefined {
    return this.rows.get(key);
  }

  insert(row: Schema[T]): void {
    checkColumns(row);
    const key = this.#keyOf(row);
    if (this.rows.has(key)) throw new UniqueViolation(`${this.#name} ${key} exists`);
    this.#write(key, { ...row });
  }

  /** The patched row, written. */
  update(was: Schema[T], patch: Partial<Schema[T]>): void {
    checkColumns(patch);
    this.#write(this.#keyOf(was), { ...was, ...patch });
  }

  drop(was: Schema[T]): void {
    this.#write(this.#keyOf(was), null);
  }

  /** Undoes a write; `row` is what was there before. */
  restore(key: string, row: Schema[T] | null): void {
    const was = this.rows.get(key) ?? null;
    if (row) this.rows.set(key, row);
    else this.rows.delete(key);
    this.changed(was, row);
  }

  /** For indexes: called after every change, undoing included. */
  protected changed(_was: Schema[T] | null, _row: Schema[T] | null): void {
    return;
  }

  #write(key: string, row: Schema[T] | null): void {
    const was = this.rows.get(key) ?? null;
    const written = { table: this.#name, row, was } as unknown as Written;
    this.#log.push({ table: this as unknown as Table<TableName>, key, written });
    this.restore(key, row);
  }
}

const generationKey = (row: Commands): string =>
  [row.cluster, row.target_kind, row.target_id, row.kind, row.generation].join(' ');

class CommandTable extends Table<'commands'> {
  /** Those that have not ended: all that loops and guards mostly ask for. */
  readonly open = new Map<string, Commands>();
  readonly byKey = new Map<string, Commands>();
  readonly #generations = new Set<string>();

  override insert(row: Commands): void {
    if (this.#generations.has(generationKey(row))) {
      throw new UniqueViolation(`commands ${generationKey(row)} exists`);
    }
    if (row.idempotency_key !== null && this.byKey.has(row.idempotency_key)) {
      throw new UniqueViolation(`commands ${row.idempotency_key} exists`);
    }
    super.insert(row);
  }

  protected override changed(was: Commands | null, row: Commands | null): void {
    if (was && !row) {
      this.open.delete(was.id);
      this.#generations.delete(generationKey(was));
      if (was.idempotency_key !== null) this.byKey.delete(was.idempotency_key);
    }
    if (!row) return;
    if (isTerminal(row.state as CommandState)) this.open.delete(row.id);
    else this.open.set(row.id, row);
    if (!was) this.#generations.add(generationKey(row));
    if (row.idempotency_key !== null) this.byKey.set(row.idempotency_key, row);
  }
}

export type Tables = ReturnType<typeof createTables>;

export function createTables() {
  const log: Undo[] = [];
  return {
    log,
    audit: new Table('audit', log, ({ chain, seq }) => `${chain} ${seq}`),
    heads: new Table('audit_heads', log, ({ chain }) => chain),
    clusters: new Table('clusters', log, ({ id }) => id),
    history: new Table('command_history', log, ({ command_id, ver }) => `${command_id} ${ver}`),
    commands: new CommandTable('commands', log, ({ id }) => id),
    leases: new Table('leases', log, ({ cluster }) => cluster),
    limiter: new Table('limiter', log, ({ cluster, bucket }) => `${cluster} ${bucket}`),
    nodes: new Table('nodes', log, ({ cluster, id }) => `${cluster} ${id}`),
    outbox: new Table('outbox', log, ({ id }) => id),
    settings: new Table('settings', log, ({ name }) => name),
    targets: new Table('targets', log, ({ cluster, kind, id }) => `${cluster} ${kind} ${id}`),
    proofs: new Table('wake_proofs', log, ({ id }) => id),
    campaigns: new Table('wake_campaigns', log, ({ id }) => id),
    claims: new Table('quota_claims', log, ({ cluster, guest }) => `${cluster} ${guest}`),
    shadows: new Table('shadow_runs', log, ({ cluster, kind }) => `${cluster} ${kind}`),
  };
}

/** Takes back everything since the log was last empty, newest first. */
export function rollBack({ log }: Tables): void {
  for (let last = log.pop(); last; last = log.pop()) last.table.restore(last.key, last.written.was);
}
