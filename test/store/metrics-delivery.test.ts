import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { InfluxClient } from '../../backend/store/metrics/influx-client.ts';
import { createDelivery, type Delivery } from '../../backend/store/metrics/influx-delivery.ts';
import { openSpool } from '../../backend/store/metrics/spool.ts';
import { virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';

let folder: string;
let delivery: Delivery | undefined;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-delivery-'));
});
afterEach(async () => {
  await delivery?.close();
  await rm(folder, { recursive: true, force: true });
});

const batchOf = (line: string) => ({ bucket: 'raw', names: [], samples: 1, lines: [line] });

/** A server that can be gone, or refuse for a while. */
async function open() {
  const clock = virtualClock();
  const log = memoryLog();
  const server = { lines: [] as string[], failure: null as Error | null };
  const client = {
    send: async (_bucket: string, lines: readonly string[]) => {
      if (server.failure) throw server.failure;
      server.lines.push(...lines);
      return { lines: 0, expired: 0, detail: null };
    },
  } as unknown as InfluxClient;
  const spool = await openSpool({
    folder: join(folder, 'spool'),
    bytesMax: 1e6,
    onDropped: () => undefined,
  });
  const made = (delivery = createDelivery({ client, spool, clock, log, onDrained: () => {} }));
  const emptied = async () => {
    await expect.poll(() => clock.advance(1_000).then(() => made.figures().spoolSamples)).toBe(0);
  };
  return { clock, server, delivery: made, emptied };
}

const gone = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
const busy = Object.assign(new Error('too many requests'), { statusCode: 429 });

describe('what a server accepted shortly before it was gone', () => {
  it('is sent again, before what came after, since a killed one may have forgotten it', async () => {
    const { clock, server, delivery, emptied } = await open();
    await delivery.deliver(batchOf('old'));
    await clock.advance(11_000);
    await delivery.deliver(batchOf('a'));
    await clock.advance(4_000);
    await delivery.deliver(batchOf('b'));
    server.failure = gone;
    await delivery.deliver(batchOf('c'));
    server.lines = [];
    server.failure = null;
    await emptied();
    expect(server.lines).toEqual(['a', 'b', 'c']);
  });

  it('is not sent again to one that lives and only asks for patience', async () => {
    const { server, delivery, emptied } = await open();
    await delivery.deliver(batchOf('a'));
    server.failure = busy;
    await delivery.deliver(batchOf('b'));
    server.failure = null;
    await emptied();
    expect(server.lines).toEqual(['a', 'b']);
  });

  it('is kept within bounds', async () => {
    const { server, delivery, emptied } = await open();
    const large = 'x'.repeat(9 * 2 ** 20);
    await delivery.deliver(batchOf(`1${large}`));
    await delivery.deliver(batchOf(`2${large.slice(0, 1_000)}`));
    await delivery.deliver(batchOf(`3${large}`));
    server.failure = gone;
    server.lines = [];
    await delivery.deliver(batchOf('4'));
    server.failure = null;
    await emptied();
    expect(server.lines.map((line) => line[0])).toEqual(['2', '3', '4']);
  });
});
