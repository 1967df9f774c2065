import type { Probe } from '../../../broker/contract/command.ts';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openDiskOutbox } from '../../../daemon/link/disk-outbox.ts';
import type { Report } from '../../../broker/contract/report.ts';
import { GuestFacts } from '../../../broker/contract/facts.ts';
import {
  type GuestSample,
  GuestSample as GuestSampleSchema,
} from '../../../broker/contract/telemetry.ts';
import { live, settle, startWorld, watermark, type World } from './twin.ts';

const seqsOf = ({ server }: World, key = 'pve1 1'): number[] =>
  [...(server.stored.get(key) ?? [])].sort((a, b) => a - b);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

/** The disk works outside the virtual clock. */
async function until(isDone: () => boolean, pass = settle): Promise<void> {
  const deadlineMs = performance.now() + 30_000;
  while (!isDone()) {
    if (performance.now() > deadlineMs) throw new Error('never happened');
    await pass();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('a session', () => {
  it('opens with will, birth and hello, and subscribes exact topics only', async () => {
    const world = await startWorld({ nodes: ['pve1', 'pve2'] });
    const { server, relay } = world;
    expect(server.credentials()).toMatchObject({ clientId: 'home/d1', username: 'home/d1' });
    expect(server.subscriptions()).toContain('kr/v1/home/pve2/grant');
    expect(server.subscriptions()).toHaveLength(1 + 2 * 6);
    expect(server.subscriptions().join()).not.toMatch(/[+#]/);
    for (const node of ['pve1', 'pve2']) {
      expect(server.of('presence', node)).toMatchObject([{ body: { reason: 'birth' } }]);
      expect(server.of('hello', node)).toHaveLength(1);
      expect(relay.online.get(node)).toBe(true);
    }
    const sessions = new Set(server.heard.map(({ session }) => session));
    expect(sessions.size).toBe(1);
    expect(server.will()).toMatchObject({
      node: 'pve1',
      session: [...sessions][0],
      body: { online: false, reason: 'will' },
    });
  });

  it('has an id of its own after every reconnect', async () => {
    const world = await startWorld();
    const first = world.server.session();
    world.server.cut();
    expect(world.relay.online.get('pve1')).toBe(false);
    world.server.connect();
    await settle();
    expect(world.server.session()).not.toBe(first);
    expect(world.server.will()?.session).toBe(world.server.session());
    expect(world.link.counters().sessions).toBe(2);
  });

  it('says alive every minute with what the daemon measured of itself', async () => {
    const world = await startWorld();
    await live(world, 150_000);
    const alive = world.server.of('presence').filter(({ body }) => body.reason === 'alive');
    expect(alive).toHaveLength(2);
    expect(alive[0]?.body.load).toMatchObject({ droppedSamples: 0, lagMs: 0, cpuRatio: null });
    expect(alive[0]?.body.load?.queuedSamples).toBeLessThanOrEqual(3);
  });

  it('repeats hello until it is answered, and stays silent once it is', async () => {
    const world = await startWorld({ server: (server) => void (server.answersHello = false) });
    await world.clock.advance(100_000);
    const asked = world.server.of('hello').length;
    expect(asked).toBeGreaterThanOrEqual(3);
    world.server.answersHello = true;
    await live(world, 40_000);
    expect(world.server.of('hello').length).toBe(asked + 1);
    await live(world, 200_000);
    expect(world.server.of('hello').length).toBe(asked + 1);
  });

  it('says hello again when the facts changed, within about a minute', async () => {
    const world = await startWorld();
    await live(world, 100_000);
    expect(world.server.of('hello')).toHaveLength(1);
    world.fleet.facts.set('pve1', { maintenance: true });
    await live(world, 100_000);
    expect(world.server.of('hello')).toHaveLength(2);
    expect(world.server.of('hello')[1]?.body.facts.maintenance).toBe(true);
  });

  it('says hello at once when a guest came, went or changed its lock, and not otherwise', async () => {
    const world = await startWorld();
    const guest = (id: string, lock: string | null = null): GuestSample =>
      GuestSampleSchema.parse({ id, kind: 'vm', name: id, state: 'running', lock }) as GuestSample;
    let count = 1;
    const change = async (guests: GuestSample[], facts: GuestFacts[]) => {
      world.fleet.guests = guests;
      world.fleet.guestFacts = facts;
      await live(world, 5_000);
      return world.server.of('hello').slice(count).length;
    };
    const facts = (id: string, lock: string | null = null) =>
      GuestFacts.parse({ id, kind: 'vm', name: id, lock });
    await live(world, 5_000);
    expect(await change([guest('100')], [facts('100')])).toBe(1);
    count += 1;
    expect(world.server.of('hello').at(-1)?.body.guests).toMatchObject([{ id: '100' }]);
    expect(await change([guest('100', 'migrate')], [facts('100', 'migrate')])).toBe(1);
    count += 1;
    expect(await change([guest('100', 'migrate')], [facts('100', 'migrate')])).toBe(0);
    expect(await change([], [])).toBe(1);
    expect(world.server.of('hello').at(-1)?.body.guests).toEqual([]);
  });

  it('asks about the quorum device every 20 s, and says hello when its vote changed', async () => {
    const world = await startWorld();
    const { fleet, server } = world;
    await live(world, 40_000);
    expect(fleet.device.questions).toBe(2);
    fleet.device.word = 'A,V';
    fleet.facts.set('pve1', { maintenance: true });
    await live(world, 20_000);
    expect(fleet.device.questions).toBe(3);
    expect(server.of('hello')).toHaveLength(2);
    await live(world, 20_000);
    expect(server.of('hello')).toHaveLength(2);
  });

  it('says hello at once after a command has ended, if that changed a fact', async () => {
    const world = await startWorld();
    const body: Report = {
      commandId: world.newId(),
      n: 2,
      journalId: world.newId(),
      incarnation: 1,
      step: 'finished',
      exitCode: 0,
      postcondition: true,
      detail: '',
      output: '',
    };
    await world.relay.say({ name: 'report', node: 'pve1', body });
    expect(world.server.of('hello')).toHaveLength(1);
    world.fleet.guestFacts = [GuestFacts.parse({ id: '100', kind: 'vm', name: 'a' })];
    await world.relay.say({ name: 'report', node: 'pve1', body });
    expect(world.server.of('hello')).toHaveLength(2);
  });

  it('says hello again when the server repeats itself, as one behind a broker does', async () => {
    const world = await startWorld();
    world.server.sendServer('{"hold":1}');
    world.server.sendServer('{"hold":2}');
    await world.clock.advance(10_000);
    expect(world.server.of('hello')).toHaveLength(1);
    world.server.sendServer('{"hold":2}');
    await world.clock.advance(10_000);
    expect(world.server.of('hello')).toHaveLength(2);
    expect(world.relay.delivered.filter(({ name }) => name === 'server')).toHaveLength(3);
  });

  it('ignores a sync of another session', async () => {
    const world = await startWorld({ server: (server) => void (server.answersHello = false) });
    const signed = {
      signed: JSON.stringify({
        session: world.newId(),
        storedIncarnation: 1,
        storedSeq: 9,
        intervalMs: 250,
      }),
      keyId: '0'.repeat(16),
      signature: Buffer.alloc(64).toString('base64'),
    };
    world.server.send('pve1', 'sync', signed);
    // The envelope claims the session, the signed content does not: the executor refuses it.
    world.server.send('pve1', 'sync', signed, world.server.session());
    await world.clock.advance(20_000);
    expect(world.server.of('telemetry')).toHaveLength(4);
    expect(world.link.counters().rejectedMessages).toBe(1);
    expect(world.relay.delivered.filter(({ name }) => name === 'sync')).toHaveLength(1);
  });
});

describe('telemetry', () => {
  it('counts from 1 without a gap and samples at the interval the server asks for', async () => {
    const world = await startWorld({ server: (server) => void (server.intervalMs = 1_000) });
    await live(world, 30_000);
    expect(world.server.of('telemetry').map(({ seq }) => seq)).toEqual(upTo(30));
    expect(world.server.of('telemetry')[0]?.body).toMatchObject({
      incarnation: 1,
      intervalMs: 1_000,
      guests: [],
    });
  });

  it('never overlaps samples of a node: slow ones skip beats, which are counted', async () => {
    const world = await startWorld();
    let release = (): void => undefined;
    world.fleet.sampleHook = () => new Promise((resolve) => (release = resolve));
    await world.clock.advance(20_000);
    world.fleet.sampleHook = undefined;
    release();
    await settle();
    await world.clock.advance(5_000);
    expect(world.link.counters()).toMatchObject({ skippedBeats: 3, samples: 2 });
    expect(world.server.of('telemetry').map(({ seq }) => seq)).toEqual([1, 2]);
  });

  it('goes on after a driver error, without using up a seq', async () => {
    const world = await startWorld();
    world.fleet.sampleHook = () => Promise.reject(new Error('driver is away'));
    await world.clock.advance(10_000);
    world.fleet.sampleHook = undefined;
    await world.clock.advance(5_000);
    expect(world.link.counters().failedSamples).toBe(2);
    expect(seqsOf(world)).toEqual([1]);
  });

  it('sends the node without its guests rather than a packet the broker would refuse', async () => {
    const world = await startWorld();
    world.fleet.guests = Array.from({ length: 501 }, (_, index) => ({
      id: String(index),
      kind: 'vm',
      name: '',
      state: 'running',
      tags: [],
    })) as unknown as GuestSample[];
    await world.clock.advance(5_000);
    expect(world.server.of('telemetry')[0]?.body).toMatchObject({ guests: null });
    expect(world.log.lines.some(({ message }) => message.includes('too many guests'))).toBe(true);
  });

  it('samples on while the network is frozen, and delivers all of it afterwards', async () => {
    const world = await startWorld();
    await live(world, 20_000);
    world.server.isMute = true;
    await world.clock.advance(40_000);
    expect(world.link.counters()).toMatchObject({ samples: 12, skippedBeats: 0 });
    world.server.isMute = false;
    world.server.cut();
    world.server.connect();
    await live(world, 20_000);
    expect(seqsOf(world)).toEqual(upTo(world.link.counters().samples));
  });

  it('lets receipts empty the ring', async () => {
    const world = await startWorld();
    await live(world, 300_000);
    const load = world.server.of('presence').at(-1)?.body.load;
    expect(load?.queuedSamples).toBeLessThanOrEqual(3);
    expect(world.server.duplicates).toBe(0);
    expect(world.link.counters()).toMatchObject({ replayed: 0, dropped: 0 });
  });
});

describe('replay', () => {
  it('fills exactly the hole of an outage, behind live samples', async () => {
    const world = await startWorld();
    await live(world, 60_000);
    const before = watermark(world.server.stored.get('pve1 1'));
    world.server.cut();
    await world.clock.advance(120_000);
    expect(seqsOf(world)).toEqual(upTo(before));
    world.server.connect();
    await live(world, 60_000);
    const { samples, replayed } = world.link.counters();
    expect(seqsOf(world)).toEqual(upTo(samples));
    expect(replayed).toBe(24);
    expect(world.server.duplicates).toBe(0);
    const order = world.server.of('telemetry').map(({ seq }) => seq);
    const firstLive = order.indexOf(before + 25);
    expect(firstLive).toBeLessThan(order.indexOf(before + 24));
  });

  it('keeps message id, seq and incarnation, under the new session', async () => {
    const world = await startWorld({ server: (server) => void (server.passes = () => false) });
    await world.clock.advance(10_000);
    world.server.cut();
    world.server.passes = () => true;
    world.server.connect();
    await live(world, 20_000);
    const [original, again] = world.server.of('telemetry').filter(({ seq }) => seq === 1);
    expect(again).toMatchObject({ id: original?.id, seq: 1, session: world.server.session() });
    expect(again?.body).toEqual(original?.body);
    expect(again?.session).not.toBe(original?.session);
  });

  it('finds out by itself that samples of a living session were lost', async () => {
    const world = await startWorld();
    await live(world, 60_000);
    const from = watermark(world.server.stored.get('pve1 1'));
    const lost = new Set([from + 1, from + 3]);
    world.server.passes = ({ seq }) => !lost.delete(seq);
    await live(world, 120_000);
    const { samples, replayed, sessions } = world.link.counters();
    expect(seqsOf(world)).toEqual(upTo(samples));
    expect(sessions).toBe(1);
    expect(replayed).toBeGreaterThanOrEqual(2);
    expect(replayed).toBeLessThanOrEqual(12);
  });

  it('survives lost receipts: nothing is missing and repetitions stay rare', async () => {
    const world = await startWorld();
    await world.clock.advance(600_000);
    world.server.receipts();
    await live(world, 30_000);
    const { samples, replayed, dropped } = world.link.counters();
    expect(seqsOf(world)).toEqual(upTo(samples));
    expect(dropped).toBe(0);
    // Where samples are overdue the daemon says hello, whose answer is as good as a receipt.
    expect(replayed).toBeLessThanOrEqual(samples / 4);
  });

  it('adds at most a quarter to the load of a server that has too much to do', async () => {
    for (const intervalMs of [1_000, 5_000]) {
      const world = await startWorld({
        settings: { intervalMs },
        server: (server) => void (server.intervalMs = intervalMs),
      });
      await live(world, 20_000);
      world.server.passes = () => false;
      const before = world.link.counters().samples;
      await live(world, 1_200_000);
      const { samples, replayed } = world.link.counters();
      expect(replayed).toBeGreaterThan(0);
      expect(replayed).toBeLessThanOrEqual((samples - before) / 4);
    }
  });

  it('sends a long gap again faster and faster as receipts come, and nothing twice', async () => {
    const world = await startWorld();
    await live(world, 60_000);
    world.server.passes = () => false;
    await live(world, 300_000);
    world.server.passes = () => true;
    const { replayed: before, samples: taken } = world.link.counters();
    const gap = taken - watermark(world.server.stored.get('pve1 1'));
    expect(gap).toBeGreaterThan(50);
    // At most the patience of now, and 10 s for each doubling.
    await live(world, 240_000 + 80_000);
    const { replayed } = world.link.counters();
    expect(seqsOf(world).slice(0, taken)).toEqual(upTo(taken));
    expect(replayed - before).toBeLessThanOrEqual(gap * 2);
  });

  it('counts what the ring cannot keep, and loses nothing else', async () => {
    const settings = { ring: { ageMaxMs: 120_000, bytesMax: 2 ** 20 } };
    const world = await startWorld({ settings });
    await live(world, 30_000);
    const before = watermark(world.server.stored.get('pve1 1'));
    world.server.cut();
    await world.clock.advance(300_000);
    const { dropped } = world.link.counters();
    expect(dropped).toBeGreaterThan(30);
    world.server.connect();
    await live(world, 300_000);
    const missing = [...world.server.givenUp].sort((x, y) => x - y);
    expect(missing).toEqual(upTo(missing.length).map((count) => before + count));
    expect(missing.length).toBeGreaterThanOrEqual(dropped);
    expect(missing.length).toBeLessThanOrEqual(world.link.counters().dropped);
    expect(seqsOf(world)).toEqual(upTo(world.link.counters().samples));
    const alive = world.server.of('presence').filter(({ body }) => body.reason === 'alive');
    expect(alive.at(-1)?.body.load?.droppedSamples).toBeGreaterThanOrEqual(dropped);
  });

  it('believes a server that was restored from a backup and fills its gap again', async () => {
    const world = await startWorld();
    await live(world, 60_000);
    world.server.passes = () => true;
    await world.clock.advance(9_000);
    world.server.cut();
    const seqs = world.server.stored.get('pve1 1') ?? new Set();
    const lastKept = watermark(seqs) - 1;
    seqs.delete(lastKept + 1);
    world.server.connect();
    await live(world, 30_000);
    expect(seqsOf(world)).toEqual(upTo(world.link.counters().samples));
  });
});

describe('the disk outbox behind the ring', () => {
  it('carries a long outage and a restart: all samples arrive with their own numbers', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'kr-outbox-'));
    const open = () => openDiskOutbox({ folder, bytesMax: 8 * 2 ** 20, segmentBytes: 16 * 1024 });
    const settings = { ring: { ageMaxMs: 60_000, bytesMax: 2 ** 20 } };
    try {
      const first = await open();
      const world = await startWorld({ settings, disk: first });
      await live(world, 30_000);
      world.server.cut();
      await world.clock.advance(300_000);
      await until(() => first.count() > 40);
      const { samples } = world.link.counters();
      const stopped = world.link.stop();
      await world.clock.advance(2_000);
      await stopped;

      const second = await open();
      const again = await startWorld({ settings, disk: second, incarnation: 2, before: world });
      await until(
        () => second.count() === 0,
        () => live(again, 500),
      );
      expect(seqsOf(again, 'pve1 1')).toEqual(upTo(samples));
      expect(seqsOf(again, 'pve1 2')).toEqual(upTo(again.link.counters().samples));
      expect(world.link.counters().dropped + again.link.counters().dropped).toBe(0);
      const end = again.link.stop();
      await again.clock.advance(2_000);
      await end;
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('takes no receipt of a later sample for one of an earlier start that went astray', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'kr-outbox-'));
    const open = () => openDiskOutbox({ folder, bytesMax: 8 * 2 ** 20, segmentBytes: 16 * 1024 });
    try {
      const world = await startWorld({ disk: await open() });
      await live(world, 30_000);
      world.server.cut();
      await world.clock.advance(60_000);
      const { samples } = world.link.counters();
      const stopped = world.link.stop();
      await world.clock.advance(2_000);
      await stopped;

      const disk = await open();
      // A broker between takes everything; who stores hears only what is sent live, for a minute.
      let isDeaf = true;
      world.server.passes = ({ body }) => !isDeaf || body.incarnation === 2;
      const again = await startWorld({ disk, incarnation: 2, before: world });
      await until(
        () => again.link.counters().replayed >= disk.count(),
        () => live(again, 500),
      );
      const held = disk.count();
      await live(again, 60_000);
      expect(held).toBeGreaterThan(10);
      expect(disk.count()).toBe(held);
      isDeaf = false;
      await until(
        () => disk.count() === 0,
        () => live(again, 5_000),
      );
      expect(seqsOf(again, 'pve1 1')).toEqual(upTo(samples));
      expect(seqsOf(again, 'pve1 2')).toEqual(upTo(again.link.counters().samples));
      const session = again.server.session();
      const [first] = again.server
        .of('telemetry')
        .filter((message) => message.body.incarnation === 1 && message.session === session);
      expect(first?.body.confirmedSeq).toBe(samples - held);
      const end = again.link.stop();
      await again.clock.advance(2_000);
      await end;
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('commands', () => {
  it('looks for a host in its network only as a witness who was told where', async () => {
    const sought: (readonly string[])[] = [];
    const seen = { postcondition: true, detail: 'silence' };
    const world = await startWorld({
      reach: async (addresses) => {
        sought.push(addresses);
        return seen;
      },
    });
    const probe: Probe = {
      commandId: world.newId(),
      kind: 'node.shutdown',
      target: { kind: 'node', id: 'pve2' },
      args: {},
      role: 'witness',
      addresses: ['192.168.7.12'],
    };
    const { addresses: _where, ...blind } = probe;
    const own = { ...probe, target: { kind: 'node' as const, id: 'pve1' } };
    for (const body of [blind, own, { ...probe, role: 'executor' as const }, probe]) {
      world.server.send('pve1', 'probe', body);
      await settle();
    }
    expect(sought).toEqual([probe.addresses]);
    const delivered = world.relay.delivered.filter(({ name }) => name === 'probe');
    expect(delivered.map((message) => 'reach' in message)).toEqual([false, false, false, true]);
    expect(delivered.at(-1)).toEqual({ name: 'probe', node: 'pve1', body: probe, reach: seen });
  });

  it('relays to the executor untouched and says what the executor says', async () => {
    const world = await startWorld();
    const commandId = world.newId();
    const target = { kind: 'node', id: 'pve1' } as const;
    const offer = { commandId, kind: 'node.shutdown', target, args: { mode: 'poweroff' } } as const;
    const body = { ...offer, generation: 1, epoch: 1, ttlMs: 60_000 };
    world.server.send('pve1', 'offer', body);
    await settle();
    expect(world.relay.delivered.at(-1)).toEqual({ name: 'offer', node: 'pve1', body });
    const common = { commandId, n: 1, journalId: world.newId(), incarnation: 1 };
    const report = { ...common, step: 'accepted' } as const;
    await world.relay.say({ name: 'report', node: 'pve1', body: report });
    expect(world.server.of('report')).toMatchObject([{ node: 'pve1', body: report, seq: 0 }]);
  });

  it('drops garbage, foreign nodes and its own kinds of message, and counts them', async () => {
    const world = await startWorld();
    const receipt = { incarnation: 1, storedSeq: 5 };
    world.server.send('other', 'receipt', receipt);
    world.server.sendServer('');
    const before = world.relay.delivered.length;
    world.server.send('pve1', 'enrolled', {
      daemon: 'd1',
      secret: 'a'.repeat(64),
      serverId: world.newId(),
      serverKeys: [{ keyId: '0'.repeat(16), publicKey: Buffer.alloc(32).toString('base64') }],
      simulated: false,
    });
    await settle();
    expect(world.link.counters().rejectedMessages).toBe(2);
    expect(world.relay.delivered.length).toBe(before);
  });

  it('says goodbye for one node before its host goes down, then answers', async () => {
    const world = await startWorld({ nodes: ['pve1', 'pve2'] });
    await world.relay.say({ name: 'goodbye', node: 'pve2' });
    const said = world.server.of('presence').at(-1);
    expect(said).toMatchObject({ node: 'pve2', body: { online: false, reason: 'shutdown' } });
  });

  it('says hello again when its host is still there after that goodbye', async () => {
    const world = await startWorld({ nodes: ['pve1', 'pve2'] });
    await live(world, 5_000);
    const before = world.server.of('hello').filter(({ node }) => node === 'pve2').length;
    await world.relay.say({ name: 'goodbye', node: 'pve2' });
    await live(world, 120_000);
    const hellos = world.server.of('hello').filter(({ node }) => node === 'pve2');
    expect(hellos).toHaveLength(before + 1);
  });

  it('does not hold up a shutdown for longer than 2 s on a dead network', async () => {
    const world = await startWorld();
    world.server.isMute = true;
    let isAnswered = false;
    const goodbye = Promise.resolve(world.relay.say({ name: 'goodbye', node: 'pve1' })).then(
      () => (isAnswered = true),
    );
    await world.clock.advance(1_999);
    expect(isAnswered).toBe(false);
    await world.clock.advance(1);
    await goodbye;
    expect(isAnswered).toBe(true);
  });
});

describe('stop', () => {
  it('says goodbye for every node, disconnects and leaves no timer', async () => {
    const world = await startWorld({ nodes: ['pve1', 'pve2'] });
    await live(world, 20_000);
    await world.link.stop();
    const goodbyes = world.server.of('presence').filter(({ body }) => body.reason === 'goodbye');
    expect(goodbyes.map(({ node }) => node)).toEqual(['pve1', 'pve2']);
    expect(world.server.online()).toBe(false);
    expect(world.clock.pending()).toBe(0);
    await world.link.stop();
  });

  it('ends within 2 s although the network answers nothing', async () => {
    const world = await startWorld();
    world.server.isMute = true;
    let isStopped = false;
    const stopped = world.link.stop().then(() => (isStopped = true));
    await world.clock.advance(2_000);
    await stopped;
    expect(isStopped).toBe(true);
    expect(world.clock.pending()).toBe(0);
  });
});

describe('one daemon with 32 nodes', () => {
  it('samples each at a phase of its own and keeps all apart through an outage', async () => {
    const nodes = Array.from({ length: 32 }, (_, index) => `n${index}`);
    const world = await startWorld({ nodes });
    await world.clock.advance(5_000);
    const sentAt = world.server.of('telemetry').map(({ sentAtMs }) => sentAtMs);
    expect(sentAt).toHaveLength(32);
    expect(new Set(sentAt).size).toBeGreaterThan(24);
    await live(world, 30_000);
    world.server.cut();
    await world.clock.advance(60_000);
    world.server.connect();
    await live(world, 60_000);
    for (const node of nodes) {
      const seqs = seqsOf(world, `${node} 1`);
      expect(seqs.length).toBeGreaterThanOrEqual(30);
      expect(seqs).toEqual(upTo(seqs.length));
    }
    const { samples, dropped } = world.link.counters();
    const stored = [...world.server.stored.values()].reduce((sum, { size }) => sum + size, 0);
    expect({ stored, dropped, duplicates: world.server.duplicates }).toEqual({
      stored: samples,
      dropped: 0,
      duplicates: 0,
    });
    expect(world.server.of('hello')).toHaveLength(64);
  });
});
