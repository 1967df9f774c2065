/**
 * How a daemon gets its credential: a person asks for a token, which opens a session that may only
 * redeem it, within 15 minutes. As an answer may be lost, asking again yields the same credential,
 * until it has connected once (daemons.ts). Simulated daemons get theirs at once and by the
 * thousand. Secrets leave here in the answer and are never stored.
 */
import type { Transaction } from 'kysely';
import { mosquittoHash, mosquittoSaltBytes } from '../../../broker/acl.ts';
import type { NewId, Random } from '../../../broker/contract/ports.ts';
import { appendAudit } from '../../audit/chain.ts';
import type { Refused } from '../../refusal.ts';
import { ensureCluster, ensureNodes } from './clusters.ts';
import { type NewCredential, replaceCredentials, sha256 } from './credentials.ts';
import type { DaemonDirectory } from './daemons.ts';
import { changed, ConflictError, type Database } from './database.ts';
import { type Revocation, revokeDaemon } from './revocation.ts';
import type { Schema } from './schema.ts';

const tokenLifeMs = 15 * 60_000;

type DaemonKey = { cluster: string; daemon: string };
type Hashes = Pick<NewCredential, 'secretHash' | 'mqttHash'>;
export type Credential = { node: string; daemon: string; secret: string };
export type Redeemed = {
  ok: true;
  daemon: string;
  secret: string;
  simulated: boolean;
  /** All that the daemon may speak for. */
  nodes: string[];
};

export type Enrolments = {
  createToken(order: {
    cluster: string;
    node: string;
    /** More nodes for which the same daemon speaks, as by the API of their cluster. */
    others?: readonly string[];
    actor: string;
  }): Promise<{ ok: true; token: string; expiresAtMs: number } | Refused>;
  createCredentials(order: {
    cluster: string;
    nodes: readonly string[];
    actor: string;
  }): Promise<{ ok: true; credentials: Credential[] } | Refused>;
  /** Answers the `enrol` of a session that the directory let in by a token. */
  redeem(first: DaemonKey): Promise<Redeemed | Refused>;
  /** Takes the credential away and ends its connection. */
  revoke(order: Revocation): Promise<{ ok: true } | Refused>;
};

export type EnrolmentDeps = {
  database: Database;
  directory: DaemonDirectory;
  /** SHA-256 of our CA, which daemons pin; null where TLS is off. */
  caFingerprint: string | null;
  /** The secret that this enrolment yields: 64 hex digits, always the same, known to us alone. */
  secretOf: (enrolment: string) => string;
  /** Ends the connection of a client, where the broker is ours. */
  kick: (clientId: string) => void;
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
    detail: `no open enrolment for ${cluster}/${daemon} is younger than 15 minutes`,
    wayOut: 'Ask for a new token with POST /api/v1/enrolments.',
  },
});

const isUnknown = ({ cluster, daemon }: DaemonKey): Refused => ({
  ok: false,
  refusal: {
    status: 404,
    code: 'KR_DAEMON_UNKNOWN',
    field: 'daemon',
    detail: `no daemon ${cluster}/${daemon} has a credential`,
    wayOut: `GET /api/v1/clusters/${cluster}/daemons lists them.`,
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
  order: { id: string; cluster: string; node: string; nodes: readonly string[]; actor: string },
  { hashes, nowMs }: { hashes: Hashes; nowMs: number },
): Promise<void> {
  const { id, cluster, node, actor } = order;
  const simulated = await isSimulated(trx, cluster);
  await ensureCluster(trx, { id: cluster, simulated, nowMs });
  await trx
    .deleteFrom('enrolments')
    .where((eb) => eb.or([eb('expires_at_ms', '<=', nowMs), eb.and({ cluster, daemon: node })]))
    .execute();
  await trx
    .insertInto('enrolments')
    .values({
      id,
      cluster,
      nodes: JSON.stringify(order.nodes),
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
    detail: { enrolment: id, nodes: order.nodes, expiresAtMs: nowMs + tokenLifeMs },
    atMs: nowMs,
  });
}

/** Whether this enrolment gave the daemon the very credential that it has now. */
async function hasCredential(
  trx: Transaction<Schema>,
  { cluster, daemon }: DaemonKey,
  secretHash: string,
): Promise<boolean> {
  const row = await trx
    .selectFrom('daemons')
    .select('id')
    .where('cluster', '=', cluster)
    .where('id', '=', daemon)
    .where('secret_hash', '=', secretHash)
    .where('revoked_at_ms', 'is', null)
    .executeTakeFirst();
  return row !== undefined;
}

type Redeeming = { hashesOf: (enrolment: string) => Hashes; nowMs: number };

/** Undefined when there is no valid token. Only the first call writes anything. */
async function redeemToken(
  trx: Transaction<Schema>,
  { cluster, daemon }: DaemonKey,
  { hashesOf, nowMs }: Redeeming,
): Promise<{ enrolment: string; simulated: boolean; nodes: string[] } | undefined> {
  const token = await trx
    .selectFrom('enrolments')
    .select(['id', 'nodes', 'used_at_ms', 'ver'])
    .where('cluster', '=', cluster)
    .where('daemon', '=', daemon)
    .where('expires_at_ms', '>', nowMs)
    .executeTakeFirst();
  if (!token) return undefined;
  const { id: enrolment, ver } = token;
  const hashes = hashesOf(enrolment);
  const simulated = await isSimulated(trx, cluster);
  const nodes = JSON.parse(token.nodes) as string[];
  if (token.used_at_ms !== null) {
    const isOurs = await hasCredential(trx, { cluster, daemon }, hashes.secretHash);
    return isOurs ? { enrolment, simulated, nodes } : undefined;
  }
  const isFirst = await changed(
    trx
      .updateTable('enrolments')
      .set({ used_at_ms: nowMs, ver: ver + 1 })
      .where('id', '=', enrolment)
      .where('ver', '=', ver),
  );
  if (!isFirst) throw new ConflictError(`enrolment ${enrolment} is being redeemed`);
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
  return { enrolment, simulated, nodes };
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
    async createToken({ cluster, node, others = [], actor }) {
      const nowMs = deps.nowMs();
      const secret = newSecret();
      const nodes = [...new Set([node, ...others])];
      const order = { id: deps.newId(), cluster, node, nodes, actor };
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
      const redeeming = {
        hashesOf: (enrolment: string) => hashesOf(deps.secretOf(enrolment)),
        nowMs: deps.nowMs(),
      };
      const done = await database.transaction((trx) =>
        redeemToken(trx, { cluster, daemon }, redeeming),
      );
      if (!done) return isVoid(cluster, daemon);
      await directory.reload();
      const { enrolment, simulated, nodes } = done;
      return { ok: true, daemon, secret: deps.secretOf(enrolment), simulated, nodes };
    },

    async revoke(order) {
      if (!(await revokeDaemon(database, order, deps.nowMs()))) return isUnknown(order);
      await directory.reload();
      deps.kick(`${order.cluster}/${order.daemon}`);
      return { ok: true };
    },
  };
}
