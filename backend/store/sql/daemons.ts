/**
 * The directory of credentials: all of them in memory, because the broker asks on every publish
 * and must go on letting daemons in while the SQL store is down. Whoever changes a row reloads it.
 */
import { timingSafeEqual } from 'node:crypto';
import type { Kysely } from 'kysely';
import type { MosquittoUser } from '../../../broker/acl.ts';
import { type NodeKey, nodeKey } from '../../../broker/contract/ids.ts';
import type { DirectoryFile } from '../../../broker/file-directory.ts';
import type { Directory, Ownership } from '../../../broker/port.ts';
import { sha256 } from './credentials.ts';
import type { Schema } from './schema.ts';

type DaemonKey = { cluster: string; daemon: string };
/** What opens a session, and until when; null = no end. */
type Key = { hash: string; untilMs: number | null };
type Entry = {
  ownership: Ownership;
  keys: readonly Key[];
  mqttHash: string | null;
  /** The enrolment that yielded the daemon's present credential, still open to be asked again. */
  redeemed?: string;
};
/** By client id, which is also the user name. */
type Entries = Map<string, Entry>;

export type DaemonDirectory = Directory & {
  /** Reads the rows again, after a change of them was committed. */
  reload(): Promise<void>;
  /** The daemon that speaks for this node. */
  ownerOf(cluster: string, node: string): Ownership | undefined;
  /** Of every daemon that has its final credential. */
  ownerships(): Ownership[];
  /** Daemons and pending enrolments, as an external Mosquitto can check them. */
  mosquittoUsers(): MosquittoUser[];
  /** The same for our own broker in a process of its own. */
  fileEntries(): DirectoryFile['daemons'];
  /** Called after every reload. */
  onReload(listener: () => void): void;
};

const clientIdOf = ({ cluster, daemon }: DaemonKey): string => `${cluster}/${daemon}`;

async function loadDaemons(db: Kysely<Schema>): Promise<Entries> {
  const owned = await db
    .selectFrom('daemon_nodes')
    .select(['cluster', 'daemon', 'node'])
    .where('role', '=', 'owner')
    .execute();
  const nodes = new Map<string, Set<string>>();
  for (const row of owned) {
    const id = clientIdOf(row);
    nodes.set(id, (nodes.get(id) ?? new Set()).add(row.node));
  }
  const daemons = await db
    .selectFrom('daemons')
    .selectAll()
    .where('revoked_at_ms', 'is', null)
    .execute();
  return new Map(
    daemons.map((row) => {
      const key = { cluster: row.cluster, daemon: row.id };
      const id = clientIdOf(key);
      const owns = { simulated: row.simulated === 1, nodes: nodes.get(id) ?? new Set<string>() };
      const keys: Key[] = [{ hash: row.secret_hash, untilMs: null }];
      if (row.secret_hash_old !== null) {
        keys.push({ hash: row.secret_hash_old, untilMs: row.secret_hash_old_until_ms ?? 0 });
      }
      const ownership = { ...key, ...owns, enrolling: false };
      return [id, { ownership, keys, mqttHash: row.mqtt_hash }];
    }),
  );
}

/** With the tokens in `spent` closed for good. */
async function loadEnrolments(
  db: Kysely<Schema>,
  { spent, nowMs }: { spent: readonly string[]; nowMs: number },
): Promise<Entries> {
  if (spent.length > 0) {
    await db
      .updateTable('enrolments')
      .set((eb) => ({ expires_at_ms: nowMs, ver: eb('ver', '+', 1) }))
      .where('id', 'in', spent)
      .execute();
  }
  const pending = await db
    .selectFrom('enrolments')
    .innerJoin('clusters', 'clusters.id', 'enrolments.cluster')
    .select(['cluster', 'daemon', 'nodes', 'token_hash', 'mqtt_hash'])
    .select(['enrolments.id', 'used_at_ms', 'expires_at_ms', 'simulated'])
    .where('expires_at_ms', '>', nowMs)
    .execute();
  return new Map(
    pending.map((row) => {
      const ownership = {
        cluster: row.cluster,
        daemon: row.daemon,
        simulated: row.simulated === 1,
        nodes: new Set(JSON.parse(row.nodes) as string[]),
        enrolling: true,
      };
      const keys = [{ hash: row.token_hash, untilMs: row.expires_at_ms }];
      const redeemed = row.used_at_ms === null ? {} : { redeemed: row.id };
      return [clientIdOf(row), { ownership, keys, mqttHash: row.mqtt_hash, ...redeemed }];
    }),
  );
}

