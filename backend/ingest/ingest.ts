/**
 * Where messages enter the backend. `accept` takes the bytes and returns at once: it decodes,
 * judges, and puts what is good into bounded buffers, one for the state (newest sample per node)
 * and one for the store (every sample). It never waits and never throws on foreign input. Every
 * sample received is accounted for; see counters.ts. A receipt goes out only for what is durable.
 */
import { decode, type Decoded } from '../../broker/contract/codec.ts';
import type { Message } from '../../broker/contract/messages.ts';
import type { Cancel, Clock, Log, NewId } from '../../broker/contract/ports.ts';
import type { Numbers } from '../../broker/contract/telemetry-quick.ts';
import type { Incoming, ServerLink } from '../../broker/port.ts';
import type { StateInput } from '../state/inputs.ts';
import type { DaemonDirectory } from '../store/sql/daemons.ts';
import type { MetricsStore, StoredSample } from '../store/ports.ts';
import { storedSample } from '../store/stored-sample.ts';
import { createBuffer, type Entry, push, queuedCount } from './buffer.ts';
import { type Counters, newCounters } from './counters.ts';
import { judge, type RefusedSessions } from './judge.ts';
import { createNodes, type NodeEntry } from './nodes.ts';
import { createReceipts } from './receipts.ts';
import { createRejectionLog } from './rejection-log.ts';
import {
  confirm,
  discard,
  expect,
  isReplay,
  repeatReceipt,
  resume,
  settle,
  type Stored,
  watermarkOf,
} from './sequence.ts';
import { createStateInputs, drain, offer } from './state-inputs.ts';
import { createUnstored } from './unstored.ts';
import { createWriter } from './writer.ts';

/** 48 s of 2048 nodes at 5 s; daemons keep 15 minutes, so a longer outage costs a replay. */
const samplesMax = 20_000;
/**
 * As they lie here, 2.8 kB with 20 guests: 41 s of 2048 nodes at 5 s, and 8.5 s at a sample a second,
 * where a checkpoint of the embedded store was seen to take five.
 */
const bytesMax = 48 * 1024 * 1024;
/** Clocks differ; more than this ahead of ours is wrong, and would outlive the retention. */
const clockAheadMaxMs = 60_000;
const receiptsEveryMs = 1_000;
/** stop() must leave time for the stores to close within 5 s. */
const stopWithinMs = 3_000;

export type CommandMessage = Message<'claim' | 'report' | 'hello' | 'presence'>;

/**
 * `whole`: one process does everything. Where ingest workers share the work, each worker stores the
 * telemetry of its clusters (`store`), and the backend folds it all and stores none (`fold`).
 */
export type IngestRole = 'whole' | 'store' | 'fold';

export type IngestDeps = {
  /** Default `whole`. */
  role?: IngestRole;
  link: ServerLink;
  store: Pick<MetricsStore, 'write' | 'watermarks'>;
  directory: Pick<DaemonDirectory, 'ownership' | 'ownerOf'>;
  clock: Clock;
  log: Log;
  newId: NewId;
  /** Must take it and return; called in order of arrival. */
  toCommands(message: CommandMessage): void;
  toEnrolments(message: Message<'enrol'>, client: string | null): void;
  /** Adds to a message what the server knows and its daemon cannot; in place, before all else. */
  enrich?(message: Message): void;
};

export type Ingest = {
  accept(incoming: Incoming): void;
  /** What the state has to fold, in order; empties it. */
  drain(): StateInput[];
  /** Called, synchronously, whenever `drain` would answer more than before. */
  onArrival(listener: () => void): void;
  counters(): Readonly<Counters>;
  watermark(cluster: string, node: string): Stored;
  /** Clusters that ingest workers should store and do not; none while this process stores. */
  unstored(): string[];
  start(): void;
  /** Stores what is queued if the store takes it in time; what was receipted is stored already. */
  stop(): Promise<void>;
};

type Parts = ReturnType<typeof createParts>;

