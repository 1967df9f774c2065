/**
 * The smallest houses, one night of 8 h long, by commands of the public API from a timetable: a
 * mini PC beside a big server whose guests are parked, and two nodes with a QDevice. At 23 o'clock
 * one machine goes to sleep, at 5 it is woken because somebody wants it, and every guest must run
 * again. Beside them a house whose backend and broker are killed while three of its nodes sleep,
 * and whose power is cut then. `n` is the seconds that the night takes here.
 */
import { isTerminal } from '../../broker/contract/command.ts';
import { uuidv7 } from '../../broker/contract/ids.ts';
import { openDaemonClient } from '../../broker/client.ts';
import { memoryFiles } from '../../daemon/command/files.ts';
import { createApi } from '../../simulator/api.ts';
import { localServer } from '../../simulator/config.ts';
import { createFleet } from '../../simulator/fleet.ts';
import { type LiveWorld, liveWorld } from '../../simulator/live-world.ts';
import { executorMaker } from '../../simulator/parts.ts';
import { enrolAll } from '../../simulator/target.ts';
import { buildWorld, gibibyte, macOf } from '../../simulator/world/build.ts';
import type { GuestSpec, NodeSpec, World } from '../../simulator/world/model.ts';
import { crash, powerOn } from '../../simulator/world/node-effects.ts';
import { settleEnergy } from '../../simulator/world/power.ts';
import { realClock } from '../broker/wire.ts';
import { experiment, type Figures, pauseMs, type Scope } from '../support/experiment.ts';
import { memoryLog } from '../support/log.ts';
import { until } from '../support/servers.ts';
import { startStack } from '../support/stack.ts';
import { seededRandom } from '../support/clock.ts';

const hourMs = 3_600_000;
const nightMs = 8 * hourMs;
const sleptMs = 6 * hourMs;
const joulesPerKilowattHour = 3_600_000;

type Machine = readonly [node: string, watts: readonly [number, number], bootMs: number];

const machines: Readonly<Record<string, readonly Machine[]>> = {
  attic: [
    ['mini', [6, 24], 60_000],
    ['big', [110, 300], 180_000],
  ],
  pair: [
    ['left', [25, 95], 75_000],
    ['right', [40, 160], 90_000],
  ],
  trio: [
    ['n1', [10, 40], 60_000],
    ['n2', [10, 40], 60_000],
    ['n3', [40, 160], 90_000],
    ['n4', [40, 160], 90_000],
    ['n5', [40, 160], 90_000],
  ],
};

const nodesOf = (): NodeSpec[] =>
  Object.entries(machines).flatMap(([cluster, all], group) =>
    all.map(([node, [wattsIdle, wattsLoaded], bootMs], index) => ({
      cluster,
      node,
      rack: `${cluster}-${node}`,
      cpuModel: 'AMD EPYC 7302P',
      cpuCount: 16,
      singleThreadFactor: 1,
      memoryBytes: 64 * gibibyte,
      diskBytes: 2 ** 41,
      wattsIdle,
      wattsLoaded,
      votes: cluster === 'pair' ? 1 : 0,
      mac: macOf(0x20_00_00 + group * 16 + index),
      address: `192.168.${40 + group}.${index + 10}`,
      broadcast: `192.168.${40 + group}.255`,
      bootMs,
      migrationBytesPerSecond: 1.1e8,
      roles: [],
    })),
  );

const guestOf = (cluster: string, node: string, id: string, tags: string[]): GuestSpec => ({
  cluster,
  id,
  name: `guest-${id}`,
  kind: 'vm',
  node,
  cpuCount: 2,
  memoryBytes: 4 * gibibyte,
  diskBytes: 16 * gibibyte,
  load: { shape: 'constant', seed: Number(id), base: 0.1, swing: 0.05 },
  tags,
  running: true,
});

function worldOf(seed: number, timeScale: number): World {
  const world = buildWorld({
    seed,
    startMs: realClock.wallMs(),
    timeScale,
    nodes: nodesOf(),
    guests: [
      guestOf('attic', 'mini', '100', []),
      ...['101', '102', '103'].map((id) => guestOf('attic', 'big', id, ['kr_park'])),
      guestOf('pair', 'left', '200', []),
      guestOf('pair', 'right', '201', []),
      guestOf('pair', 'right', '202', []),
    ],
  });
  const pair = world.clusters.get('pair');
  if (pair) pair.qdeviceVotes = 1;
  return world;
}

