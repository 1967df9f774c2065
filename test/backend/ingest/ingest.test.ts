import * as fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { telemetryBody, helloBody, message, uuidOf, guestSample } from '../../support/messages.ts';
import { harness } from './harness.ts';

const presence = { online: true, reason: 'birth', load: null } as const;

describe('a sample on its way to the store', () => {
  it('is stored within a second and receipted only then', async () => {
    const h = await harness();
    h.ingest.start();
    h.sample(1);
    h.sample(2);
    expect(h.ingest.counters()).toMatchObject({ received: 2, queued: 2, stored: 0 });
    await h.clock.advance(1_000);
    expect(h.stored()).toEqual([1, 2]);
    expect(h.ingest.counters()).toMatchObject({ stored: 2, queued: 0, inFlight: 0 });
    await h.clock.advance(10_000);
    expect(h.link.receipts).toMatchObject([
      { cluster: 'home', node: 'n1', incarnation: 1, storedSeq: 2 },
    ]);
    expect(h.ingest.watermark('home', 'n1')).toEqual({ incarnation: 1, seq: 2 });
  });

  it('is written at once when a batch waits, one in flight, and all that waited meanwhile as the next', async () => {
    const h = await harness();
    h.ingest.start();
    let open: () => void = () => undefined;
    h.store.gate = new Promise<void>((resolve) => (open = resolve));
    for (let seq = 1; seq <= 7_000; seq += 1) h.sample(seq);
    expect(h.ingest.counters()).toMatchObject({ inFlight: 1_024, queued: 5_976 });
    open();
    await vi.waitFor(() => expect(h.store.batches).toHaveLength(3));
    expect(h.store.batches.map((batch) => batch.length)).toEqual([1_024, 4_096, 1_880]);
  });

  it('is written without a timer while more waits, since a busy event loop reaches none', async () => {
    const h = await harness();
    h.ingest.start();
    for (let seq = 1; seq <= 5_000; seq += 1) h.sample(seq);
    await vi.waitFor(() => expect(h.stored()).toHaveLength(5_000));
  });

  it('keeps its guests and an absent guest list means no guest rows', async () => {
    const h = await harness();
    h.ingest.start();
    h.sample(1, { guests: [guestSample('100')] });
    h.sample(2, { guests: null });
    await h.clock.advance(1_000);
    const rows = [...h.store.rows.values()];
    expect(rows.map(({ guests }) => guests)).toEqual([['100'], []]);
  });

  it('waits through a store that fails, in order and without loss', async () => {
    const h = await harness();
    h.ingest.start();
    let isDown = true;
    h.store.fails = () => isDown;
    for (let seq = 1; seq <= 10; seq += 1) {
      h.sample(seq);
      await h.clock.advance(5_000);
    }
    expect(h.ingest.counters()).toMatchObject({ stored: 0, queued: 10, dropped: 0 });
    expect(h.link.receipts).toEqual([]);
    isDown = false;
    await h.clock.advance(40_000);
    expect(h.store.batches.flat()).toEqual(
      Array.from({ length: 10 }, (_, index) => `home/n1/1/${index + 1}`),
    );
    expect(h.link.receipts.at(-1)).toMatchObject({ storedSeq: 10 });
    expect(h.ingest.counters().writeFailures).toBeLessThan(12);
  });

  it('drops the oldest when the queue is full, and never receipts past what it dropped', async () => {
    const h = await harness();
    h.ingest.start();
    h.store.fails = () => true;
    for (let seq = 1; seq <= 20_005; seq += 1) h.sample(seq);
    // The first batch is on its way already; behind it the oldest goes.
    const dropped = [1_025, 1_026, 1_027, 1_028, 1_029];
    const waiting = { inFlight: 1_024, queued: 20_000 - 1_024 };
    expect(h.ingest.counters()).toMatchObject({ ...waiting, dropped: dropped.length });
    h.store.fails = () => false;
    await h.clock.advance(30_000);
    expect(h.stored()).toHaveLength(20_000);
    expect(h.stored().filter((seq) => dropped.includes(seq))).toEqual([]);
    expect(h.link.receipts).toMatchObject([{ storedSeq: 1_024 }]);
    for (const seq of dropped) h.sample(seq);
    await h.clock.advance(11_000);
    expect(h.link.receipts.at(-1)).toMatchObject({ storedSeq: 20_005 });
    expect(h.balance()).toBe(0);
  });

  it('of a moment that its daemon missed is stored and receipted, and never the present', async () => {
    const h = await harness();
    h.ingest.start();
    h.sample(1);
    h.ingest.drain();
    h.sample(2, { sampledAtMs: h.clock.wallMs() - 600_000, backfilled: true });
    expect(h.ingest.drain()).toEqual([]);
    await h.clock.advance(12_000);
    expect(h.stored()).toEqual([1, 2]);
    expect(h.link.receipts.at(-1)).toMatchObject({ storedSeq: 2 });
    expect(h.ingest.counters()).toMatchObject({ backfilled: 1, stored: 2 });
    expect(h.balance()).toBe(0);
  });

  it('with a clock far ahead is stored at its arrival, and keeps its stamp for the state', async () => {
    const h = await harness();
    h.ingest.start();
    const arrivedMs = h.clock.wallMs();
    h.sample(1, { sampledAtMs: arrivedMs + 86_400_000 });
    await h.clock.advance(1_000);
    expect([...h.store.rows.values()][0]?.sampledAtMs).toBe(arrivedMs);
    expect(h.ingest.counters().clockCorrected).toBe(1);
    expect(h.ingest.drain()).toMatchObject([
      { message: { body: { sampledAtMs: arrivedMs + 86_400_000 } } },
    ]);
  });
});

