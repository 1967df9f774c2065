/**
 * An ingest worker: one of several processes that store the telemetry of an external broker, each
 * for the clusters of its shard. It decodes, judges, writes and confirms; it folds nothing, decides
 * nothing, and answers no daemon but with receipts. It keeps nothing either: what it has not stored
 * when it dies has no receipt, so the daemons send it again to whoever comes after it.
 */
import { openDaemonClient } from '../broker/client.ts';
import { ingestUser, telemetryFilter } from '../broker/access.ts';
import { nodeKey } from '../broker/contract/ids.ts';
import type { Cancel } from '../broker/contract/ports.ts';
import { connectServerLink, type ExternalLink } from '../broker/server-link.ts';
import { caOf } from './carrier.ts';
import { ConfigError, type Settings, unshared } from './config.ts';
import { createIngest, type Ingest } from './ingest/ingest.ts';
import { isOfShard, type Shard } from './ingest/shard.ts';
import { lockFolder } from './lock.ts';
import { startPublisher } from './observe/publisher.ts';
import { startWorkerFaces, workerPoints } from './observe/worker.ts';
import { startPlugs } from './power/plugs.ts';
import { createPower, type PoweredFacts } from './power/power.ts';
import type { PowerPlan } from './power/settings.ts';
import { connectInflux, escape } from './store/metrics/influx-client.ts';
import type { MetricsStore } from './store/ports.ts';
import { clusterIds } from './store/sql/clusters.ts';
import { type Database, openDatabase } from './store/sql/database.ts';
import { factsAt } from './store/sql/facts-history.ts';
import {
  type BackendParts,
  createUndo,
  databaseOptions,
  openMetrics,
  powerOf,
  type Undo,
} from './stores.ts';

/** A cluster that is new waits this long; its daemons keep their samples meanwhile. */
const lookEveryMs = 10_000;

export type IngestWorker = {
  shard: Shard;
  httpUrl: string | null;
  clusters(): readonly string[];
  counters: Ingest['counters'];
  /** Within 5 s; loses nothing that was confirmed to anyone. */
  stop(): Promise<void>;
};

export class TablesBehind extends Error {
  override readonly name = 'TablesBehind';
  readonly code = 'KR_TABLES_BEHIND';
  constructor(migration: string) {
    super(`the SQL tables lack ${migration}: start the backend of this version first`);
  }
}

/** @throws ConfigError when anything that workers share is embedded, or no shard is named. */
function shardOf(settings: Settings): Shard {
  const problems = [...unshared(settings)];
  const { KR_INGEST_SHARD: shard } = settings;
  if (shard === undefined) {
    const hint = 'say which of how many this worker is, as --shard 2/4 or KR_INGEST_SHARD=2/4';
    problems.push({ field: 'KR_INGEST_SHARD', hint });
  }
  if (problems.length > 0 || shard === undefined) throw new ConfigError(problems);
  return shard;
}

/** How a node measures its own watts, so that a plug does not overwrite what knows better. */
function factsReader(db: Database['db'], { nodes }: PowerPlan, shard: Shard) {
  const clusters = new Set(nodes.map(({ cluster }) => cluster));
  const known = new Map<string, PoweredFacts>();
  return {
    of: (cluster: string, node: string) => known.get(nodeKey(cluster, node)),
    async read(atMs: number): Promise<void> {
      for (const cluster of clusters) {
        if (!isOfShard(cluster, shard)) continue;
        for (const { entityId, facts } of await factsAt(db, { cluster, entity: 'node', atMs })) {
          known.set(nodeKey(cluster, entityId), facts as PoweredFacts);
        }
      }
    },
  };
}

type Parts = { settings: Settings; parts: BackendParts; undo: Undo; shard: Shard };

/** Listens to each cluster of the shard as soon as the backend knows it. */
async function followClusters(
  { parts: { clock, log }, undo, shard }: Parts,
  read: () => Promise<readonly string[]>,
  onFound: (clusters: readonly string[]) => void,
): Promise<readonly string[]> {
  const found: string[] = [];
  const look = async (): Promise<void> => {
    const known = new Set(found);
    const added = (await read()).filter((id) => isOfShard(id, shard) && !known.has(id));
    found.push(...added);
    if (added.length > 0) onFound(added);
  };
  let cancel: Cancel = () => undefined;
  const again = (): void => {
    cancel = clock.after(lookEveryMs, async () => {
      await look().catch((error: unknown) =>
        log.warn({ err: error }, 'clusters not read, tried again in 10 s'),
      );
      again();
    });
  };
  await look();
  again();
  undo.add('clusters', () => cancel());
  return found;
}