function createParts(deps: IngestDeps) {
  const { clock, log } = deps;
  const counters = newCounters();
  const nodes = createNodes();
  const buffer = createBuffer({ samplesMax, bytesMax });
  const entryOf = ({ cluster, node }: StoredSample): NodeEntry => nodes.of(cluster, node);
  const receipts = createReceipts({
    ...deps,
    onPublished: () => void (counters.receipts += 1),
    onFailed: () => void (counters.receiptFailures += 1),
    onAbandoned({ cluster, node }, samples) {
      counters.abandoned += samples;
      log.warn({ cluster, node, samples }, 'missing samples given up: the daemon has them no more');
    },
  });
  const onDropped = (dropped: readonly Entry[]): void => {
    counters.dropped += dropped.length;
    for (const { sample } of dropped) {
      discard(entryOf(sample).sequence, sample.incarnation, sample.seq);
    }
  };
  const writer = createWriter({
    buffer,
    clock,
    log,
    store: deps.store,
    onStored(samples) {
      const nowMs = clock.monotonicMs();
      counters.stored += samples.length;
      counters.batches += 1;
      for (const sample of samples) {
        const entry = entryOf(sample);
        const { incarnation, seq } = sample;
        counters.abandoned += settle(entry.sequence, { incarnation, seq, nowMs });
        receipts.touch(entry);
      }
    },
    onFailed: () => void (counters.writeFailures += 1),
  });
  const inputs = createStateInputs();
  const logRejection = createRejectionLog(deps);
  const refused: RefusedSessions = new Map();
  const unstored = createUnstored();
  const stages = { buffer, receipts, writer, onDropped, inputs };
  return { counters, nodes, logRejection, refused, unstored, ...stages };
}

function toState(parts: Parts, input: Parameters<typeof offer>[1]): void {
  const outcome = offer(parts.inputs, input);
  if (outcome === 'superseded') parts.counters.superseded += 1;
  if (outcome === 'full') parts.counters.inputsDropped += 1;
}

type Arrived = { message: Message<'telemetry'>; numbers: Numbers | undefined; incoming: Incoming };

/** What is stored of it, with a time that retention can be trusted to reach. */
function sampleOf({ counters, nodes }: Parts, { message, numbers }: Arrived, wallMs: number) {
  const { cluster, node, seq, body } = message;
  const { incarnation, node: values, guests, powerSource } = body;
  const isAhead = body.sampledAtMs > wallMs + clockAheadMaxMs;
  if (isAhead) counters.clockCorrected += 1;
  const sampledAtMs = isAhead ? wallMs : body.sampledAtMs;
  const identity = { cluster, node, incarnation, seq, sampledAtMs };
  // What the server gave watts to is not as it came any more.
  const asTheyCame = powerSource === undefined ? numbers : undefined;
  const entry = nodes.of(cluster, node);
  const measured = { values, guests: guests ?? [], numbers: asTheyCame, lastIds: entry.guestIds };
  const sample = storedSample(identity, measured);
  entry.guestIds = sample.guests;
  return sample;
}

function takeTelemetry(
  parts: Parts,
  { clock, role = 'whole' }: IngestDeps,
  arrived: Arrived,
): void {
  const { message, incoming } = arrived;
  const { counters, nodes, buffer, writer, receipts } = parts;
  const { cluster, node, session, seq, body } = message;
  const atMs = clock.monotonicMs();
  const entry = nodes.of(cluster, node);
  entry.session = session;
  if (incoming.client !== null) entry.replayer = nodes.replayerOf(incoming.client);
  if (isReplay(entry.sequence, body.incarnation, seq)) entry.replayer.replayedAtMs = atMs;
  // Never above what came, whatever a daemon claims.
  confirm(entry.sequence, body.incarnation, Math.min(body.confirmedSeq ?? 0, seq - 1));
  if (body.backfilled) counters.backfilled += 1;
  else if (role !== 'store') toState(parts, { kind: 'telemetry', atMs, message });
  if (role === 'fold') {
    counters.leftToWorkers += 1;
    parts.unstored.heard(message, atMs);
    return;
  }
  if (!expect(entry.sequence, body.incarnation, seq)) {
    counters.duplicate += 1;
    repeatReceipt(entry.sequence, body.incarnation);
    receipts.touch(entry);
    return;
  }
  const sample = sampleOf(parts, arrived, clock.wallMs());
  parts.onDropped(push(buffer, sample));
  writer.wake();
}

