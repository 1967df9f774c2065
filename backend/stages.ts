/**
 * The stages between the wire and the rows: carrier, ingest, command protocol, decider, pipeline.
 * Made here in the order in which each needs the other; started by main.ts.
 */
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { openDaemonClient } from '../broker/client.ts';
import { nodeKey } from '../broker/contract/ids.ts';
import { type Commands, createCommands } from './act/commands.ts';
import { verifyChain } from './audit/chain.ts';
import { type Carrier, openCarrier, tlsFiles } from './carrier.ts';
import type { Settings } from './config.ts';
import type { Signer } from './act/signer.ts';
import { createDecider, type Decider } from './decider.ts';
import { createEnrolmentAnswer } from './enrolment-answer.ts';
import { createIngest, type Ingest } from './ingest/ingest.ts';
import { createLoadReader, createMemoryReader } from './load.ts';
import { watchAudit } from './observe/audit-watch.ts';
import { createEventRecorder, type EventRecorder, recorded } from './observe/events.ts';
import { createObservation, type Observation } from './observe/metrics.ts';
import { startPublisher } from './observe/publisher.ts';
import { readIdentities } from './own-house.ts';
import { createPipeline } from './pipeline.ts';
import { type Plugs, startPlugs } from './power/plugs.ts';
import { createPower } from './power/power.ts';
import type { Decision } from './round.ts';
import { emptyFleet, type Fleet } from './state/fleet.ts';
import { connectInflux, escape } from './store/metrics/influx-client.ts';
import { administration } from './store/sql/clusters.ts';
import { commandStore } from './store/sql/command-rows.ts';
import { sha256 } from './store/sql/credentials.ts';
import { createEnrolments } from './store/sql/enrolments.ts';
import { recordFacts } from './store/sql/facts-history.ts';
import { auditChains, openCommands } from './store/sql/figures.ts';
import type { BackendParts, Stores, Undo } from './stores.ts';

export type Stages = Awaited<ReturnType<typeof createStages>>;

type StageDeps = { parts: BackendParts; stores: Stores; undo: Undo };

type Observed = {
  events: EventRecorder;
  fleet: Fleet;
  ingest: Ingest;
  carrier: Carrier;
  plugs: Plugs;
  tlsEndsAtMs: () => number | null;
  /** The decider reports to the figures, and so is made after them. */
  decider: () => Decider | undefined;
};

/** The figures of all parts; those of a store elsewhere are written there, too. */
function observe(
  settings: Settings,
  { parts, stores, undo }: StageDeps,
  { events, fleet, ingest, carrier, plugs, tlsEndsAtMs, decider }: Observed,
): Observation {
  const { clock, log } = parts;
  const { db } = stores.database;
  const audit = watchAudit({
    chains: () => auditChains(db),
    verify: (chain) => verifyChain(db, chain),
    clock,
    log,
  });
  undo.add('audit watch', () => audit.stop());
  const observation = createObservation({
    ingest: () => ({ ...ingest.counters() }),
    plugs: () => plugs.figures(),
    broker: () => {
      const { gate = {}, session = {}, ...flat } = carrier.stats?.() ?? {};
      return { ...flat, ...gate, ...session };
    },
    store: () => ({ ...stores.metrics.figures(), ...events.figures() }),
    fleet,
    nowMs: () => clock.monotonicMs(),
    commands: () => openCommands(db),
    audit: () => audit.found(),
    certificateEndsAtMs: tlsEndsAtMs,
    foretold: () => decider()?.foretold() ?? [],
    effects: () => decider()?.effects() ?? [],
    detail: settings.KR_METRICS_DETAIL,
  });
  const { KR_INFLUX_URL: url, KR_INFLUX_TOKEN: token = '' } = settings;
  if (url !== undefined) {
    const { KR_INFLUX_ORG: org, KR_INFLUX_BUCKET: bucket } = settings;
    const client = connectInflux({ url, token, org, bucket });
    const publisher = startPublisher({
      points: () => observation.points(),
      send: (lines) => client.send(bucket, lines),
      escape: (tag) => escape.tag(tag),
      clock,
      log,
    });
    undo.add('own figures', () => publisher.stop());
  }
  return observation;
}

/** Ed25519 signs the same content alike every time, and nobody without the key can. */
const secretOfEnrolment = (signer: Signer, enrolment: string): string =>
  sha256(signer.sign({ v: 1, type: 'enrolment-secret', enrolment }).signature);

