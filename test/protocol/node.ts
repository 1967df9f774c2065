/**
 * One daemon on one host of the world: the production executor over a disk that can lose power,
 * and a small agent in front of it that keeps sessions as the real one does. Process and host die
 * apart from each other, at any durable step; a dead one reaches neither disk, world, clock nor
 * wire any more, and the next one opens what the disk kept.
 */
import type { Bodies } from '../../broker/contract/messages.ts';
import type { Clock, NewId } from '../../broker/contract/ports.ts';
import type { ServerKey } from '../../broker/contract/server.ts';
import type {
  ExecutorPort,
  FromExecutor,
  Introduction,
  ToExecutor,
} from '../../daemon/command/executor-port.ts';
import { createExecutor } from '../../daemon/command/executor.ts';
import { JournalError } from '../../daemon/command/journal.ts';
import { LocalPolicy } from '../../daemon/command/local-policy.ts';
import { memoryLog } from '../support/log.ts';
import type { Chance } from './chance.ts';
import { createDisk, type Disk } from './disk.ts';
import {
  createDriver,
  createWaker,
  driverOf,
  guestFactsOn,
  nodeFactsOf,
  sampleOf,
} from './driver.ts';
import type { ClusterPlan } from './houses.ts';
import type { FromNode, NodeEnd, ServerMessage, Wire } from './wire.ts';
import type { Host, World } from './world.ts';

export type Death = 'process' | 'power';

/** What a judge must see of a daemon, beside what it does to the world. */
export type NodeWatch = {
  /** Right before a message leaves: what it says must already be durable. */
  onSay(node: SimNode, message: FromExecutor): void;
  onIntroduction(
    node: SimNode,
    kept: { promised: Buffer; found: Buffer },
    said: Introduction,
  ): void;
  onJournalLost(node: SimNode): void;
};

export type NodeDeps = {
  plan: ClusterPlan;
  host: Host;
  clock: Clock;
  chance: Chance;
  newId: NewId;
  world: World;
  keys: readonly ServerKey[];
  wire: Wire;
  watch: NodeWatch;
  /** Nothing is lost or late any more. */
  isCalm: () => boolean;
};

export type SimNode = NodeEnd & {
  cluster: string;
  name: string;
  host: Host;
  disk: Disk;
  crashes: number;
  isUp(): boolean;
  start(): void;
  die(how: Death): void;
  /** It dies at its so-many-th step from now. */
  doom(how: Death, steps: number): void;
  /** The disk is replaced by an empty one while the daemon is down. */
  loseDisk(): void;
  setHold(isHeld: boolean): void;
  /** Since when the HOLD file stands here; null: it does not. */
  heldSinceMs(): number | null;
  /** A broken connection: the session ends, another one begins when the network lets it. */
  disconnect(): void;
  hostIsOff(): void;
};

/** Fresh are samples of up to three intervals. */
const sampleEveryMs = 15_000;
/** In a whole network, where none is lost: still within what is fresh. */
const calmSampleEveryMs = 40_000;
const helloAgainMs = 8_000;
const upkeepMs = 30_000;
const aliveEveryMs = 60_000;
/** Said again without any change, should the last one have been lost. */
export const helloEveryMs = 600_000;

