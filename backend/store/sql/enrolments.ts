/**
 * How a daemon gets its credential: a person asks for a token, the daemon's first session may only
 * redeem it, once, within 15 minutes. Simulated daemons get theirs at once and by the thousand.
 * Secrets leave here in the answer and are never stored.
 */
import type { Transaction } from 'kysely';
import { mosquittoHash, mosquittoSaltBytes } from '../../../broker/acl.ts';
import type { NewId, Random } from '../../../broker/contract/ports.ts';
import { appendAudit } from '../../audit/chain.ts';
import { ensureCluster, ensureNodes } from './clusters.ts';
import { type NewCredential, replaceCredentials, sha256 } from './credentials.ts';
import type { DaemonDirectory } from './daemons.ts';
import { changed, type Database } from './database.ts';
import type { Schema } from './schema.ts';

const tokenLifeMs = 15 * 60_000;

export type Refusal = {
  status: number;
  code: string;
  field: string;
  detail: string;
  wayOut: string;
};
export type Refused = { ok: false; refusal: Refusal };
type DaemonKey = { cluster: string; daemon: string };
type Hashes = Pick<NewCredential, 'secretHash' | 'mqttHash'>;
export type Credential = { node: string; daemon: string; secret: string };
export type Redeemed = { ok: true; daemon: string; secret: string; simulated: boolean };

export type Enrolments = {
  createToken(order: {
    cluster: string;
    node: string;
    actor: string;
  }): Promise<{ ok: true; token: string; expiresAtMs: number } | Refused>;
  createCredentials(order: {
    cluster: string;
    nodes: readonly string[];
    actor: string;
  }): Promise<{ ok: true; credentials: Credential[] } | Refused>;
  /** Answers the `enrol` of a session that the directory let in by a token. */
  redeem(first: DaemonKey): Promise<Redeemed | Refused>;
};

export type EnrolmentDeps = {
  database: Database;
  directory: DaemonDirectory;
  /** SHA-256 of our CA, which daemons pin; null where TLS is off. */
  caFingerprint: string | null;
  random: Random;
  newId: NewId;
  nowMs: () => number;
};

const isReal = (cluster: string): Refused => ({
  ok: false,
  refusal: {
    status: 409,
    code: 'KR_SIMULATED_FIXED',
    field: 'cluster',
    detail: `cluster ${cluster} holds real nodes; ready-made credentials are for simulated ones`,
    wayOut: 'Name another cluster, or leave out `simulated` and enrol one node at a time.',
  },
});

const isVoid = (cluster: string, daemon: string): Refused => ({
  ok: false,
  refusal: {
    status: 409,
    code: 'KR_ENROLMENT_VOID',
    field: 'token',
    detail: `no unused enrolment for ${cluster}/${daemon} is younger than 15 minutes`,
    wayOut: 'Ask for a new token with POST /api/v1/enrolments.',
  },
});

async function isSimulated(trx: Transaction<Schema>, cluster: string): Promise<boolean> {
  const row = await trx
    .selectFrom('clusters')
    .select('simulated')
    .where('id', '=', cluster)
    .executeTakeFirst();
  return row?.simulated === 1;
}

/** A new token makes an older one of the same daemon void. */
async function writeToken(
  trx: Transaction<Schema>,
  order: { id: string; cluster: string; node: string; actor: string },
  { hashes, nowMs }: { hashes: Hashes; nowMs: number },
): Promise<void> {
  const { id, cluster, node, actor } = order;
  const simulated = await isSimulated(trx, cluster);
  await ensureCluster(trx, { id: cluster, simulated, nowMs });
  await trx
    .deleteFrom('enrolments')
    .where((eb) =>
      eb.or([
        eb('expires_at_ms', '<=', nowMs),
        eb.and({ cluster, daemon: node, used_at_ms: null }),
      ]),
    )
    .execute();
  await trx
    .insertInto('enrolments')
    .values({
      id,
      cluster,
      nodes: JSON.stringify([node]),
      daemon: node,
      token_hash: hashes.secretHash,
      mqtt_hash: hashes.mqttHash,
      created_by: actor,
      created_at_ms: nowMs,
      expires_at_ms: nowMs + tokenLifeMs,
      used_at_ms: null,
      ver: 1,
    })
    .execute();
  await appendAudit(trx, {
    chain: cluster,
    actor,
    action: 'enrolment.create',
    subject: `node:${node}`,
    phase: 'done',
    detail: { enrolment: id, expiresAtMs: nowMs + tokenLifeMs },
    atMs: nowMs,
  });
}