describe('a sample sent again', () => {
  it('counts as duplicate while the first waits and after it is stored', async () => {
    const h = await harness();
    h.ingest.start();
    h.sample(1);
    h.sample(1);
    await h.clock.advance(1_000);
    h.sample(1);
    expect(h.ingest.counters()).toMatchObject({ received: 3, stored: 1, duplicate: 2 });
    expect(h.store.batches).toEqual([['home/n1/1/1']]);
  });

  it('is known after a restart from what the store holds', async () => {
    const known = { cluster: 'home', node: 'n1', incarnation: 3, seq: 40 };
    const h = await harness((store) => store.known.push(known));
    h.ingest.start();
    expect(h.ingest.watermark('home', 'n1')).toEqual({ incarnation: 3, seq: 40 });
    h.sample(40, { incarnation: 3 });
    h.sample(41, { incarnation: 3 });
    expect(h.ingest.counters()).toMatchObject({ duplicate: 1, queued: 1 });
  });

  it('of an earlier start is stored and receipted under its own incarnation', async () => {
    const known = { cluster: 'home', node: 'n1', incarnation: 3, seq: 40 };
    const h = await harness((store) => store.known.push(known));
    h.ingest.start();
    h.sample(1, { incarnation: 4 });
    h.sample(41, { incarnation: 3 });
    h.sample(42, { incarnation: 3 });
    await h.clock.advance(12_000);
    expect(h.link.receipts).toMatchObject([
      { incarnation: 3, storedSeq: 42 },
      { incarnation: 4, storedSeq: 1 },
    ]);
    expect(h.ingest.watermark('home', 'n1')).toEqual({ incarnation: 4, seq: 1 });
  });

  it('of an earlier start is receipted at once by who never heard of that start', async () => {
    const h = await harness();
    h.ingest.start();
    h.sample(1, { incarnation: 4, confirmedSeq: 0 });
    h.sample(41, { incarnation: 3, confirmedSeq: 40 });
    await h.clock.advance(12_000);
    expect(h.link.receipts).toMatchObject([
      { incarnation: 3, storedSeq: 41 },
      { incarnation: 4, storedSeq: 1 },
    ]);
  });

  it('that is sent again although it is stored has its receipt repeated', async () => {
    const h = await harness();
    h.ingest.start();
    h.sample(1, { incarnation: 4 });
    h.sample(1, { incarnation: 3 });
    await h.clock.advance(12_000);
    h.link.receipts.length = 0;
    h.sample(1, { incarnation: 3 });
    await h.clock.advance(12_000);
    expect(h.link.receipts).toMatchObject([{ incarnation: 3, storedSeq: 1 }]);
  });
});

