/** Ingest on a virtual clock, with a link and a store that do and fail what the test says. */
import type { Incoming, Ownership, ServerLink } from '../../../broker/port.ts';
import { encode, type Outgoing } from '../../../broker/contract/codec.ts';
import { nodeKey } from '../../../broker/contract/ids.ts';
import type { Message } from '../../../broker/contract/messages.ts';
import type { Telemetry } from '../../../broker/contract/telemetry.ts';
import type { Receipt } from '../../../broker/contract/server.ts';
import {
  createIngest,
  type CommandMessage,
  type Ingest,
  type IngestRole,
} from '../../../backend/ingest/ingest.ts';
import type { StoredSample, Watermark } from '../../../backend/store/ports.ts';
import { idsOf, seededRandom, virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';
import { message, telemetryBody } from '../../support/messages.ts';

export type ReceivedReceipt = Receipt & { cluster: string; node: string; atMs: number };

const identity = ({ cluster, node, incarnation, seq }: StoredSample): string =>
  `${cluster}/${node}/${incarnation}/${seq}`;

/** A store in memory: durable when it resolves, all or nothing, idempotent. */
export function twinStore() {
  const rows = new Map<string, StoredSample>();
  const twin = {
    rows,
    batches: [] as string[][],
    /** Asked before each batch. */
    fails: (): boolean => false,
    /** Awaited before each batch. */
    gate: Promise.resolve() as Promise<unknown>,
    known: [] as Watermark[],
    async write(samples: readonly StoredSample[]): Promise<void> {
      await twin.gate;
      if (twin.fails()) throw new Error('disk on fire');
      twin.batches.push(samples.map(identity));
      for (const sample of samples) rows.set(identity(sample), sample);
    },
    watermarks: async (): Promise<Watermark[]> => twin.known,
  };
  return twin;
}

export function twinLink(now: () => number) {
  const twin = {
    listener: (() => undefined) as (incoming: Incoming) => void,
    receipts: [] as ReceivedReceipt[],
    isUp: true,
    failsPublish: false,
    async publish(outgoing: Outgoing): Promise<void> {
      if (twin.failsPublish) throw new Error('no route');
      const { body, cluster, node } = JSON.parse(outgoing.payload) as Message<'receipt'>;
      twin.receipts.push({ ...body, cluster, node, atMs: now() });
    },
    onMessage(listener: (incoming: Incoming) => void): void {
      twin.listener = listener;
    },
    isConnected: () => twin.isUp,
    close: async () => undefined,
  };
  return twin satisfies ServerLink;
}

export async function harness(
  prepare: (store: ReturnType<typeof twinStore>) => void = () => {},
  role: IngestRole = 'whole',
) {
  const clock = virtualClock();
  const log = memoryLog();
  const store = twinStore();
  const link = twinLink(() => clock.monotonicMs());
  const owners = new Map<string, Ownership>();
  const toCommands: CommandMessage[] = [];
  const toEnrolments: { message: Message<'enrol'>; client: string | null }[] = [];
  prepare(store);
  const ingest: Ingest = await createIngest({
    role,
    link,
    store,
    clock,
    log,
    directory: {
      ownership: (client) => owners.get(client),
      ownerOf: (cluster, node) =>
        [...owners.values()].find((own) => own.cluster === cluster && own.nodes.has(node)),
    },
    newId: idsOf(clock, seededRandom(7)),
    toCommands: (each) => void toCommands.push(each),
    toEnrolments: (each, client) => void toEnrolments.push({ message: each, client }),
  });
  const owner = (change: Partial<Ownership> = {}): void => {
    const own = { cluster: 'home', daemon: 'd1', simulated: true, enrolling: false, ...change };
    owners.set(`${own.cluster}/${own.daemon}`, { nodes: new Set(['n1', 'n2']), ...own });
  };
  owner();
  const raw = (topic: string, payload: string, client: string | null = 'home/d1'): void =>
    link.listener({ topic, payload: Buffer.from(payload), client, receivedAtMs: clock.wallMs() });
  const send = (sent: Message, client: string | null = 'home/d1'): void => {
    const { topic, payload } = encode(sent.name, sent as never);
    raw(topic, payload, client);
  };
  const sample = (
    seq: number,
    body: Partial<Telemetry> & { node?: never } = {},
    head: { node?: string; session?: string } = {},
  ): void => {
    const sampledAtMs = clock.wallMs();
    send(message('telemetry', telemetryBody({ sampledAtMs, ...body }), { seq, ...head }));
  };
  return {
    clock,
    log,
    store,
    link,
    owners,
    owner,
    ingest,
    toCommands,
    toEnrolments,
    raw,
    send,
    sample,
    /** seqs stored of one node and incarnation, in order. */
    stored: (node = 'n1', incarnation = 1): number[] =>
      [...store.rows.values()]
        .filter((row) => nodeKey(row.cluster, row.node) === `home/${node}`)
        .filter((row) => row.incarnation === incarnation)
        .map(({ seq }) => seq)
        .sort((a, b) => a - b),
    balance(): number {
      const c = ingest.counters();
      return (
        c.received -
        c.stored -
        c.duplicate -
        c.rejected -
        c.queued -
        c.inFlight -
        c.dropped -
        c.leftToWorkers
      );
    },
  };
}