/** The nodes an unused token was made for; it is used from here on. */
async function useToken(
  trx: Transaction<Schema>,
  { cluster, daemon }: DaemonKey,
  nowMs: number,
): Promise<{ id: string; nodes: string[] } | undefined> {
  const pending = await trx
    .selectFrom('enrolments')
    .select(['id', 'nodes'])
    .where('cluster', '=', cluster)
    .where('daemon', '=', daemon)
    .where('used_at_ms', 'is', null)
    .where('expires_at_ms', '>', nowMs)
    .executeTakeFirst();
  if (!pending) return undefined;
  const isOurs = await changed(
    trx
      .updateTable('enrolments')
      .set((eb) => ({ used_at_ms: nowMs, ver: eb('ver', '+', 1) }))
      .where('id', '=', pending.id)
      .where('used_at_ms', 'is', null),
  );
  return isOurs ? { id: pending.id, nodes: JSON.parse(pending.nodes) as string[] } : undefined;
}

/** Undefined when there is no valid token. */
async function redeemToken(
  trx: Transaction<Schema>,
  { cluster, daemon }: DaemonKey,
  { hashes, nowMs }: { hashes: Hashes; nowMs: number },
): Promise<{ simulated: boolean } | undefined> {
  const token = await useToken(trx, { cluster, daemon }, nowMs);
  if (!token) return undefined;
  const { id: enrolment, nodes } = token;
  const simulated = await isSimulated(trx, cluster);
  await ensureNodes(trx, { cluster, nodes, nowMs });
  const credentials = [{ daemon, nodes, ...hashes }];
  await replaceCredentials(trx, { cluster, simulated, credentials, nowMs });
  await appendAudit(trx, {
    chain: cluster,
    actor: `${cluster}/${daemon}`,
    action: 'enrolment.redeem',
    subject: `daemon:${daemon}`,
    phase: 'done',
    detail: { enrolment, nodes },
    atMs: nowMs,
  });
  return { simulated };
}

type Simulated = { cluster: string; actor: string; credentials: NewCredential[]; nowMs: number };

/** False when the cluster holds real nodes. */
async function writeSimulated(trx: Transaction<Schema>, order: Simulated): Promise<boolean> {
  const { cluster, actor, credentials, nowMs } = order;
  const found = await ensureCluster(trx, { id: cluster, simulated: true, nowMs });
  if (found === 'other-kind') return false;
  const nodes = credentials.map(({ daemon }) => daemon);
  await ensureNodes(trx, { cluster, nodes, nowMs });
  await replaceCredentials(trx, { cluster, simulated: true, credentials, nowMs });
  await appendAudit(trx, {
    chain: cluster,
    actor,
    action: 'enrolment.simulated',
    subject: `cluster:${cluster}`,
    phase: 'done',
    detail: { count: nodes.length, first: nodes[0] ?? null },
    atMs: nowMs,
  });
  return true;
}

export function createEnrolments(deps: EnrolmentDeps): Enrolments {
  const { database, directory, random } = deps;

  const newSecret = (): string => Buffer.from(random.bytes(32)).toString('hex');
  const hashesOf = (secret: string): Hashes => ({
    secretHash: sha256(secret),
    mqttHash: mosquittoHash(secret, random.bytes(mosquittoSaltBytes)),
  });

  return {
    async createToken({ cluster, node, actor }) {
      const nowMs = deps.nowMs();
      const secret = newSecret();
      const order = { id: deps.newId(), cluster, node, actor };
      await database.transaction((trx) =>
        writeToken(trx, order, { hashes: hashesOf(secret), nowMs }),
      );
      await directory.reload();
      const token = deps.caFingerprint === null ? secret : `${secret}.${deps.caFingerprint}`;
      return { ok: true, token, expiresAtMs: nowMs + tokenLifeMs };
    },

    async createCredentials({ cluster, nodes, actor }) {
      const nowMs = deps.nowMs();
      const secrets = [...new Set(nodes)].map((node) => ({
        node,
        daemon: node,
        secret: newSecret(),
      }));
      const credentials = secrets.map(({ node, daemon, secret }) => ({
        daemon,
        nodes: [node],
        ...hashesOf(secret),
      }));
      const isDone = await database.transaction((trx) =>
        writeSimulated(trx, { cluster, actor, credentials, nowMs }),
      );
      if (!isDone) return isReal(cluster);
      await directory.reload();
      return { ok: true, credentials: secrets };
    },

    async redeem({ cluster, daemon }) {
      const nowMs = deps.nowMs();
      const secret = newSecret();
      const hashes = hashesOf(secret);
      const done = await database.transaction((trx) =>
        redeemToken(trx, { cluster, daemon }, { hashes, nowMs }),
      );
      if (!done) return isVoid(cluster, daemon);
      await directory.reload();
      return { ok: true, daemon, secret, simulated: done.simulated };
    },
  };
}