describe('a hole in the sequence', () => {
  it('holds receipts back until it is filled', async () => {
    const h = await harness();
    h.ingest.start();
    for (const seq of [1, 2, 4, 5]) h.sample(seq);
    await h.clock.advance(60_000);
    expect(h.link.receipts).toMatchObject([{ storedSeq: 2 }]);
    h.sample(3);
    await h.clock.advance(11_000);
    expect(h.link.receipts.at(-1)).toMatchObject({ storedSeq: 5 });
  });

  it('is given up when the node stays and nobody fills it, and says so', async () => {
    const h = await harness();
    h.ingest.start();
    h.sample(100);
    for (let seq = 101; seq <= 180; seq += 1) {
      await h.clock.advance(5_000);
      h.sample(seq);
    }
    expect(h.link.receipts.at(0)).toMatchObject({ incarnation: 1 });
    expect(h.link.receipts.at(-1)?.storedSeq).toBeGreaterThan(170);
    expect(h.link.receipts.at(0)?.atMs).toBeGreaterThan(300_000);
    expect(h.ingest.counters().abandoned).toBe(99);
    expect(h.log.lines.filter(({ level }) => level === 'warn')).toMatchObject([
      { fields: { node: 'n1', samples: 99 } },
    ]);
  });

  it('is still filled by a sample that comes after it was given up', async () => {
    const h = await harness();
    h.ingest.start();
    for (let seq = 3; seq <= 80; seq += 1) {
      await h.clock.advance(5_000);
      h.sample(seq);
    }
    expect(h.ingest.counters().abandoned).toBe(2);
    h.sample(2);
    await h.clock.advance(1_000);
    expect(h.stored()[0]).toBe(2);
    expect(h.ingest.counters().duplicate).toBe(0);
  });

  it('outlives an absence of the node and a replay of its daemon for another one', async () => {
    const h = await harness();
    h.ingest.start();
    h.sample(1);
    h.sample(3);
    await h.clock.advance(7_200_000);
    for (let seq = 4; seq <= 30; seq += 1) {
      h.sample(seq);
      await h.clock.advance(5_000);
    }
    h.sample(500, {}, { node: 'n2' });
    for (let seq = 31; seq <= 130; seq += 1) {
      h.sample(seq);
      h.sample(seq, {}, { node: 'n2' });
      await h.clock.advance(5_000);
    }
    expect(h.ingest.counters().abandoned).toBe(0);
    expect(h.ingest.watermark('home', 'n1')).toEqual({ incarnation: 1, seq: 1 });
  });
});

describe('receipts', () => {
  it('of one node are at least 10 s apart and carry all that was stored between', async () => {
    const h = await harness();
    h.ingest.start();
    for (let seq = 1; seq <= 60; seq += 1) {
      h.sample(seq);
      await h.clock.advance(1_000);
    }
    const gaps = h.link.receipts.slice(1).map(({ atMs }, i) => atMs - h.link.receipts[i]!.atMs);
    expect(h.link.receipts.length).toBeGreaterThanOrEqual(5);
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(10_000);
  });

  it('of many nodes are spread over the 10 s instead of leaving in one burst', async () => {
    const h = await harness();
    const nodes = Array.from({ length: 1_000 }, (_, index) => `m${index}`);
    h.owner({ nodes: new Set(nodes) });
    h.ingest.start();
    for (const node of nodes) h.sample(1, {}, { node });
    await h.clock.advance(12_000);
    const perSecond = new Map<number, number>();
    for (const { atMs } of h.link.receipts) perSecond.set(atMs, (perSecond.get(atMs) ?? 0) + 1);
    expect(h.link.receipts).toHaveLength(1_000);
    expect(Math.max(...perSecond.values())).toBeLessThan(130);
  });

  it('wait while the broker is away and are repeated when it refused them', async () => {
    const h = await harness();
    h.ingest.start();
    h.sample(1);
    h.link.isUp = false;
    await h.clock.advance(30_000);
    expect(h.link.receipts).toEqual([]);
    h.link.isUp = true;
    h.link.failsPublish = true;
    await h.clock.advance(15_000);
    expect(h.ingest.counters().receiptFailures).toBeGreaterThan(0);
    h.link.failsPublish = false;
    await h.clock.advance(15_000);
    expect(h.link.receipts).toMatchObject([{ storedSeq: 1 }]);
  });
});

