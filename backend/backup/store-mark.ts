/**
 * Whether the tables were turned back behind this server's back: by mysqldump, by a copied file, by
 * a snapshot of the machine that holds MariaDB. The heads of the audit chains only ever grow, and
 * no command begins without an entry; so the newest heads are kept in the data folder, outside the
 * tables, and a store that no longer has them is one of the past. Then daemons may be ahead, and the
 * server comes up as after a restore: held, in a later epoch, with what waited in doubt.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Kysely } from 'kysely';
import { z } from 'zod';
import type { Cancel, Clock, Log } from '../../broker/contract/ports.ts';
import { appendAudit } from '../audit/chain.ts';
import type { Database } from '../store/sql/database.ts';
import { isInUse } from '../store/sql/dump.ts';
import type { Schema } from '../store/sql/schema.ts';
import { writeWhole } from '../durable.ts';
import { guardAgainstThePast } from './past.ts';

/** What happened in the last seconds before the tables were lost may be missing in the mark. */
const everyMs = 10_000;

const Heads = z.record(z.string(), z.object({ seq: z.int(), hash: z.string() }));
type Heads = z.infer<typeof Heads>;

const pathOf = (dataDir: string): string => join(dataDir, 'store-mark.json');

async function readMark(dataDir: string, log: Log): Promise<Heads> {
  try {
    return Heads.parse(JSON.parse(await readFile(pathOf(dataDir), 'utf8')));
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (!isMissing)
      log.warn({ err: error }, 'the mark of the store cannot be read and is made anew');
    return {};
  }
}

async function headsOf(db: Kysely<Schema>): Promise<Heads> {
  const rows = await db.selectFrom('audit_heads').select(['chain', 'seq', 'hash']).execute();
  return Object.fromEntries(rows.map(({ chain, seq, hash }) => [chain, { seq, hash }]));
}

const write = (dataDir: string, heads: Heads): Promise<void> =>
  writeWhole(pathOf(dataDir), Buffer.from(`${JSON.stringify(heads)}\n`), 0o600);

/** A restore puts its own guards in place. */
export const forgetMark = (dataDir: string): Promise<void> => rm(pathOf(dataDir), { force: true });

/** The chain that lacks what it had; null when every one goes on from where it was. */
async function lackingChain(db: Kysely<Schema>, mark: Heads): Promise<string | null> {
  const now = await headsOf(db);
  for (const [chain, { seq, hash }] of Object.entries(mark)) {
    if ((now[chain]?.seq ?? 0) < seq) return chain;
    const entry = await db
      .selectFrom('audit')
      .select('hash')
      .where('chain', '=', chain)
      .where('seq', '=', seq)
      .executeTakeFirst();
    if (entry?.hash !== hash) return chain;
  }
  return null;
}

type Deps = { database: Database; dataDir: string; clock: Clock; log: Log };

/** Before anything acts on the tables. True when they were turned back. */
export async function guardWhenTurnedBack({ database, dataDir, clock, log }: Deps) {
  const { db } = database;
  const chain = (await isInUse({ db }))
    ? await lackingChain(db, await readMark(dataDir, log))
    : null;
  if (chain !== null) {
    const reason =
      'the SQL store is older than this server remembers: it was put back by another tool; look ' +
      'at commands and nodes, then release it';
    const atMs = clock.wallMs();
    await database.transaction(async (trx) => {
      await guardAgainstThePast(trx, { reason, nowMs: atMs });
      await appendAudit(trx, {
        chain: 'system',
        actor: 'local',
        action: 'store.turned-back',
        subject: 'everything',
        phase: 'done',
        detail: { chain },
        atMs,
      });
    });
    log.error({ chain }, `HOLD: ${reason}`);
  }
  await write(dataDir, await headsOf(db));
  return chain !== null;
}

/** Keeps the mark current while the server runs. */
export function keepMark({ database, dataDir, clock, log }: Deps) {
  let cancel: Cancel = () => undefined;
  let isStopped = false;
  let last = '';
  async function look(): Promise<void> {
    try {
      const heads = await headsOf(database.db);
      const text = JSON.stringify(heads);
      if (text !== last) await write(dataDir, heads);
      last = text;
    } catch (error) {
      log.debug({ err: error }, 'the mark of the store was not renewed');
    }
  }
  const again = async (): Promise<void> => {
    await look();
    if (!isStopped) cancel = clock.after(everyMs, again);
  };
  cancel = clock.after(everyMs, again);
  return {
    async stop(): Promise<void> {
      isStopped = true;
      cancel();
      await look();
    },
  };
}
