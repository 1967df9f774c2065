/**
 * Writes credentials: which daemon has which secret and may speak for which nodes. Only hashes
 * are kept. Thousands are written in one transaction by statements of many rows; whatever they
 * replace is removed first, and versions and generations only grow.
 */
import { createHash } from 'node:crypto';
import { sql, type Transaction } from 'kysely';
import { chunks } from './clusters.ts';
import { retryIfTaken } from './errors.ts';
import type { Schema } from './schema.ts';

/** Of the raw bytes, or of the UTF-8 of a text. */
export const sha256 = (secret: string | Uint8Array): string =>
  createHash('sha256').update(secret).digest('hex');

export type NewCredential = {
  daemon: string;
  nodes: readonly string[];
  secretHash: string;
  mqttHash: string;
};

export type NewCredentials = {
  cluster: string;
  simulated: boolean;
  credentials: readonly NewCredential[];
  nowMs: number;
};

/** `ver` or `generation` of what a new row replaces, so that neither ever goes back. */
type Former = Map<string, number>;

async function removeDaemons(
  trx: Transaction<Schema>,
  cluster: string,
  daemons: readonly string[],
): Promise<Former> {
  const former: Former = new Map();
  for (const some of chunks(daemons)) {
    const known = await trx
      .selectFrom('daemons')
      .select(['id', 'ver'])
      .where('cluster', '=', cluster)
      .where('id', 'in', some)
      .execute();
    for (const { id, ver } of known) former.set(id, ver);
    if (known.length === 0) continue;
    for (const [table, column] of [
      ['daemons', 'id'],
      ['daemon_nodes', 'daemon'],
    ] as const) {
      await trx
        .deleteFrom(table)
        .where('cluster', '=', cluster)
        .where(sql.ref<string>(column), 'in', some)
        .execute();
    }
  }
  return former;
}

async function releaseNodes(
  trx: Transaction<Schema>,
  cluster: string,
  nodes: readonly string[],
): Promise<Former> {
  const former: Former = new Map();
  for (const some of chunks(nodes)) {
    const owned = await trx
      .selectFrom('daemon_nodes')
      .select(['node', 'generation'])
      .where('cluster', '=', cluster)
      .where('node', 'in', some)
      .execute();
    for (const { node, generation } of owned) {
      former.set(node, Math.max(generation, former.get(node) ?? 0));
    }
    if (owned.length === 0) continue;
    await trx
      .deleteFrom('daemon_nodes')
      .where('cluster', '=', cluster)
      .where('node', 'in', some)
      .execute();
  }
  return former;
}

/** Gives each daemon its credential and its nodes; a former owner of these nodes loses them. */
export async function replaceCredentials(
  trx: Transaction<Schema>,
  { cluster, simulated, credentials, nowMs }: NewCredentials,
): Promise<void> {
  const pairs = credentials.flatMap(({ daemon, nodes }) => nodes.map((node) => ({ daemon, node })));
  const generations = await releaseNodes(
    trx,
    cluster,
    pairs.map(({ node }) => node),
  );
  const vers = await removeDaemons(
    trx,
    cluster,
    credentials.map(({ daemon }) => daemon),
  );
  for (const some of chunks(credentials)) {
    const rows = some.map((credential) => ({
      cluster,
      id: credential.daemon,
      secret_hash: credential.secretHash,
      secret_hash_old: null,
      secret_hash_old_until_ms: null,
      mqtt_hash: credential.mqttHash,
      simulated: simulated ? (1 as const) : (0 as const),
      created_at_ms: nowMs,
      revoked_at_ms: null,
      ver: (vers.get(credential.daemon) ?? 0) + 1,
    }));
    await retryIfTaken(trx.insertInto('daemons').values(rows).execute());
  }
  for (const some of chunks(pairs)) {
    const rows = some.map(({ daemon, node }) => ({
      cluster,
      node,
      daemon,
      generation: (generations.get(node) ?? 0) + 1,
      role: 'owner' as const,
      ver: 1,
    }));
    await retryIfTaken(trx.insertInto('daemon_nodes').values(rows).execute());
  }
}
