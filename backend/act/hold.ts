/**
 * HOLD, the kill switch: a flag in the store, read inside every step, and the signed retained
 * message that executors believe. Setting it never waits for a lease; what was waiting is then
 * cancelled by whoever leads the cluster.
 */
import { encodeServer } from '../../broker/contract/codec.ts';
import type { ServerContent } from '../../broker/contract/server.ts';
import type { Transaction } from 'kysely';
import { appendAudit, systemChain } from '../audit/chain.ts';
import { changed, ConflictError } from '../store/sql/database.ts';
import type { Schema } from '../store/sql/schema.ts';
import { refuse } from './refusal.ts';
import { type Context, type HoldAll, holdSetting, parseHold, publishAll } from './step.ts';

export type HoldOrder = {
  /** null = everything. */
  cluster: string | null;
  hold: boolean;
  reason: string | null;
  actor: string;
};

export type Holds = { all: boolean; clusters: string[]; version: number };

async function nowOf(context: Context, trx: Transaction<Schema>): Promise<number> {
  const { now } = await trx
    .selectNoFrom(context.database.dialect.nowMs().as('now'))
    .executeTakeFirstOrThrow();
  return now;
}

/** The setting's `ver` is the version of the retained message: every change raises it. */
async function bumpSetting(trx: Transaction<Schema>, all: HoldAll | null): Promise<void> {
  const hasRow = await changed(
    trx
      .updateTable('settings')
      .set((eb) => ({
        ...(all ? { value: JSON.stringify(all) } : {}),
        ver: eb('ver', '+', 1),
      }))
      .where('name', '=', holdSetting),
  );
  if (hasRow) return;
  const value = JSON.stringify(all ?? parseHold(null));
  await trx.insertInto('settings').values({ name: holdSetting, value, ver: 1 }).execute();
}

export async function readHolds(context: Context): Promise<Holds> {
  const { db } = context.database;
  const setting = await db
    .selectFrom('settings')
    .select(['value', 'ver'])
    .where('name', '=', holdSetting)
    .executeTakeFirst();
  const rows = await db.selectFrom('clusters').select('id').where('hold', '=', 1).execute();
  const { all } = parseHold(setting?.value ?? null);
  return { all, clusters: rows.map(({ id }) => id).sort(), version: setting?.ver ?? 1 };
}

export function publishServer(context: Context, { all, clusters, version }: Holds): void {
  const { signer } = context;
  const content = {
    v: 1,
    type: 'server',
    serverId: signer.serverId,
    keyIds: signer.serverKeys.map(({ keyId }) => keyId),
    hold: { all, clusters },
    version,
  } satisfies ServerContent;
  publishAll(context, [encodeServer(signer.sign(content))]);
}

/** A start may bring other keys, so it counts as a change. */
export const announce = (context: Context): Promise<void> =>
  context.database.transaction((trx) => bumpSetting(trx, null));

async function setCluster(trx: Transaction<Schema>, order: HoldOrder, atMs: number) {
  const { cluster, hold, reason, actor } = order;
  const hasRow = await changed(
    trx
      .updateTable('clusters')
      .set((eb) => ({
        hold: hold ? 1 : 0,
        hold_reason: hold ? reason : null,
        hold_by: hold ? actor : null,
        hold_at_ms: hold ? atMs : null,
        ver: eb('ver', '+', 1),
      }))
      .where('id', '=', cluster ?? ''),
  );
  if (hasRow) return;
  refuse(404, 'KR_UNKNOWN_CLUSTER', {
    field: 'cluster',
    detail: `there is no cluster ${cluster}`,
    wayOut: 'name a cluster that GET /api/v1/clusters lists, or hold everything',
  });
}

export async function setHold(context: Context, order: HoldOrder): Promise<Holds> {
  const { cluster, hold, reason, actor } = order;
  await context.database.transaction(async (trx) => {
    const atMs = await nowOf(context, trx);
    try {
      if (cluster !== null) await setCluster(trx, order, atMs);
      const all = hold
        ? { all: true, reason, by: actor, atMs }
        : { all: false, reason: null, by: null, atMs: null };
      await bumpSetting(trx, cluster === null ? all : null);
    } catch (error) {
      if (!context.database.dialect.isUniqueViolation(error)) throw error;
      throw new ConflictError('the first HOLD is being written', { cause: error });
    }
    await appendAudit(trx, {
      chain: cluster ?? systemChain,
      actor,
      action: hold ? 'hold.set' : 'hold.released',
      subject: cluster === null ? 'everything' : `cluster:${cluster}`,
      phase: 'done',
      detail: { reason },
      atMs,
    });
  });
  const holds = await readHolds(context);
  publishServer(context, holds);
  return holds;
}