describe('a message that may not be taken', () => {
  const body = telemetryBody();
  const foreign = message('telemetry', body, { node: 'n9' });
  it.each([
    ['of a node its daemon may not speak for', foreign, 'KR_WRONG_IDENTITY', 'node'],
    ['of another cluster', { ...foreign, cluster: 'work' }, 'KR_WRONG_IDENTITY', 'node'],
    [
      'that only the server sends',
      message('receipt', { incarnation: 1, storedSeq: 9 }),
      'KR_TOPIC',
      'topic',
    ],
    [
      'with a value out of bounds',
      message('telemetry', { ...body, node: { ...body.node, cpuRatio: 7 } }),
      'KR_BODY',
      'body.node.cpuRatio',
    ],
    [
      'of a real driver in a simulated cluster',
      message(
        'hello',
        helloBody({
          driver: { name: 'proxmox', version: null, simulated: false, capabilities: [] },
        }),
      ),
      'KR_SIMULATED',
      'body.driver.simulated',
    ],
  ])('%s is counted, named in the log, and changes nothing', async (_, sent, code, field) => {
    const h = await harness();
    h.ingest.start();
    h.send(sent);
    await h.clock.advance(20_000);
    expect(h.ingest.counters()).toMatchObject({ [code]: 1, stored: 0, forwarded: 0 });
    expect(h.ingest.drain()).toEqual([]);
    expect(h.toCommands).toEqual([]);
    expect(h.store.rows.size).toBe(0);
    expect(h.log.lines).toMatchObject([{ level: 'warn', fields: { code, field } }]);
    expect(h.balance()).toBe(0);
  });

  it.each([
    ['KR_NOT_JSON', 'kr/v1/home/n1/telemetry', '\u0000\u0001'],
    ['KR_ENVELOPE', 'kr/v1/home/n1/telemetry', '{"v":1}'],
    ['KR_TOPIC', 'kr/v1/home/n1/teleporter', '{}'],
    ['KR_TOO_LARGE', 'kr/v1/home/n1/telemetry', ' '.repeat(300_000)],
  ])('because it cannot be decoded counts as %s on %s', async (code, topic, payload) => {
    const h = await harness();
    h.raw(topic, payload);
    expect(h.ingest.counters()).toMatchObject({ [code]: 1 });
    expect(h.balance()).toBe(0);
  });

  it('is logged once per client and minute, however often it comes', async () => {
    const h = await harness();
    h.owner({ daemon: 'd2' });
    for (let count = 0; count < 500; count += 1) h.raw('kr/v1/home/n1/telemetry', 'x');
    h.raw('kr/v1/home/n1/telemetry', 'x', 'home/d2');
    expect(h.log.lines).toHaveLength(2);
    await h.clock.advance(60_000);
    h.raw('kr/v1/home/n1/telemetry', 'x');
    expect(h.log.lines).toHaveLength(3);
    expect(h.ingest.counters()).toMatchObject({ KR_NOT_JSON: 502, rejected: 502 });
  });

  it('from a credential that was withdrawn is refused from then on', async () => {
    const h = await harness();
    h.sample(1);
    h.owners.clear();
    h.sample(2);
    expect(h.ingest.counters()).toMatchObject({ queued: 1, KR_WRONG_IDENTITY: 1 });
  });

  it('stays refused for the rest of a session whose hello named the wrong driver', async () => {
    const h = await harness();
    const real = { name: 'host' as const, version: null, simulated: false, capabilities: [] };
    h.send(message('hello', helloBody({ driver: real })));
    h.sample(1);
    expect(h.ingest.counters()).toMatchObject({ KR_SIMULATED: 2, queued: 0 });
    const session = uuidOf(0xbeef);
    h.send(message('hello', helloBody(), { session }));
    h.sample(1, {}, { session });
    expect(h.ingest.counters()).toMatchObject({ KR_SIMULATED: 2, queued: 1 });
  });
});

