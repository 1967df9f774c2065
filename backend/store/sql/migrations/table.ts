/**
 * How a migration writes down a table once for both dialects. SQLite's tables are STRICT and check
 * lengths, and MariaDB compares byte by byte without padding, so that a value, a comparison and an
 * order are the same on both.
 */
import {
  type ColumnDefinitionBuilder,
  type CreateTableBuilder,
  type Kysely,
  type RawBuilder,
  SqliteAdapter,
  sql,
} from 'kysely';

/** `long` is text of any length; a flag and a count are both `int`. */
type ColumnType = { is: 'text'; lengthMax: number } | { is: 'long' | 'int' | 'real' };
type Holds<T extends ColumnType> = T extends { is: 'text' | 'long' } ? string : number;

export type Column<V = string | number, N extends boolean = boolean> = {
  type: ColumnType;
  isNullable: N;
  /** Only for the compiler: what a row of schema.ts has here. */
  holds?: V;
};

const column = <T extends ColumnType>(type: T): Column<Holds<T>, false> => ({
  type,
  isNullable: false,
});

export const text = (lengthMax: number) => column({ is: 'text', lengthMax });
export const long = column({ is: 'long' });
export const int = column({ is: 'int' });
export const real = column({ is: 'real' });
export const nullable = <V>({ type }: Column<V, false>): Column<V, true> => ({
  type,
  isNullable: true,
});

export type Table<Row> = {
  columns: {
    [C in keyof Row]-?: Column<
      NonNullable<Row[C]> extends string ? string : number,
      null extends Row[C] ? true : false
    >;
  };
  key: readonly (keyof Row & string)[];
  unique?: readonly (readonly (keyof Row & string)[])[];
  indexes?: readonly (readonly (keyof Row & string)[])[];
};

export type Tables<S> = { [T in keyof S]: Table<S[T]> };

const mariadbTypes = { long: sql`longtext`, int: sql`bigint`, real: sql`double` };
const sqliteTypes = { text: sql`text`, long: sql`text`, int: sql`integer`, real: sql`real` };

const mariadbType = (type: ColumnType): RawBuilder<unknown> =>
  type.is === 'text' ? sql`varchar(${sql.lit(type.lengthMax)})` : mariadbTypes[type.is];

async function createTable(
  db: Kysely<unknown>,
  name: string,
  { columns, key, unique = [], indexes = [] }: Table<Record<string, string | number | null>>,
): Promise<void> {
  const isSqlite = db.getExecutor().adapter instanceof SqliteAdapter;
  // MariaDB commits each statement by itself: a migration that was cut off must find its place.
  let table: CreateTableBuilder<string, string> = db.schema.createTable(name).ifNotExists();
  for (const [column, { type, isNullable }] of Object.entries(columns)) {
    const constrain = (built: ColumnDefinitionBuilder): ColumnDefinitionBuilder => {
      const nulled = isNullable ? built : built.notNull();
      return isSqlite && type.is === 'text'
        ? nulled.check(sql`length(${sql.ref(column)}) <= ${sql.lit(type.lengthMax)}`)
        : nulled;
    };
    table = table.addColumn(column, isSqlite ? sqliteTypes[type.is] : mariadbType(type), constrain);
  }
  table = table.addPrimaryKeyConstraint(`${name}_key`, [...key]);
  for (const columns of unique) {
    table = table.addUniqueConstraint(`${name}_unique_${columns.join('_')}`, [...columns]);
  }
  await table
    .modifyEnd(
      isSqlite ? sql`strict` : sql`engine=InnoDB default charset=utf8mb4 collate=utf8mb4_nopad_bin`,
    )
    .execute();
  for (const columns of indexes) {
    await db.schema
      .createIndex(`${name}_by_${columns.join('_')}`)
      .ifNotExists()
      .on(name)
      .columns([...columns])
      .execute();
  }
}

export async function createTables<S>(db: Kysely<unknown>, tables: Tables<S>): Promise<void> {
  for (const [name, table] of Object.entries(tables)) {
    await createTable(db, name, table as Table<Record<string, string | number | null>>);
  }
}
