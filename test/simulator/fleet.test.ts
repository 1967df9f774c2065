import { afterEach, describe, expect, it } from 'vitest';
import { decode, encode } from '../../broker/contract/codec.ts';
import type { Message } from '../../broker/contract/messages.ts';
import { openDaemonClient } from '../../broker/client.ts';
import { memoryFiles } from '../../daemon/command/files.ts';
import { createFleet, type Fleet } from '../../simulator/fleet.ts';
import { type LiveWorld, liveWorld } from '../../simulator/live-world.ts';
import { executorMaker } from '../../simulator/parts.ts';
import { seededRandom } from '../../simulator/prng.ts';
import { buildFleetWorld } from '../../simulator/world/build.ts';
import { findNode, type WorldNode } from '../../simulator/world/model.ts';
import { crash, shutDown, wakeByMac } from '../../simulator/world/node-effects.ts';
import { realClock, secretOf, startBroker, type TestBroker } from '../broker/wire.ts';
import { idsOf } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { until } from '../support/servers.ts';

const cluster = 'sim-001';
type Rig = {
  broker: TestBroker;
  live: LiveWorld;
  fleet: Fleet;
  log: ReturnType<typeof memoryLog>;
  heard: (name: Message['name'], node?: string) => Message[];
};
const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function rig(nodes = 3): Promise<Rig> {
  const broker = await startBroker();
  closers.push(() => broker.broker.close());
  const world = buildFleetWorld({
    seed: 42,
    startMs: realClock.wallMs(),
    // A boot of 60 to 180 s then takes 17 to 50 ms.
    timeScale: 3_600,
    nodes,
    nodesPerCluster: nodes,
    guestsPerNode: 3,
    clusterPrefix: 'sim',
  });
  const live = liveWorld(world, realClock);
  const random = seededRandom(Date.now());
  const newId = idsOf(realClock, random);
  const log = memoryLog();
  const credentials = [...world.nodes.values()].map(({ spec: { node } }) => {
    const secret = secretOf(`${cluster}/${node}`);
    broker.directory.add({ cluster, daemon: node, simulated: true }, secret);
    const serverId = newId();
    return { cluster, node, daemon: node, secret, serverId, serverKeys: [] };
  });
  const fleet = createFleet({
    live,
    mqttUrl: broker.urls.mqttUrl,
    intervalMs: 250,
    credentials,
    diskOf: memoryFiles,
    makeExecutor: executorMaker({ clock: realClock, random, newId }),
    openClient: openDaemonClient,
    version: 'test',
    clock: realClock,
    newId,
    log,
  });
  closers.push(async () => {
    live.stop();
    await fleet.stop();
  });
  const heard = (name: Message['name'], node?: string): Message[] =>
    broker.received.flatMap(({ topic, payload }) => {
      const decoded = decode(topic, payload);
      if (!decoded.ok) throw new Error(JSON.stringify(decoded.rejection));
      const { message } = decoded;
      return message.name === name && (node ?? message.node) === message.node ? [message] : [];
    });
  return { broker, live, fleet, log, heard };
}

const nodeOf = (live: LiveWorld, node: string): WorldNode => {
  const found = findNode(live.world, cluster, node);
  if (found === undefined) throw new Error(`no node ${node}`);
  return found;
};

const presence = ({ heard }: Rig, node: string): string[] =>
  heard('presence', node).map((message) =>
    message.name === 'presence' ? message.body.reason : '',
  );
const hellos = ({ heard }: Rig, node: string) =>
  heard('hello', node).flatMap((message) => (message.name === 'hello' ? [message.body] : []));