describe('enrolment', () => {
  it('is all that a client with an enrolment token may send', async () => {
    const h = await harness();
    h.owner({ enrolling: true });
    h.send(message('enrol', { daemonVersion: '0.1.0', kernel: null }));
    h.sample(1);
    expect(h.toEnrolments).toMatchObject([{ client: 'home/d1', message: { node: 'n1' } }]);
    expect(h.ingest.counters()).toMatchObject({ KR_WRONG_IDENTITY: 1, queued: 0, forwarded: 1 });
  });

  it('reaches whoever redeems it, also for a daemon that has a credential to renew', async () => {
    const h = await harness();
    h.send(message('enrol', { daemonVersion: '0.1.0', kernel: null }));
    expect(h.toEnrolments).toMatchObject([{ client: 'home/d1', message: { node: 'n1' } }]);
    expect(h.ingest.counters()).toMatchObject({ KR_WRONG_IDENTITY: 0, forwarded: 1 });
  });
});

describe('what the state is given', () => {
  it('is the newest sample per node and every presence and hello, in order', async () => {
    const h = await harness();
    h.sample(1);
    h.send(message('presence', presence));
    h.sample(2);
    h.send(message('hello', helloBody()));
    h.sample(1, {}, { node: 'n2' });
    const inputs = h.ingest.drain();
    expect(inputs.map(({ kind }) => kind)).toEqual(['presence', 'telemetry', 'hello', 'telemetry']);
    expect(inputs[1]).toMatchObject({ message: { node: 'n1', seq: 2 } });
    expect(h.ingest.counters()).toMatchObject({ superseded: 1, forwarded: 2 });
    expect(h.ingest.drain()).toEqual([]);
    expect(h.toCommands.map(({ name }) => name)).toEqual(['presence', 'hello']);
  });

  it('is never an older sample than one that waits already', async () => {
    const h = await harness();
    h.sample(9, { incarnation: 2 });
    h.sample(8, { incarnation: 2 });
    h.sample(99, { incarnation: 1 });
    expect(h.ingest.drain()).toMatchObject([{ message: { seq: 9, body: { incarnation: 2 } } }]);
    expect(h.ingest.counters()).toMatchObject({ superseded: 2, queued: 3 });
  });

  it.each([
    ['the client that left it', 'home/d1'],
    ['its topic, where the broker hides who left it', null],
  ])('of a will is the end of every node of one daemon, known by %s', async (_, client) => {
    const h = await harness();
    h.owner({ daemon: 'd2', nodes: new Set(['n3']) });
    const session = uuidOf(7);
    h.send(message('presence', presence, { node: 'n3', session }), 'home/d2');
    h.toCommands.length = 0;
    h.ingest.drain();
    const will = { online: false, reason: 'will', load: null } as const;
    // The session of another daemon's node, should anyone ever learn it, ends with none of these.
    h.send(message('presence', will, { node: 'n1', session }), client);
    const told = h.toCommands.map(({ node, session: of }) => ({ node, of }));
    expect(told).toEqual([
      { node: 'n1', of: session },
      { node: 'n2', of: session },
    ]);
    const ended = h.ingest.drain().map((input) => 'message' in input && input.message.node);
    expect(ended).toEqual(['n1', 'n2']);
  });

  it('of any other presence is about the one node', async () => {
    const h = await harness();
    const online = { ...presence, reason: 'will' } as const;
    const goodbye = { online: false, reason: 'goodbye', load: null } as const;
    for (const body of [online, goodbye]) h.send(message('presence', body, { node: 'n1' }));
    expect(h.toCommands.map(({ node }) => node)).toEqual(['n1', 'n1']);
  });

  it('is announced, so that the pipeline may wake early', async () => {
    const h = await harness();
    let arrivals = 0;
    h.ingest.onArrival(() => (arrivals += 1));
    h.sample(1);
    h.raw('kr/v1/home/n1/telemetry', 'x');
    expect(arrivals).toBe(1);
  });
});

