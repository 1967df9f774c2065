/**
 * Puts the backend together, in the order in which each part needs the other, and takes it apart
 * in reverse. Nothing here decides; who reads this knows what talks to what.
 */
import { join } from 'node:path';
import { defaultHttpPort, type Settings } from './config.ts';
import { type Backtests, createBacktests } from './backtest/backtests.ts';
import { startPlayer } from './backtest/runner.ts';
import type { HttpDeps } from './http/deps.ts';
import { removeRuntime, writeRuntime } from './http/runtime-file.ts';
import { createHttpServer, type HttpServer } from './http/server.ts';
import { createPackages } from './packages.ts';
import { createStages, type Stages } from './stages.ts';
import { clusterFacts } from './store/sql/facts-history.ts';
import { ensureCluster, ensureNodes, setProtected } from './store/sql/clusters.ts';
import type { DaemonDirectory } from './store/sql/daemons.ts';
import type { Enrolments } from './store/sql/enrolments.ts';
import { type BackendParts, createUndo, openStores, type Stores, type Undo } from './stores.ts';
import { openUpkeep, type Upkeep } from './upkeep.ts';

export type Backend = {
  urls: {
    httpUrl: string;
    tlsUrl: string | null;
    mqttUrl: string;
    mqttTlsUrl: string | null;
    socketPath: string;
  };
  /** null once an account exists. */
  setupToken: string | null;
  enrolments: Enrolments;
  directory: DaemonDirectory;
  /** A real node that is never switched off; its rows are made when missing. */
  protect(order: { cluster: string; node: string; reason: string }): Promise<void>;
  figures(): { nodes: number; guests: number; received: number };
  /** Within 5 s; loses nothing that was confirmed to anyone. */
  stop(): Promise<void>;
};

/** A page with live sparklines asks a few times a second; a script gone wild asks more. */
const requestsPerMinute = { perAddress: 6_000, perAccount: 6_000 };

const httpConfig = (settings: Settings, tls: Stages['tls']): HttpDeps['config'] => ({
  host: settings.KR_HTTP_HOST,
  port: settings.KR_HTTP_PORT ?? defaultHttpPort,
  isDefaultPort: settings.KR_HTTP_PORT === undefined,
  tls:
    tls === null || settings.KR_TLS_HOST === undefined
      ? null
      : {
          host: settings.KR_TLS_HOST,
          port: settings.KR_TLS_HTTP_PORT,
          certificate: tls.cert,
          privateKey: tls.key,
        },
  socketPath: join(settings.KR_DATA_DIR, 'http.sock'),
  trustedProxies: settings.KR_TRUSTED_PROXIES,
  allow: settings.KR_ALLOW,
  deny: settings.KR_DENY,
  publicUrl: settings.KR_PUBLIC_URL ?? null,
  requestsPerMinute,
});

type Composition = {
  settings: Settings;
  parts: BackendParts;
  stores: Stores;
  stages: Stages;
  undo: Undo;
};

function backtestsOf({ parts, stores, stages, undo }: Composition): Backtests {
  const { database, metrics } = stores;
  const backtests = createBacktests({
    ...parts,
    metrics,
    fleet: () => stages.fleet,
    facts: async (cluster, span) =>
      (await clusterFacts(database.db, cluster, span)).map(
        ({ entity, entityId: id, validFromMs: atMs, facts }) => ({
          atMs,
          entity,
          id,
          facts: { ...facts },
        }),
      ),
    player: startPlayer,
    pricePerKwh: stores.power.pricePerKilowattHour,
  });
  undo.add('backtests', () => backtests.stop());
  return backtests;
}