function opens(entry: Entry | undefined, hash: Buffer, nowMs: number): Ownership | undefined {
  const isOpen = entry?.keys.some(
    (key) =>
      timingSafeEqual(hash, Buffer.from(key.hash, 'hex')) &&
      (key.untilMs === null || nowMs < key.untilMs),
  );
  return isOpen ? entry?.ownership : undefined;
}

const ownersOf = (daemons: Entries): Map<NodeKey, Ownership> =>
  new Map(
    [...daemons.values()].flatMap(({ ownership }) =>
      [...ownership.nodes].map((node) => [nodeKey(ownership.cluster, node), ownership] as const),
    ),
  );

export async function createDirectory(
  db: Kysely<Schema>,
  nowMs: () => number,
): Promise<DaemonDirectory> {
  let daemons: Entries = new Map();
  let enrolments: Entries = new Map();
  let owners = new Map<NodeKey, Ownership>();
  let reloading: Promise<void> = Promise.resolve();
  const listeners: (() => void)[] = [];

  /** Enrolments whose credential has connected and that the store does not know as closed yet. */
  const spent = new Set<string>();
  const isSpent = ({ redeemed }: Entry): boolean => redeemed !== undefined && spent.has(redeemed);

  const refresh = async (): Promise<void> => {
    const closing = [...spent];
    // The daemons last: an enrolment seen as redeemed must not meet the credential before it.
    const newEnrolments = await loadEnrolments(db, { spent: closing, nowMs: nowMs() });
    const newDaemons = await loadDaemons(db);
    daemons = newDaemons;
    owners = ownersOf(newDaemons);
    enrolments = new Map([...newEnrolments].filter(([, entry]) => !isSpent(entry)));
    for (const id of closing) spent.delete(id);
    for (const listener of listeners) listener();
  };
  /** From the first connect with the new credential on, the token is worth nothing. */
  const spend = (clientId: string): void => {
    const { redeemed } = enrolments.get(clientId) ?? {};
    if (redeemed === undefined) return;
    enrolments.delete(clientId);
    spent.add(redeemed);
    // With the store away it stays in `spent`, and the next reload writes it.
    directory.reload().catch(() => undefined);
  };
  /** A daemon that has its credential is not let in by a token any more. */
  const all = (): Entry[] => [...new Map([...enrolments, ...daemons]).values()];

  const directory: DaemonDirectory = {
    async authenticate(username, secret) {
      const hash = Buffer.from(sha256(secret), 'hex');
      const now = nowMs();
      const owner = opens(daemons.get(username), hash, now);
      if (!owner) return opens(enrolments.get(username), hash, now);
      spend(username);
      return owner;
    },
    ownership: (clientId) => (daemons.get(clientId) ?? enrolments.get(clientId))?.ownership,
    reload() {
      // One after the other, so that an older answer never replaces a newer one.
      reloading = reloading.then(refresh, refresh);
      return reloading;
    },
    ownerOf: (cluster, node) => owners.get(nodeKey(cluster, node)),
    ownerships: () => [...daemons.values()].map(({ ownership }) => ownership),
    mosquittoUsers: () =>
      all().flatMap(({ ownership, mqttHash }) =>
        mqttHash === null ? [] : [{ ownership, mqttHash }],
      ),
    fileEntries: () =>
      all().map(({ ownership, keys }) => ({
        ...ownership,
        nodes: [...ownership.nodes],
        secretHashes: keys.map(({ hash }) => hash),
      })),
    onReload: (listener) => void listeners.push(listener),
  };
  await directory.reload();
  return directory;
}