function connect({ settings, parts, shard }: Parts): Promise<ExternalLink> {
  const username = ingestUser(settings.KR_MQTT_USERNAME, shard.index);
  return connectServerLink({
    ...parts,
    ...caOf(settings),
    url: settings.KR_MQTT_URL ?? '',
    clientId: username,
    username,
    password: settings.KR_MQTT_PASSWORD ?? '',
    subscriptions: [],
  });
}

async function openIngest(
  own: Parts,
  link: ExternalLink,
  { database, metrics }: { database: Database; metrics: MetricsStore },
): Promise<{ ingest: Ingest; readFacts: () => Promise<void> }> {
  const { settings, parts, undo, shard } = own;
  const plan = powerOf(settings);
  const facts = factsReader(database.db, plan, shard);
  const mine = { ...plan, nodes: plan.nodes.filter(({ cluster }) => isOfShard(cluster, shard)) };
  const plugs = startPlugs(mine, { ...parts, openClient: openDaemonClient });
  undo.add('plugs', () => plugs.close());
  const power = createPower({ plan: mine, plugs, factsOf: facts.of });
  const ingest = await createIngest({
    ...parts,
    role: 'store',
    link,
    store: metrics,
    // An external broker judges who speaks, by its own rules.
    directory: { ownership: () => undefined, ownerOf: () => undefined },
    toCommands: () => undefined,
    toEnrolments: () => undefined,
    enrich: (message) => power.enrich(message),
  });
  return { ingest, readFacts: () => facts.read(parts.clock.wallMs()) };
}

/** Beside those of the backend and the other workers, under its own label. */
function publishFigures(
  { settings, parts, undo, shard }: Parts,
  read: Parameters<typeof workerPoints>[1],
) {
  const { KR_INFLUX_URL: url = '', KR_INFLUX_TOKEN: token = '' } = settings;
  const { KR_INFLUX_ORG: org, KR_INFLUX_BUCKET: bucket } = settings;
  const client = connectInflux({ url, token, org, bucket });
  const publisher = startPublisher({
    ...parts,
    points: async () => workerPoints(shard, read),
    send: (lines) => client.send(bucket, lines),
    escape: (tag) => escape.tag(tag),
  });
  undo.add('own figures', () => publisher.stop());
}

async function compose(own: Parts): Promise<IngestWorker> {
  const { settings, parts, undo, shard } = own;
  // Only a spool on disk must not be shared.
  if (settings.KR_METRICS_SPOOL_MB > 0) undo.add('lock', lockFolder(settings.KR_DATA_DIR));
  const database = await openDatabase({
    ...databaseOptions(settings, parts),
    // That is the backend's, which makes a backup first.
    beforeMigration: (migration) => Promise.reject(new TablesBehind(migration)),
  });
  undo.add('database', () => database.close());
  const metrics = await openMetrics(settings, parts, false);
  undo.add('metrics', () => metrics.close());
  const link = await connect(own);
  undo.add('broker', () => link.close());
  const { ingest, readFacts } = await openIngest(own, link, { database, metrics });
  const read = async (): Promise<string[]> => {
    await readFacts();
    return clusterIds(database.db);
  };
  ingest.start();
  undo.add('ingest', () => ingest.stop());
  const clusters = await followClusters(own, read, (added) => {
    link.listenTo(added.map(telemetryFilter));
    parts.log.info({ clusters: added.length }, 'stores the telemetry of these clusters');
  });
  const figures = {
    ingest: () => ({ ...ingest.counters(), clusters: clusters.length }),
    store: () => metrics.figures(),
  };
  publishFigures(own, figures);
  const faces = await startWorkerFaces(settings, {
    isReady: async () => link.isConnected() && (await metrics.health()).ok,
    points: () => workerPoints(shard, figures),
  });
  undo.add('http', () => faces.close());
  parts.log.info({ ...shard, httpUrl: faces.url }, 'ingest worker is ready');
  return {
    shard,
    httpUrl: faces.url,
    clusters: () => clusters,
    counters: () => ingest.counters(),
    stop: () => undo.run(),
  };
}

/** @throws ConfigError and the like, each naming the way out; what was opened is closed again. */
export async function startIngestWorker(
  settings: Settings,
  parts: BackendParts,
): Promise<IngestWorker> {
  const shard = shardOf(settings);
  const undo = createUndo(parts.log);
  try {
    return await compose({ settings, parts, undo, shard });
  } catch (error) {
    await undo.run();
    throw error;
  }
}