/** Since the world began, settled up to now. */
function kilowattHours(live: LiveWorld, cluster: string): number {
  const joules = live.change((world) => {
    const nodes = world.clusters.get(cluster)?.nodes ?? [];
    for (const node of nodes) settleEnergy(world, node, world.nowMs);
    return nodes.reduce((sum, node) => sum + node.joules, 0);
  });
  return Number((joules / joulesPerKilowattHour).toFixed(3));
}

/** The same machines with nobody who switches them: what the night costs awake. */
function keepAwake(control: LiveWorld): () => void {
  const timer = setInterval(() => {
    for (const { spec, power } of control.world.nodes.values()) {
      if (power === 'on') control.cluster(spec.cluster).sample(spec.node);
    }
  }, 250);
  return () => clearInterval(timer);
}

const powerOf = (world: World, cluster: string, node: string) =>
  world.nodes.get(`${cluster}/${node}`)?.power;

const sleepingGuests = (world: World, cluster: string): string[] =>
  [...world.guests.values()]
    .filter(({ spec, state }) => spec.cluster === cluster && state !== 'running')
    .map(({ spec }) => spec.id);

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const timeScale = nightMs / 1_000 / n;
  const scaled = (durationMs: number): number => durationMs / timeScale;
  const stack = await startStack();
  const live = liveWorld(worldOf(seed, timeScale), realClock);
  const control = liveWorld(worldOf(seed, timeScale), realClock);
  const stopControl = keepAwake(control);
  const { world } = live;
  const server = localServer(stack.settings['KR_DATA_DIR'] ?? '');
  const api = createApi(server);
  const random = seededRandom(Date.now());
  const newId = (): string => uuidv7(Date.now(), random.bytes(16));
  const log = memoryLog();
  const violations: string[] = [];
  const credentials = await enrolAll(api, world);
  for (const cluster of world.clusters.keys()) await api.changeCluster(cluster, { timeScale });
  const fleet = createFleet({
    live,
    mqttUrl: server.mqttUrl,
    intervalMs: 500,
    credentials,
    diskOf: () => memoryFiles(),
    makeExecutor: executorMaker({ clock: realClock, random, newId }),
    openClient: openDaemonClient,
    version: '0.0.0-test',
    clock: realClock,
    newId,
    log,
  });

  /** As a person would: asks again while it is refused, and follows it to its end. */
  async function order(cluster: string, kind: string, node: string, more: object = {}) {
    let id = '';
    let refused = '';
    await until(
      async () => {
        try {
          ({ id } = await api.submit({ cluster, kind, node, args: {}, ...more }, newId()));
          return true;
        } catch (error) {
          refused = (error as Error).message;
          return false;
        }
      },
      { withinMs: 60_000, what: `${kind} of ${cluster}/${node} to be taken, not ${refused}` },
    );
    let last = await api.command(id);
    await until(async () => isTerminal((last = await api.command(id)).state), {
      withinMs: 120_000,
      what: `the end of ${kind} of ${cluster}/${node}`,
    });
    say(`${kind} ${cluster}/${node}: ${last.state}`);
    if (last.state !== 'SUCCEEDED') {
      violations.push(`${kind} of ${cluster}/${node} is ${last.state}: ${last.stateReason ?? ''}`);
    }
  }

  const move = (guest: string, from: string, to: string) =>
    order('pair', 'guest.migrate', from, { guest, args: { targetNode: to } });

  /** Its boot is proof of the wake; hello and first sample, which a target needs, come after. */
  const heard = (node: string) =>
    until(
      async () => {
        type Row = { id: string; state: string; simulated: boolean };
        const { items } = await stack.api.get<{ items: Row[] }>('nodes');
        return items.some((row) => row.id === node && row.state === 'awake' && row.simulated);
      },
      { withinMs: 60_000, what: `node ${node} to be heard` },
    );

  async function night(): Promise<Figures> {
    await order('attic', 'node.shutdown', 'big');
    for (const guest of ['201', '202']) await move(guest, 'right', 'left');
    await order('pair', 'node.shutdown', 'right');
    const parked = sleepingGuests(world, 'attic');
    if (parked.length !== 3) violations.push(`${parked.length} guests are parked, not 3`);
    await pauseMs(scaled(sleptMs));
    await order('attic', 'node.wake', 'big');
    await order('pair', 'node.wake', 'right');
    await heard('right');
    for (const guest of ['201', '202']) await move(guest, 'left', 'right');
    await until(() => sleepingGuests(world, 'attic').length === 0, {
      withinMs: 60_000,
      what: 'every parked guest to run again',
    });
    const starts = world.log.filter(({ kind, outcome }) => kind === 'guest.start' && outcome);
    if (starts.length !== 3) violations.push(`${starts.length} guests were started, not 3`);
    const cost = (cluster: string) => ({
      kilowattHours: kilowattHours(live, cluster),
      alwaysOnKilowattHours: kilowattHours(control, cluster),
    });
    const down = [...sleepingGuests(world, 'attic'), ...sleepingGuests(world, 'pair')];
    if (down.length > 0) violations.push(`guests ${down.join(', ')} do not run`);
    return { attic: cost('attic'), pair: cost('pair'), violations: [] };
  }

  /** The own node of the backend must say no, whatever is asked of it. */
  async function ownNode(): Promise<string[]> {
    const [own] = await api.nodes('local');
    const asked = ['node.drain', 'node.shutdown', 'node.reboot'];
    return Promise.all(
      asked.map(async (kind) => {
        const wish = { cluster: 'local', kind, node: own?.id ?? '', args: {} };
        const { body, status } = await stack.api.post<{ id: string }>('commands', wish);
        if (status >= 400) return `${kind}: ${status}`;
        let last = await api.command(body.id);
        await until(async () => isTerminal((last = await api.command(body.id)).state), {
          withinMs: 30_000,
          what: `the end of ${kind} of the own node`,
        });
        if (last.state !== 'REJECTED') violations.push(`${kind} of the own node: ${last.state}`);
        return `${kind}: ${last.state} ${last.stateReason ?? ''}`;
      }),
    );
  }

  async function blackout(): Promise<Figures> {
    // Every daemon hears of all the others once they all have said who they are.
    fleet.drop([...world.nodes.values()].map(({ spec }) => spec));
    await pauseMs(6_000);
    const sleepers = ['n3', 'n4', 'n5'];
    for (const node of sleepers) await order('trio', 'node.shutdown', node);
    const asleep = sleepers.filter((node) => powerOf(world, 'trio', node) === 'off');
    await stack.kill9();
    const from = world.log.length;
    live.change((all) => {
      for (const node of all.nodes.values()) crash(all, node);
    });
    // With the power back, those boot that their firmware switches on: not those that slept.
    live.change((all) => {
      for (const node of all.nodes.values()) {
        const isAsleep = node.spec.cluster === 'trio' && sleepers.includes(node.spec.node);
        if (!isAsleep) powerOn(all, node, 'node.boot', null);
      }
    });
    await until(() => sleepers.every((node) => powerOf(world, 'trio', node) === 'on'), {
      withinMs: 90_000,
      what: 'every sleeping node to be awake without a server',
    });
    const after = world.log.slice(from).filter(({ effect }) => effect === 'start');
    const others = after.filter(
      ({ kind }) => kind !== 'node.wake' && kind !== 'node.crash' && kind !== 'node.boot',
    );
    if (asleep.length !== 3) violations.push(`${asleep.length} nodes slept, not 3`);
    for (const { kind, node } of others) violations.push(`${kind} on ${node} without a server`);
    const begun = world.log
      .slice(from)
      .filter(
        ({ kind, effect, outcome }) => kind === 'node.wake' && effect === 'end' && outcome === 'ok',
      );
    return {
      asleep: asleep.length,
      woken: begun.length,
      otherEffects: others.length,
      violations: [],
    };
  }

  try {
    await fleet.start(30_000);
    await pauseMs(2_000);
    const figures = { night: await night(), own: await ownNode(), blackout: await blackout() };
    return { ...figures, timeScale, violations };
  } finally {
    stopControl();
    await fleet.stop();
    live.stop();
    control.stop();
    await api.close();
    await stack.remove();
  }
}

export const houses = experiment(import.meta, { name: 'houses', short: 24, long: 240, run });