const createHttp = (
  composition: Composition,
  { backups, notifier, secrets }: Upkeep,
  onSetupDone: () => Promise<void>,
): Promise<HttpServer> => {
  const { settings, parts, stores, stages } = composition;
  return createHttpServer({
    ...parts,
    ...stages,
    joining: parts.joining ?? null,
    mqttTlsUrl: stages.carrier.mqttTlsUrl,
    backups,
    packages: createPackages(join(settings.KR_DATA_DIR, 'packages')),
    notifier,
    secrets,
    config: httpConfig(settings, stages.tls),
    backtests: backtestsOf(composition),
    database: stores.database,
    metrics: stores.metrics,
    identity: stores.signer,
    fleet: () => stages.fleet,
    readiness: async () => [
      { name: 'metrics', ok: (await stores.metrics.health()).ok },
      { name: 'broker', ok: stages.carrier.link.isConnected() },
      ...(settings.KR_INGEST_WORKERS === undefined
        ? []
        : [{ name: 'ingest workers', ok: stages.ingest.unstored().length === 0 }]),
    ],
    onDecision: (listener) =>
      stages.onDecision(({ at_ms: atMs, ...decision }) => listener({ ...decision, atMs })),
    onSetupDone,
  });
};

/** Starts every part and tells the machine where to find it. */
async function listen(composition: Composition) {
  const { settings, stages, undo } = composition;
  const { ingest, commands, pipeline, carrier } = stages;
  let announce = (): Promise<void> => Promise.resolve();
  const upkeep = await openUpkeep(composition);
  const http = await createHttp(composition, upkeep, () => announce());
  ingest.start();
  undo.add('ingest', () => ingest.stop());
  await commands.start();
  const { KR_OWN_HOUSE: house } = settings;
  if (house !== undefined) await commands.answerHouse(house, 'KR_OWN_HOUSE');
  undo.add('commands', () => commands.stop());
  pipeline.start();
  undo.add('pipeline', () => pipeline.stop());
  const listening = await http.listen();
  undo.add('http', () => http.close());
  upkeep.start();
  undo.add('upkeep', () => upkeep.stop());
  announce = () => {
    const setupToken = http.setupToken();
    return writeRuntime(settings.KR_DATA_DIR, {
      pid: process.pid,
      httpUrl: listening.httpUrl,
      mqttUrl: carrier.mqttUrl,
      socketPath: listening.socketPath,
      ...(setupToken !== null && { setupToken }),
    });
  };
  await announce();
  undo.add('runtime.json', () => removeRuntime(settings.KR_DATA_DIR));
  const { mqttUrl, mqttTlsUrl } = carrier;
  return { urls: { ...listening, mqttUrl, mqttTlsUrl }, setupToken: http.setupToken() };
}

async function compose(settings: Settings, parts: BackendParts, undo: Undo): Promise<Backend> {
  const stores = await openStores(settings, parts, undo);
  const stages = await createStages(settings, { parts, stores, undo });
  const { urls, setupToken } = await listen({ settings, parts, stores, stages, undo });
  const { fleet, ingest, enrolments } = stages;
  parts.log.info(urls, 'backend is ready');
  return {
    urls,
    setupToken,
    enrolments,
    directory: stores.directory,
    protect: ({ cluster, node, reason }) =>
      stores.database.transaction(async (trx) => {
        const nowMs = parts.clock.wallMs();
        await ensureCluster(trx, { id: cluster, simulated: false, nowMs });
        await ensureNodes(trx, { cluster, nodes: [node], nowMs });
        await setProtected(trx, { cluster, node, reason });
      }),
    figures: () => ({
      nodes: fleet.nodes.size,
      guests: fleet.guests.size,
      received: ingest.counters().received,
    }),
    stop: () => undo.run(),
  };
}

/**
 * @throws ConfigError, DataFolderLocked, StoreUnavailable and the like, each naming the way out;
 * what was opened until then is closed again.
 */
export async function startBackend(settings: Settings, parts: BackendParts): Promise<Backend> {
  const undo = createUndo(parts.log);
  try {
    return await compose(settings, parts, undo);
  } catch (error) {
    await undo.run();
    throw error;
  }
}
