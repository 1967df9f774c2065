/**
 * The stages between the wire and the rows: carrier, ingest, command protocol, decider, pipeline.
 * Made here in the order in which each needs the other; started by main.ts.
 */
import { join } from 'node:path';
import type { Clock } from '../broker/contract/ports.ts';
import { type Commands, createCommands } from './act/commands.ts';
import { type Carrier, openCarrier, tlsFiles } from './carrier.ts';
import type { Settings } from './config.ts';
import type { Signer } from './act/signer.ts';
import { createDecider } from './decider.ts';
import { createEnrolmentAnswer } from './enrolment-answer.ts';
import { createIngest, type Ingest } from './ingest/ingest.ts';
import { createLoadReader } from './load.ts';
import { createObservation, type Observation } from './observe/metrics.ts';
import { readIdentities } from './own-house.ts';
import { createPipeline } from './pipeline.ts';
import type { Decision } from './round.ts';
import { emptyFleet, type Fleet } from './state/fleet.ts';
import { nodeState } from './state/node-state.ts';
import { administration } from './store/sql/clusters.ts';
import { commandStore } from './store/sql/command-rows.ts';
import { sha256 } from './store/sql/credentials.ts';
import { createEnrolments } from './store/sql/enrolments.ts';
import { recordFacts } from './store/sql/facts-history.ts';
import type { BackendParts, Stores, Undo } from './stores.ts';

export type Stages = Awaited<ReturnType<typeof createStages>>;

type StageDeps = { parts: BackendParts; stores: Stores; undo: Undo };

function observe(
  fleet: Fleet,
  { ingest, carrier, clock }: { ingest: Ingest; carrier: Carrier; clock: Clock },
): Observation {
  return createObservation({
    ingest: () => ({ ...ingest.counters() }),
    broker: () => {
      const { gate = {}, session = {}, ...flat } = carrier.stats?.() ?? {};
      return { ...flat, ...gate, ...session };
    },
    nodes: () => {
      const counts: Record<string, number> = {};
      for (const node of fleet.nodes.values()) {
        const state = nodeState(node, clock.monotonicMs());
        counts[state] = (counts[state] ?? 0) + 1;
      }
      return counts;
    },
    guests: () => fleet.guests.size,
  });
}

/** Ed25519 signs the same content alike every time, and nobody without the key can. */
const secretOfEnrolment = (signer: Signer, enrolment: string): string =>
  sha256(signer.sign({ v: 1, type: 'enrolment-secret', enrolment }).signature);

async function openWire(settings: Settings, { parts, stores, undo }: StageDeps) {
  const { clock, random, newId, log } = parts;
  const issue = () => tlsFiles(settings, join(settings.KR_DATA_DIR, 'tls'), clock.wallMs());
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
  return { tls, carrier, enrolments, onEnrol };
}

export async function createStages(settings: Settings, deps: StageDeps) {
  const { parts, stores } = deps;
  const { database, metrics, signer, directory } = stores;
  const { tls, carrier, enrolments, onEnrol } = await openWire(settings, deps);
  const fleet = emptyFleet();
  let commands: Commands | undefined;
  const ingest = await createIngest({
    ...parts,
    link: carrier.link,
    store: metrics,
    directory,
    toCommands: (message) => commands?.onMessage(message),
    toEnrolments: onEnrol,
  });
  commands = createCommands({
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
  });
  const { lease } = commands;
  const decisions = new Set<(decision: Decision) => void>();
  const decider = createDecider({
    ...parts,
    database,
    fleet,
    commands,
    onDecision: (decision) => {
      for (const listener of decisions) listener(decision);
    },
  });
  const observation = observe(fleet, { ingest, carrier, clock: parts.clock });
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
    round: (cluster, nowMs) => decider.round(cluster, nowMs),
    leads: (cluster) => lease.epochOf(cluster) !== undefined,
    onFolded: (latencyMs) => observation.folded(latencyMs),
  });
  return {
    tls,
    carrier,
    fleet,
    enrolments,
    ingest,
    commands,
    pipeline,
    observation,
    onDecision: (listener: (decision: Decision) => void) => void decisions.add(listener),
  };
}