describe('behind an external broker, which hides who sent a message', () => {
  it('takes a node by its topic, and still nothing that only the server sends', async () => {
    const h = await harness();
    h.send(message('telemetry', telemetryBody(), { node: 'n7' }), null);
    h.send(message('verdict', { commandId: uuidOf(5), n: 1, state: 'FAILED', reason: null }), null);
    expect(h.ingest.counters()).toMatchObject({ queued: 1, KR_TOPIC: 1 });
  });
});

describe('stopping', () => {
  it('stores what is queued', async () => {
    const h = await harness();
    h.ingest.start();
    for (let seq = 1; seq <= 2_500; seq += 1) h.sample(seq);
    await h.ingest.stop();
    expect(h.stored()).toHaveLength(2_500);
    expect(h.balance()).toBe(0);
  });

  it('tries a failing store once, and leaves unreceipted what it did not take', async () => {
    const h = await harness();
    h.ingest.start();
    h.sample(1);
    h.store.fails = () => true;
    await h.ingest.stop();
    expect(h.ingest.counters()).toMatchObject({ queued: 1, stored: 0, writeFailures: 1 });
    expect(h.link.receipts).toEqual([]);
    expect(h.balance()).toBe(0);
  });

  it('ends within 5 s although the store hangs', async () => {
    const h = await harness();
    h.ingest.start();
    h.sample(1);
    h.store.gate = new Promise(() => undefined);
    let isStopped = false;
    const stopped = h.ingest.stop().then(() => (isStopped = true));
    await h.clock.advance(5_000);
    await stopped;
    expect(isStopped).toBe(true);
    expect(h.ingest.counters()).toMatchObject({ inFlight: 1, stored: 0 });
    expect(h.balance()).toBe(0);
  });
});

describe('the account of samples', () => {
  type Step =
    | { kind: 'sample'; node: string; incarnation: number; seq: number }
    | { kind: 'bad' }
    | { kind: 'wait'; ms: number }
    | { kind: 'store'; fails: boolean };
  const step: fc.Arbitrary<Step> = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        kind: fc.constant('sample' as const),
        node: fc.constantFrom('n1', 'n2'),
        incarnation: fc.integer({ min: 1, max: 3 }),
        seq: fc.integer({ min: 1, max: 25 }),
      }),
    },
    { weight: 1, arbitrary: fc.constant({ kind: 'bad' as const }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(12_000) }) },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant('store' as const), fails: fc.boolean() }),
    },
  );

  it('balances at every moment, and no receipt covers what is not in the store', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 120 }), async (steps) => {
        const h = await harness();
        h.ingest.start();
        let fails = false;
        h.store.fails = () => fails;
        const sent = new Set<string>();
        for (const each of steps) {
          if (each.kind === 'sample') {
            const { node, incarnation, seq } = each;
            h.sample(seq, { incarnation }, { node });
            sent.add(`home/${node}/${incarnation}/${seq}`);
          } else if (each.kind === 'bad') h.raw('kr/v1/home/n1/telemetry', '{');
          else if (each.kind === 'store') fails = each.fails;
          else await h.clock.advance(each.ms);
          expect(h.balance()).toBe(0);
        }
        // Holes are given up only after minutes of newer samples, which these runs are too short for.
        for (const { node, incarnation, storedSeq } of h.link.receipts) {
          for (let seq = 1; seq <= storedSeq; seq += 1) {
            expect(h.store.rows.has(`home/${node}/${incarnation}/${seq}`)).toBe(true);
          }
        }
        fails = false;
        await h.clock.advance(60_000);
        expect(new Set(h.store.rows.keys())).toEqual(sent);
        expect(h.ingest.counters()).toMatchObject({ queued: 0, inFlight: 0, stored: sent.size });
        expect(h.balance()).toBe(0);
      }),
      { numRuns: 60 },
    );
  });
});
