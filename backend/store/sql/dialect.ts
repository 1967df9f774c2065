/**
 * What differs between the two SQL drivers, and the guard both stand behind: parameters that one
 * of them would quietly bend are refused, and failures come out as the types of errors.ts. No
 * query elsewhere asks which dialect it runs on.
 */
import type {
  CompiledQuery,
  DatabaseConnection,
  Driver,
  Kysely,
  Dialect as KyselyDialect,
  RawBuilder,
  TransactionSettings,
} from 'kysely';
import { StoreUnavailable, UniqueViolation } from './errors.ts';

export type Dialect = {
  name: 'sqlite' | 'mariadb';
  /** The store's own time in ms, inside the statement where the store has a clock. */
  nowMs(): RawBuilder<number>;
  isUniqueViolation: (error: unknown) => error is UniqueViolation;
};

/** How a driver's own error is to be taken. */
export type Verdict = 'unavailable' | 'duplicate' | 'retry' | 'other';

export type Backing = {
  dialect: Omit<Dialect, 'isUniqueViolation'>;
  kysely: KyselyDialect;
  judge: (error: unknown) => Verdict;
};

/**
 * SQLite would store NaN as NULL and a fraction of 2^53 and more unchanged, MariaDB would refuse
 * one and round the other, and only one takes booleans. The twins are kept equal by refusing.
 */
function checkParameters(query: CompiledQuery): void {
  for (const value of query.parameters) {
    if (value === null || typeof value === 'string') continue;
    if (typeof value === 'number') {
      const isExact = Number.isInteger(value)
        ? Number.isSafeInteger(value)
        : Number.isFinite(value);
      if (isExact) continue;
      throw new RangeError(`${value} is no number the store keeps exactly: ${query.sql}`);
    }
    throw new TypeError(
      `the store takes text, numbers and null, not ${typeof value}: ${query.sql}`,
    );
  }
}

export const isUniqueViolation = (error: unknown): error is UniqueViolation =>
  error instanceof UniqueViolation;

class GuardedDriver implements Driver {
  readonly #inner: Driver;
  readonly #judge: Backing['judge'];
  readonly #guarded = new WeakSet<DatabaseConnection>();

  constructor(inner: Driver, judge: Backing['judge']) {
    this.#inner = inner;
    this.#judge = judge;
  }

  async #typed<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const verdict = this.#judge(error);
      const why = error instanceof Error ? error.message : String(error);
      if (verdict === 'duplicate') throw new UniqueViolation(why, { cause: error });
      if (verdict !== 'unavailable') throw error;
      throw new StoreUnavailable(`the SQL store does not answer: ${why}`, { cause: error });
    }
  }

  init(): Promise<void> {
    return this.#typed(() => this.#inner.init());
  }

  async acquireConnection(): Promise<DatabaseConnection> {
    const connection = await this.#typed(() => this.#inner.acquireConnection());
    if (this.#guarded.has(connection)) return connection;
    this.#guarded.add(connection);
    const execute = connection.executeQuery.bind(connection);
    connection.executeQuery = async <R>(query: CompiledQuery) => {
      checkParameters(query);
      return this.#typed(() => execute<R>(query));
    };
    return connection;
  }

  beginTransaction(connection: DatabaseConnection, settings: TransactionSettings): Promise<void> {
    return this.#typed(() => this.#inner.beginTransaction(connection, settings));
  }

  commitTransaction(connection: DatabaseConnection): Promise<void> {
    return this.#typed(() => this.#inner.commitTransaction(connection));
  }

  rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    return this.#typed(() => this.#inner.rollbackTransaction(connection));
  }

  releaseConnection(connection: DatabaseConnection): Promise<void> {
    return this.#inner.releaseConnection(connection);
  }

  destroy(): Promise<void> {
    return this.#inner.destroy();
  }
}

export const guarded = ({ kysely, judge }: Backing): KyselyDialect => ({
  createDriver: () => new GuardedDriver(kysely.createDriver(), judge),
  createQueryCompiler: () => kysely.createQueryCompiler(),
  createAdapter: () => kysely.createAdapter(),
  createIntrospector: (db: Kysely<unknown>) => kysely.createIntrospector(db),
});