async function openWire(settings: Settings, { parts, stores, undo }: StageDeps) {
  const { clock, random, newId, log } = parts;
  let tlsEndsAtMs: number | null = null;
  const issue = async () => {
    const files = await tlsFiles(settings, join(settings.KR_DATA_DIR, 'tls'), clock.wallMs());
    if (files) tlsEndsAtMs = new X509Certificate(files.cert).validToDate.getTime();
    return files;
  };
  const tls = await issue();
  const carrier = await openCarrier(
    settings,
    { tls, renew: issue },
    { ...parts, directory: stores.directory },
  );
  undo.add('broker', () => carrier.close());
  const enrolments = createEnrolments({
    ...stores,
    caFingerprint: tls?.caFingerprint ?? null,
    kick: (clientId) => carrier.kick(clientId),
    secretOf: (enrolment) => secretOfEnrolment(stores.signer, enrolment),
    random,
    newId,
    nowMs: () => clock.wallMs(),
  });
  const answer = createEnrolmentAnswer({
    ...parts,
    link: carrier.link,
    enrolments,
    identity: stores.signer,
  });
  const onEnrol = (message: Parameters<typeof answer>[0]): void => {
    answer(message).catch((error: unknown) =>
      log.warn({ err: error, cluster: message.cluster }, 'enrolment not answered'),
    );
  };
  return { tls, tlsEndsAtMs: () => tlsEndsAtMs, carrier, enrolments, onEnrol };
}

/** Listens to the plugs that kernreaktor.yaml maps, if it maps any. */
function openPower({ parts, stores, undo }: StageDeps, fleet: Fleet) {
  const plugs = startPlugs(stores.power, { ...parts, openClient: openDaemonClient });
  undo.add('plugs', () => plugs.close());
  const factsOf = (cluster: string, node: string) => fleet.nodes.get(nodeKey(cluster, node))?.facts;
  return { plugs, power: createPower({ plan: stores.power, plugs, factsOf }) };
}

type Deciding = {
  fleet: Fleet;
  commands: Commands;
  observation: ReturnType<typeof observe>;
  events: ReturnType<typeof createEventRecorder>;
};

/** Each decision is counted and recorded, and told to whoever listens. */
function openDecider({ parts, stores }: StageDeps, deciding: Deciding) {
  const { fleet, commands, observation, events } = deciding;
  const listeners = new Set<(decision: Decision) => void>();
  const decider = createDecider({
    ...parts,
    database: stores.database,
    fleet,
    commands,
    onOscillation: (cluster) => {
      observation.oscillation(cluster);
      parts.log.error({ cluster }, 'the engine moved guests to and fro and has stopped itself');
    },
    onRefusal: (cluster, rule) => observation.refusal(cluster, rule),
    onDecision: (decision) => {
      observation.decision(decision.cluster, decision.outcome);
      events.decision(decision);
      for (const listener of listeners) listener(decision);
    },
  });
  const onDecision = (listener: (decision: Decision) => void): void => void listeners.add(listener);
  return { decider, onDecision };
}

export async function createStages(settings: Settings, deps: StageDeps) {
  const { parts, stores } = deps;
  const { database, metrics, signer, directory } = stores;
  const { tls, tlsEndsAtMs, carrier, enrolments, onEnrol } = await openWire(settings, deps);
  const fleet = emptyFleet();
  const { power, plugs } = openPower(deps, fleet);
  let commands: Commands | undefined;
  const ingest = await createIngest({
    ...parts,
    role: settings.KR_INGEST_WORKERS === undefined ? 'whole' : 'fold',
    link: carrier.link,
    store: metrics,
    directory,
    toCommands: (message) => commands?.onMessage(message),
    toEnrolments: onEnrol,
    enrich: (message) => power.enrich(message),
  });
  const events = createEventRecorder({ ...parts, store: metrics });
  deps.undo.add('events', () => events.stop());
  const plain = createCommands({
    ...parts,
    store: commandStore(database),
    link: carrier.link,
    signer,
    owner: stores.installationId,
    fleet: () => fleet,
    watermark: (cluster, node) => ingest.watermark(cluster, node),
    intervalMs: () => settings.KR_SAMPLE_INTERVAL_MS,
    identities: await readIdentities(settings),
    loadOf: createLoadReader(metrics, parts.clock),
    memoryP99Of: createMemoryReader(metrics, parts.clock),
  });
  plain.onEvent((event) => events.command(event));
  commands = recorded(plain, events);
  let made: Decider | undefined;
  const observed = { events, fleet, ingest, carrier, plugs, tlsEndsAtMs, decider: () => made };
  const observation = observe(settings, deps, observed);
  const { lease } = commands;
  const { decider, onDecision } = openDecider(deps, { fleet, commands, observation, events });
  made = decider;
  const pipeline = createPipeline({
    ...parts,
    fleet,
    ingest,
    administration: async () => ({
      kind: 'administration',
      ...(await administration(database.db)),
    }),
    saveFacts: async (changes, atMs) => {
      await database.transaction((trx) => recordFacts(trx, changes, atMs));
    },
    remember: (clusters) => decider.remember(clusters),
    round: async (cluster, nowMs) => {
      const beganAtMs = parts.clock.monotonicMs();
      await decider.round(cluster, nowMs);
      observation.decided(parts.clock.monotonicMs() - beganAtMs);
    },
    leads: (cluster) => lease.epochOf(cluster) !== undefined,
    onFolded: (latencyMs) => observation.folded(latencyMs),
  });
  return {
    tls,
    tlsEndsAtMs,
    carrier,
    fleet,
    enrolments,
    ingest,
    commands,
    pipeline,
    observation,
    emptying: (at: { cluster: string; node: string }) => decider.emptying(at),
    onDecision,
  };
}