describe('a fleet', () => {
  it('brings every daemon in on its own connection, with hello and full samples', async () => {
    const all = await rig();
    const { connected, connectMs } = await all.fleet.start(10_000);
    expect(connected).toBe(3);
    expect(connectMs).toBeGreaterThan(0);
    expect(all.broker.broker.stats().clients).toBe(3);
    for (const node of ['n0001', 'n0002', 'n0003']) {
      await until(() => all.heard('telemetry', node).length >= 2);
      expect(hellos(all, node)[0]).toMatchObject({ driver: { name: 'memory', simulated: true } });
      const [first, second] = all.heard('telemetry', node);
      expect(second?.seq).toBe((first?.seq ?? 0) + 1);
      expect(first?.name === 'telemetry' && first.body.guests).toHaveLength(3);
      expect(JSON.stringify(first?.body)).not.toBe(JSON.stringify(second?.body));
    }
    const sessions = new Set(all.heard('telemetry').map(({ session }) => session));
    expect(sessions.size).toBe(3);
    expect(all.fleet.counters().samples).toBeGreaterThanOrEqual(6);
  });

  it('grows and shrinks to the size that is wanted, saying goodbye, and follows another pace', async () => {
    const all = await rig();
    all.fleet.resize(1);
    expect(await all.fleet.start(10_000)).toMatchObject({ connected: 1 });
    expect(all.heard('presence', 'n0002')).toEqual([]);
    all.fleet.resize(3);
    await until(() => all.fleet.connected() === 3);
    all.fleet.resize(2);
    await until(() => presence(all, 'n0003').includes('goodbye') && all.fleet.running() === 2);
    // A node that is not wanted stays away when its power comes and goes.
    all.live.change((world) => crash(world, nodeOf(all.live, 'n0003')));
    all.live.change((world) => wakeByMac(world, [nodeOf(all.live, 'n0003').spec.mac], null));
    await until(() => nodeOf(all.live, 'n0003').power === 'on');
    expect([all.fleet.wanted(), all.fleet.running()]).toEqual([2, 2]);
    all.fleet.setPace(300);
    await until(() =>
      all
        .heard('telemetry', 'n0001')
        .some((message) => message.name === 'telemetry' && message.body.intervalMs === 300),
    );
    all.fleet.endSampling();
    const { sent, replayed } = all.fleet.counters();
    // What was handed over last is counted as sent when it has been written.
    await until(() => all.fleet.counters().sent === all.fleet.tally().handed - replayed);
    expect(all.fleet.counters().sent).toBeGreaterThanOrEqual(sent);
    expect(all.fleet.tally().breaks).toBe(0);
  });

  it('lets a node that loses power vanish with its will, and come back as a new boot', async () => {
    const all = await rig();
    await all.fleet.start(10_000);
    await until(() => hellos(all, 'n0002').length === 1);
    all.live.change((world) => crash(world, nodeOf(all.live, 'n0002')));
    await until(() => presence(all, 'n0002').includes('will'));
    expect(presence(all, 'n0002')).not.toContain('goodbye');
    await until(() => all.fleet.running() === 2);
    const { mac } = nodeOf(all.live, 'n0002').spec;
    all.live.change((world) => wakeByMac(world, [mac], null));
    await until(() => hellos(all, 'n0002').length === 2);
    const [before, after] = hellos(all, 'n0002');
    expect(after?.bootId).not.toBe(before?.bootId);
    expect(after?.journalId).toBe(before?.journalId);
    expect(after?.incarnation).toBe((before?.incarnation ?? 0) + 1);
    expect(presence(all, 'n0001')).toEqual(['birth']);
  });

  it('stops the daemon of a node that was shut down, without waiting for anybody', async () => {
    const all = await rig();
    await all.fleet.start(10_000);
    all.live.change((world) => shutDown(world, nodeOf(all.live, 'n0003'), 'node.shutdown', null));
    await until(() => all.fleet.running() === 2 && presence(all, 'n0003').includes('will'));
    const samples = all.heard('telemetry', 'n0003').length;
    const others = all.heard('telemetry', 'n0001').length;
    await until(() => all.heard('telemetry', 'n0001').length > others + 2);
    expect(all.heard('telemetry', 'n0003')).toHaveLength(samples);
  });

  it('survives a pulled cable in the same daemon, and loses no sample over it', async () => {
    const all = await rig(1);
    await all.fleet.start(10_000);
    await until(() => all.heard('telemetry').length > 0);
    all.fleet.drop([{ cluster, node: 'n0001' }]);
    await until(() => presence(all, 'n0001').includes('will'));
    await until(() => hellos(all, 'n0001').length === 2);
    const [before, after] = hellos(all, 'n0001');
    expect(after?.incarnation).toBe(before?.incarnation);
    expect(all.fleet.counters().sessions).toBe(2);
    expect(all.fleet.counters().dropped).toBe(0);
  });

  it('restarts daemons in one instant, each with its journal', async () => {
    const all = await rig(2);
    await all.fleet.start(10_000);
    await until(() => all.heard('hello').length === 2);
    all.fleet.restart([
      { cluster, node: 'n0001' },
      { cluster, node: 'n0002' },
    ]);
    await until(() => all.heard('hello').length === 4);
    for (const node of ['n0001', 'n0002']) {
      const [before, after] = hellos(all, node);
      expect(after?.incarnation).toBe((before?.incarnation ?? 0) + 1);
      expect(after?.bootId).toBe(before?.bootId);
    }
    await until(() => all.fleet.running() === 2);
  });

  it('knows after its last sample what the server has not confirmed', async () => {
    const all = await rig(1);
    await all.fleet.start(10_000);
    await until(() => all.heard('telemetry').length >= 2);
    all.fleet.endSampling();
    // One may be under way, and one may be said twice.
    const heard = () =>
      new Set(all.heard('telemetry').map((one) => (one.name === 'telemetry' ? one.seq : 0)));
    await until(() => heard().size === all.fleet.counters().samples);
    const { samples } = all.fleet.counters();
    expect(all.fleet.unconfirmed()).toBe(samples);
    const [sample] = all.heard('telemetry');
    if (sample?.name !== 'telemetry') throw new Error('no sample');
    const { id, cluster, node, session, body } = sample;
    const confirm = (storedSeq: number, incarnation = body.incarnation) =>
      all.broker.broker.publish(
        encode('receipt', {
          v: 1,
          id,
          cluster,
          node,
          session,
          seq: 0,
          sentAtMs: 0,
          body: { incarnation, storedSeq },
        }),
      );
    await confirm(samples - 1);
    await until(() => all.fleet.unconfirmed() === 1);
    await confirm(samples + 100, body.incarnation + 1);
    await until(() => all.fleet.unconfirmed() === samples);
    await confirm(samples);
    await until(() => all.fleet.unconfirmed() === 0);
    expect(all.fleet.counters().samples).toBe(samples);
  });

  it('says goodbye when it is stopped, and starts nothing afterwards', async () => {
    const all = await rig(2);
    await all.fleet.start(10_000);
    await all.fleet.stop();
    await until(() => presence(all, 'n0001').includes('goodbye'));
    expect(all.fleet.running()).toBe(0);
    const mac = nodeOf(all.live, 'n0001').spec.mac;
    all.live.change((world) => crash(world, nodeOf(all.live, 'n0001')));
    all.live.change((world) => wakeByMac(world, [mac], null));
    await until(() => nodeOf(all.live, 'n0001').power === 'on');
    expect(all.fleet.running()).toBe(0);
    expect(all.log.lines.filter(({ level }) => level === 'error')).toEqual([]);
  });
});