/**
 * One connection has one will, but may speak for many nodes: those of the daemon that left it, as
 * the directory says, so that no will ever ends the session of a node that is another's.
 */
function endedWith({ directory }: IngestDeps, message: Message<'presence'>): Iterable<string> {
  const { cluster, node, body } = message;
  if (body.online || body.reason !== 'will') return [node];
  return directory.ownerOf(cluster, node)?.nodes ?? [node];
}

type Accepted = Extract<Decoded, { ok: true }>;

function route(parts: Parts, deps: IngestDeps, accepted: Accepted, incoming: Incoming): void {
  const { message, numbers } = accepted;
  deps.enrich?.(message);
  if (message.name === 'telemetry') {
    return takeTelemetry(parts, deps, { message, numbers, incoming });
  }
  parts.counters.forwarded += 1;
  const atMs = deps.clock.monotonicMs();
  switch (message.name) {
    case 'hello':
      toState(parts, { kind: 'hello', atMs, message });
      return deps.toCommands(message);
    case 'presence':
      for (const node of endedWith(deps, message)) {
        const own = { ...message, node };
        toState(parts, { kind: 'presence', atMs, message: own });
        deps.toCommands(own);
      }
      return undefined;
    case 'claim':
    case 'report':
      return deps.toCommands(message);
    case 'enrol':
      return deps.toEnrolments(message, incoming.client);
    case 'sync':
    case 'offer':
    case 'grant':
    case 'probe':
    case 'verdict':
    case 'receipt':
    case 'enrolled':
      throw new Error(`${message.name} passed the judge, which takes no server message`);
  }
}

function accept(parts: Parts, deps: IngestDeps, incoming: Incoming): void {
  const { counters } = parts;
  const isTelemetry = incoming.topic.endsWith('/telemetry');
  if (isTelemetry) counters.received += 1;
  const decoded = decode(incoming.topic, incoming.payload);
  const owner = incoming.client === null ? null : deps.directory.ownership(incoming.client);
  const rejection = decoded.ok ? judge(decoded.message, owner, parts.refused) : decoded.rejection;
  if (rejection) {
    counters[rejection.code] += 1;
    if (isTelemetry) counters.rejected += 1;
    parts.logRejection(incoming, rejection);
  } else if (decoded.ok) {
    route(parts, deps, decoded, incoming);
  }
}

/** Knows what the store holds when it resolves; listens to the link from the first moment. */
export async function createIngest(deps: IngestDeps): Promise<Ingest> {
  const { clock } = deps;
  const parts = createParts(deps);
  const { counters, buffer, inputs, nodes, receipts, writer } = parts;
  const listeners: (() => void)[] = [];
  let cancelReceipts: Cancel = () => undefined;

  const take = (incoming: Incoming): void => {
    const before = inputs.slots.length;
    accept(parts, deps, incoming);
    if (inputs.slots.length > before) for (const listener of listeners) listener();
  };
  const receiptLoop = (): void => {
    cancelReceipts = clock.after(receiptsEveryMs, () => {
      receipts.tick();
      receiptLoop();
    });
  };

  deps.link.onMessage(take);
  for (const { cluster, node, incarnation, seq } of await deps.store.watermarks()) {
    resume(nodes.of(cluster, node).sequence, incarnation, seq);
  }

  return {
    accept: take,
    drain: () => drain(inputs),
    onArrival: (listener) => void listeners.push(listener),
    counters() {
      counters.queued = queuedCount(buffer);
      counters.inFlight = buffer.flight.length;
      counters.bufferedBytes = buffer.bytes;
      return counters;
    },
    watermark: (cluster, node) => watermarkOf(nodes.get(cluster, node)?.sequence),
    unstored: () => parts.unstored.clusters(clock.monotonicMs()),
    start() {
      writer.start();
      receiptLoop();
    },
    async stop() {
      cancelReceipts();
      let cancelLate: Cancel = () => undefined;
      const late = new Promise<void>((done) => {
        cancelLate = clock.after(stopWithinMs, done);
      });
      await Promise.race([writer.stop(), late]);
      cancelLate();
    },
  };
}