export function createNode(deps: NodeDeps): SimNode {
  const { plan, host, clock, chance, newId, world, wire, watch } = deps;
  const { cluster } = host;
  const name = host.plan.name;
  let life = 0;
  let session: string | null = null;
  let executor: ExecutorPort | null = null;
  let isSynced = false;
  let heldSinceMs: number | null = null;
  let lastKey = '';
  let helloAtMs = 0;
  let incarnation = 1;
  let seq = 0;
  let doomed: { how: Death; steps: number } | null = null;

  const isAlive = (mine: number): boolean => mine === life && host.isOn;
  /** Counts a step; true when this was its last one. */
  const diesHere = (): boolean => {
    if (!doomed) return false;
    doomed.steps -= 1;
    if (doomed.steps > 0) return false;
    node.die(doomed.how);
    return true;
  };
  const pause = (): Promise<void> =>
    new Promise((done) => void clock.after(chance.between(0, 20), done));
  const disk = createDisk({ chance, at: () => diesHere(), pause });

  function say<N extends FromNode>(what: N, body: Bodies[N], as = session): void {
    if (as === null) return;
    const head = { v: 1 as const, id: newId(), cluster, node: name, session: as };
    if (what === 'telemetry') seq += 1;
    const stamp = { seq: what === 'telemetry' ? seq : 0, sentAtMs: clock.wallMs() };
    wire.fromNode(what, { ...head, ...stamp, body });
  }
  function onOutgoing(mine: number, message: FromExecutor): void {
    if (!isAlive(mine)) return;
    watch.onSay(node, message);
    if (diesHere()) return;
    if (message.name === 'goodbye') {
      lastKey = '';
      say('presence', { online: false, reason: 'shutdown', load: null });
    } else if (message.name === 'claim') say('claim', message.body);
    else if (message.name === 'report') say('report', message.body);
    // Its next look says hello again.
    else lastKey = '';
  }
  function build(mine: number): ExecutorPort {
    const alive = () => isAlive(mine);
    const own: Clock = {
      ...clock,
      after: (delayMs, run) => clock.after(delayMs, () => (alive() ? run() : undefined)),
    };
    const being = { isAlive: alive, diesAt: diesHere };
    const built = createExecutor({
      cluster,
      files: disk.files(alive),
      hypervisor: createDriver({ world, plan, host, clock: own, life: being }),
      wakers: [createWaker({ world, host, life: being })],
      serverKeys: () => deps.keys,
      readPolicy: async () => ({ ok: true, policy: LocalPolicy.parse({}) }),
      isHeld: async () => heldSinceMs !== null,
      observeOnly: false,
      clock: own,
      random: chance,
      newId,
      log: memoryLog(),
    });
    built.onOutgoing((message) => onOutgoing(mine, message));
    return built;
  }
  const later = (mine: number, delayMs: number, run: () => unknown): void =>
    void clock.after(delayMs, () => (isAlive(mine) ? run() : undefined) as void);

  /** All that may change in a description, in a form that costs little to compare. */
  const descriptionKey = (localHold: boolean): string => {
    const guests = world.guestsOn(cluster, name);
    const said = guests.map(({ id, lock, cpuCount }) => `${id} ${lock} ${cpuCount}`);
    return [host.bootId, localHold, ...world.membersSeenBy(host), ...said].join();
  };
  async function greet(mine: number, as: string): Promise<void> {
    if (!isAlive(mine) || session !== as || !executor) return;
    const isDue = !isSynced || clock.monotonicMs() - helloAtMs >= helloEveryMs;
    if (isDue || descriptionKey(heldSinceMs !== null) !== lastKey) {
      helloAtMs = clock.monotonicMs();
      const { localHold, wakeTableVersion, ...known } = await executor.introduce(name);
      if (!isAlive(mine) || session !== as) return;
      incarnation = known.incarnation;
      lastKey = descriptionKey(localHold);
      const driver = driverOf(plan);
      const facts = nodeFactsOf(world, plan, host);
      const guests = guestFactsOn(world, host);
      const { bootId } = host;
      say('hello', { ...known, bootId, driver, facts, guests, localHold, wakeTableVersion });
    }
    later(mine, isSynced ? upkeepMs : helloAgainMs, () => greet(mine, as));
  }
  function sample(mine: number, as: string): void {
    if (session !== as) return;
    const { node: values, guests, membersOnline, versions } = sampleOf(world, plan, host);
    const taken = { incarnation, sampledAtMs: clock.wallMs(), intervalMs: sampleEveryMs };
    say('telemetry', { ...taken, node: values, guests, versions, membersOnline });
    later(mine, deps.isCalm() ? calmSampleEveryMs : sampleEveryMs, () => sample(mine, as));
  }
  function beAlive(mine: number, as: string): void {
    if (session !== as) return;
    say('presence', { online: true, reason: 'alive', load: null });
    later(mine, aliveEveryMs, () => beAlive(mine, as));
  }
  function connect(mine: number): void {
    const as = newId();
    session = as;
    isSynced = false;
    say('presence', { online: true, reason: 'birth', load: null });
    wire.greet(cluster, name);
    executor?.connected(name, true);
    void greet(mine, as);
    later(mine, chance.between(100, sampleEveryMs), () => sample(mine, as));
    later(mine, aliveEveryMs, () => beAlive(mine, as));
  }
  /** The broker notices a broken socket at once, a silent one after its keepalive. */
  function endSession(noticedAfterMs: number): void {
    const was = session;
    session = null;
    if (was === null) return;
    clock.after(noticedAfterMs, () =>
      say('presence', { online: false, reason: 'will', load: null }, was),
    );
  }
  const leaveIfNoJournal = (error: unknown): undefined => {
    if (!(error instanceof JournalError)) throw error;
  };
  /** One whose journal could not be opened is about to end. */
  const give = (to: ExecutorPort, message: ToExecutor) =>
    to.deliver(message).catch(leaveIfNoJournal);
  async function open(mine: number): Promise<void> {
    const kept = { promised: disk.promised(), found: disk.content('journal') ?? Buffer.alloc(0) };
    executor = build(mine);
    const said = await executor.introduce(name).catch(leaveIfNoJournal);
    if (!isAlive(mine)) return;
    // A disk that fails at the start ends the daemon; its supervisor tries again.
    if (!said) return node.die('process');
    watch.onIntroduction(node, kept, said);
    incarnation = said.incarnation;
    seq = 0;
    connect(mine);
  }
  function end(noticedAfterMs: number): void {
    life += 1;
    doomed = null;
    executor = null;
    endSession(noticedAfterMs);
  }
  async function takeSync(to: ExecutorPort, message: ServerMessage & { name: 'sync' }) {
    const mine = life;
    const as = session;
    if (as === null || message.session !== as) return;
    const sync = { name: 'sync', node: name, session: as, body: message.body } as const;
    const checked = await give(to, sync);
    if (checked && mine === life && session === as) isSynced = true;
  }
  const node: SimNode = {
    cluster,
    name,
    host,
    disk,
    crashes: 0,
    isUp: () => executor !== null && host.isOn,
    start() {
      if (executor !== null || !host.isOn) return;
      life += 1;
      void open(life);
    },
    die(how) {
      if (!host.isOn || executor === null) return;
      node.crashes += 1;
      if (how === 'power') return world.cutPower(host);
      return end(chance.between(0, 2_000));
    },
    hostIsOff() {
      disk.powerLoss();
      end(chance.between(2_000, 45_000));
    },
    doom: (how, steps) => void (doomed = { how, steps }),
    loseDisk() {
      disk.replace();
      watch.onJournalLost(node);
    },
    setHold: (held) => void (heldSinceMs = held ? (heldSinceMs ?? clock.monotonicMs()) : null),
    heldSinceMs: () => heldSinceMs,
    disconnect() {
      if (session === null) return;
      const mine = life;
      executor?.connected(name, false);
      endSession(chance.between(0, 30_000));
      const again = (): void => {
        if (session !== null || executor === null) return;
        if (chance.is(0.3)) return later(mine, 5_000, again);
        return connect(mine);
      };
      later(mine, chance.between(500, 20_000), again);
    },
    receive(message: ServerMessage) {
      if (!host.isOn || !executor) return;
      if (message.name === 'server') void give(executor, message);
      else if (session !== null && message.name === 'sync') void takeSync(executor, message);
      else if (session !== null) {
        const { name: what, body } = message;
        void give(executor, { name: what, node: name, body } as ToExecutor);
      }
    },
  };
  return node;
}
