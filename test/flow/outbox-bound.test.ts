/**
 * A daemon that loses its broker for hours, up to the bound of its outbox and beyond: the real link
 * with ring and disk, and the real ingest, on one virtual clock. Within the bound the store has no
 * hole; beyond it nothing is missing but what the daemon counted as dropped, and receipts go on.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { createIngest, type CommandMessage } from '../../backend/ingest/ingest.ts';
import type { DaemonClient, DaemonClientOptions } from '../../broker/client.ts';
import { encode } from '../../broker/contract/codec.ts';
import type { Incoming } from '../../broker/port.ts';
import { startLink } from '../../daemon/link/connection.ts';
import { openDiskOutbox } from '../../daemon/link/disk-outbox.ts';
import { twinStore } from '../backend/ingest/harness.ts';
import { fleetOf, relayOf } from '../daemon/link/twin.ts';
import { idsOf, seededRandom, virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';

const intervalMs = 5_000;
const minuteMs = 60_000;
const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

/** One wire that can be cut, between one daemon and one server. */
async function open(diskBytes: number) {
  const clock = virtualClock();
  const log = memoryLog();
  const newId = idsOf(clock, seededRandom(5));
  const folder = await mkdtemp(join(tmpdir(), 'kr-bound-'));
  folders.push(folder);
  const store = twinStore();
  const wire: { client?: DaemonClientOptions; isUp: boolean } = { isUp: false };
  const hear: ((incoming: Incoming) => void)[] = [];
  const toDaemon = ({ topic, payload }: { topic: string; payload: string }): void => {
    if (wire.isUp) wire.client?.onMessage(topic, Buffer.from(payload));
  };
  const greet = ({ cluster, node, session }: CommandMessage): void => {
    const { incarnation, seq } = ingest.watermark(cluster, node);
    const content = { session, storedIncarnation: incarnation, storedSeq: seq, intervalMs };
    const signature = Buffer.alloc(64).toString('base64');
    const body = { signed: JSON.stringify(content), keyId: '0'.repeat(16), signature };
    const head = { v: 1, id: newId(), cluster, node, session, seq: 0 } as const;
    toDaemon(encode('sync', { ...head, sentAtMs: clock.wallMs(), body }));
  };
  const owner = { cluster: 'home', daemon: 'd1', simulated: true, enrolling: false };
  const ownership = { ...owner, nodes: new Set(['n1']) };
  const ingest = await createIngest({
    link: {
      publish: async (outgoing) => toDaemon(outgoing),
      onMessage: (listener) => void hear.push(listener),
      isConnected: () => true,
      close: async () => undefined,
    },
    store,
    directory: { ownership: () => ownership, ownerOf: () => ownership },
    toCommands: (message) => message.name === 'hello' && greet(message),
    toEnrolments: () => undefined,
    clock,
    log,
    newId,
  });
  ingest.start();
  const openClient = (client: DaemonClientOptions): DaemonClient => {
    wire.client = client;
    return {
      isConnected: () => wire.isUp,
      async publish({ topic, payload }) {
        if (!wire.isUp) throw new Error('not connected');
        const receivedAtMs = clock.wallMs();
        for (const listener of hear)
          listener({ topic, payload: Buffer.from(payload), client: 'home/d1', receivedAtMs });
      },
      end: async () => undefined,
    };
  };
  const disk = await openDiskOutbox({ folder, bytesMax: diskBytes, segmentBytes: 16 * 1024 });
  const link = await startLink(
    {
      url: 'mqtt://twin',
      cluster: 'home',
      daemon: 'd1',
      secret: 's'.repeat(64),
      caSha256: null,
      intervalMs,
      replayEveryMs: 500,
      ring: { ageMaxMs: 15 * minuteMs, bytesMax: 4 * 2 ** 20 },
    },
    {
      clock,
      newId,
      log,
      openClient,
      disk,
      random: seededRandom(3),
      hypervisor: fleetOf(['n1']),
      executor: relayOf(newId, 1),
    },
  );
  const connect = (): void => {
    wire.client?.will();
    wire.isUp = true;
    wire.client?.onConnect();
  };
  const cut = (): void => {
    wire.isUp = false;
    wire.client?.onClose('cut');
  };
  /** In steps, since the disk works outside the virtual clock. */
  const pass = async (ms: number): Promise<void> => {
    for (let passedMs = 0; passedMs < ms; passedMs += 1_000) {
      await clock.advance(1_000);
      await disk.sync();
    }
  };
  const seqs = (): number[] =>
    [...store.rows.values()].map(({ seq }) => seq).toSorted((a, b) => a - b);
  const stop = async (): Promise<void> => {
    const stopped = Promise.all([link.stop(), ingest.stop()]);
    await clock.advance(5_000);
    await stopped;
  };
  return { clock, connect, cut, disk, ingest, link, pass, seqs, stop, store };
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

it('leaves no hole of two hours within the bound, each sample once with its own time', async () => {
  const house = await open(64 * 2 ** 20);
  house.connect();
  await house.pass(minuteMs);
  house.cut();
  await house.pass(120 * minuteMs);
  expect(house.disk.count()).toBeGreaterThan(1_000);
  house.connect();
  await house.pass(20 * minuteMs);
  const { samples, dropped } = house.link.counters();
  expect(dropped + house.disk.dropped()).toBe(0);
  expect(house.seqs()).toEqual(upTo(samples).slice(0, house.seqs().length));
  expect(house.seqs().length).toBeGreaterThanOrEqual(samples - 1);
  expect(house.store.batches.flat().length).toBe(house.seqs().length);
  const times = [...house.store.rows.values()].toSorted((a, b) => a.seq - b.seq);
  const steps = times.slice(1).map((row, at) => row.sampledAtMs - (times[at]?.sampledAtMs ?? 0));
  expect(new Set(steps)).toEqual(new Set([intervalMs]));
  expect(house.disk.count()).toBe(0);
  await house.stop();
}, 60_000);

it('lacks beyond the bound only what was dropped and counted, and goes on', async () => {
  const house = await open(256 * 1024);
  house.connect();
  await house.pass(minuteMs);
  house.cut();
  await house.pass(60 * minuteMs);
  const dropped = house.disk.dropped();
  expect(dropped).toBeGreaterThan(50);
  house.connect();
  await house.pass(30 * minuteMs);
  const { samples } = house.link.counters();
  const held = new Set(house.seqs());
  const lacking = upTo(samples - 1).filter((seq) => !held.has(seq));
  const first = lacking[0] ?? 0;
  expect(lacking).toEqual(upTo(lacking.length).map((count) => first - 1 + count));
  // What was sent in the last 10 s before the cut had no receipt yet: kept, dropped, and stored.
  expect(lacking.length).toBeGreaterThanOrEqual(dropped - 3);
  expect(lacking.length).toBeLessThanOrEqual(dropped);
  expect(house.ingest.counters().abandoned).toBe(lacking.length);
  expect(house.ingest.watermark('home', 'n1').seq).toBeGreaterThanOrEqual(samples - 1);
  await house.stop();
}, 60_000);
