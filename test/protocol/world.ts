/**
 * The world the simulation acts on: hosts with power and votes, guests, tasks, and an append-only
 * log of effects, the only ground truth. What a hypervisor began goes on when the daemon that
 * asked for it dies, and ends when its host does. Nothing here shares code with the product.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import type { Clock, NewId } from '../../broker/contract/ports.ts';
import type { Work } from '../../daemon/hypervisor/port.ts';
import type { Chance } from './chance.ts';
import type { ClusterPlan, HostPlan } from './houses.ts';

export type Host = {
  cluster: string;
  plan: HostPlan;
  isOn: boolean;
  bootId: string;
  bootedAtMs: number;
  /** When it last lost power, and whether a command took it. */
  downAtMs: number;
  downBy: 'command' | 'world' | null;
  /** Its neighbours' corosync notices within seconds only. */
  noticedAtMs: number;
};

export type Guest = {
  cluster: string;
  id: string;
  node: string;
  isRunning: boolean;
  lock: string | null;
  lockedAtMs: number;
  cpuCount: number;
  /** Commands that restarted it, newest last. */
  restartedBy: string[];
};

export type Began = {
  commandId: string;
  cluster: string;
  kind: CommandKind;
  target: string;
  /** Who did it, in which boot. */
  node: string;
  bootId: string;
  atMs: number;
};

export type Task = {
  handle: string;
  work: Work;
  host: Host;
  bootId: string;
  state: 'running' | 'ended' | 'dead';
  exitCode: number;
  endsAtMs: number;
  waiting: (() => void)[];
};

export type Listener = {
  onEffect(effect: Began, work: Work | null): void;
  /** The host is off, and the votes of its cluster are what they are now. */
  onOff(host: Host, by: 'command' | 'world', commandId: string | null): void;
  onBoot(host: Host): void;
};

export type World = ReturnType<typeof createWorld>;
export type WorldDeps = {
  clock: Clock;
  chance: Chance;
  newId: NewId;
  clusters: readonly ClusterPlan[];
  listener: Listener;
};

const longAgoMs = -7_200_000;

export function createWorld({ clock, chance, newId, clusters, listener }: WorldDeps) {
  const effects: Began[] = [];
  /** Commands whose effect has become true in this world, and when. */
  const ended = new Map<string, number>();
  /** Commands whose post-condition somebody has truly seen, or seen not to hold. */
  const seenTrue = new Set<string>();
  const seenFalse = new Set<string>();
  const tasks = new Map<string, Task>();
  const hosts = new Map<string, Host>();
  const guests = new Map<string, Guest>();
  const wakes = { sent: 0, failed: 0, boots: 0 };
  for (const { id: cluster, hosts: plans, guests: residents } of clusters) {
    for (const plan of plans) {
      hosts.set(`${cluster}/${plan.name}`, {
        cluster,
        plan,
        isOn: true,
        bootId: newId(),
        bootedAtMs: longAgoMs,
        downAtMs: longAgoMs,
        downBy: null,
        noticedAtMs: longAgoMs,
      });
    }
    for (const { id, node, isRunning } of residents) {
      const rest = { lock: null, lockedAtMs: 0, cpuCount: 2, restartedBy: [] };
      guests.set(`${cluster}/${id}`, { cluster, id, node, isRunning, ...rest });
    }
  }
  const now = (): number => clock.monotonicMs();
  const hostsOf = (cluster: string): Host[] =>
    [...hosts.values()].filter((host) => host.cluster === cluster);
  const guestsOn = (cluster: string, node: string): Guest[] =>
    [...guests.values()].filter((guest) => guest.cluster === cluster && guest.node === node);

  function finish(task: Task, state: 'ended' | 'dead', exitCode: number): void {
    if (task.state !== 'running') return;
    task.state = state;
    task.exitCode = exitCode;
    for (const resume of task.waiting.splice(0)) resume();
  }

  function off(host: Host, by: 'command' | 'world', commandId: string | null): void {
    if (!host.isOn) return;
    Object.assign(host, { isOn: false, downAtMs: now(), downBy: by });
    host.noticedAtMs = now() + chance.between(1_000, 6_000);
    for (const guest of guestsOn(host.cluster, host.plan.name)) guest.isRunning = false;
    for (const task of tasks.values()) if (task.host === host) finish(task, 'dead', -1);
    if (commandId) ended.set(commandId, now());
    listener.onOff(host, by, commandId);
  }

  function boot(host: Host): void {
    if (host.isOn) return;
    Object.assign(host, { isOn: true, bootId: newId(), bootedAtMs: now(), downBy: null });
    host.noticedAtMs = now() + chance.between(1_000, 6_000);
    listener.onBoot(host);
  }

  /** What a tool does to the world when it ends well. */
  function apply({ work, host }: Task): void {
    const { action, target, commandId } = work;
    const guest = guests.get(`${host.cluster}/${target.id}`);
    switch (action.kind) {
      case 'node.shutdown':
        return off(host, 'command', commandId);
      case 'node.reboot':
        off(host, 'command', commandId);
        return void clock.after(chance.between(15_000, 60_000), () => boot(host));
      case 'guest.start':
      case 'guest.stop':
        if (guest?.node !== host.plan.name) return undefined;
        guest.isRunning = action.kind === 'guest.start';
        break;
      case 'guest.restart':
        if (guest?.node !== host.plan.name) return undefined;
        guest.isRunning = true;
        guest.restartedBy.push(commandId);
        break;
      case 'guest.scale':
        if (guest) guest.cpuCount = action.args.cpuCount ?? guest.cpuCount;
        break;
      case 'guest.migrate': {
        const to = hosts.get(`${host.cluster}/${action.args.targetNode}`);
        if (guest?.node !== host.plan.name || !to?.isOn) return undefined;
        guest.node = to.plan.name;
        break;
      }
      case 'node.wake':
      case 'node.drain':
      case 'node.restore':
      case 'guest.create':
      case 'guest.delete':
      case 'guest.snapshot':
      default:
        return undefined;
    }
    return void ended.set(commandId, now());
  }

  function note(
    host: Host,
    work: Pick<Work, 'commandId'>,
    kind: CommandKind,
    target: string,
  ): Began {
    const { cluster, plan, bootId } = host;
    const { commandId } = work;
    const began = { commandId, cluster, kind, target, node: plan.name, bootId, atMs: now() };
    effects.push(began);
    return began;
  }

  function begin(host: Host, work: Work): Task {
    const isPower = work.action.kind === 'node.shutdown' || work.action.kind === 'node.reboot';
    const lastsMs = isPower ? chance.between(1_000, 8_000) : chance.between(500, 20_000);
    const task: Task = {
      handle: `UPID:${host.plan.name}:${tasks.size + 1}`,
      work,
      host,
      bootId: host.bootId,
      state: 'running',
      exitCode: 0,
      endsAtMs: chance.is(0.03) ? Number.POSITIVE_INFINITY : now() + lastsMs,
      waiting: [],
    };
    tasks.set(task.handle, task);
    const hasFailed = chance.is(0.08);
    if (Number.isFinite(task.endsAtMs)) {
      clock.after(lastsMs, () => {
        if (task.state !== 'running') return;
        if (!hasFailed) apply(task);
        finish(task, 'ended', hasFailed ? 1 : 0);
      });
    }
    listener.onEffect(note(host, work, work.action.kind, work.target.id), work);
    return task;
  }

  /** A magic packet reaches the network card of a host that is off, or nobody. */
  function wake(from: Host, request: { node: string; commandId?: string }): void {
    const { commandId } = request;
    const work = { commandId: commandId ?? 'fail-awake' };
    listener.onEffect(note(from, work, 'node.wake', request.node), null);
    wakes.sent += 1;
    const host = hosts.get(`${from.cluster}/${request.node}`);
    const { wakes: obeys } = host?.plan ?? { wakes: 'never' };
    const isHeard = obeys === 'always' ? chance.is(0.95) : obeys === 'sometimes' && chance.is(0.5);
    if (!host || host.isOn || !isHeard) {
      wakes.failed += 1;
      return;
    }
    wakes.boots += 1;
    const bootMs = chance.is(0.05)
      ? chance.between(120_000, 900_000)
      : chance.between(15_000, 60_000);
    clock.after(bootMs, () => {
      if (!host.isOn && commandId) ended.set(commandId, now());
      boot(host);
    });
  }

  /** Who a node's corosync lists: itself, and who was there seconds ago. */
  function membersSeenBy(viewer: Host): string[] {
    return hostsOf(viewer.cluster)
      .filter((host) => host === viewer || (now() < host.noticedAtMs ? !host.isOn : host.isOn))
      .map(({ plan }) => plan.name);
  }

  return {
    effects,
    ended,
    seenTrue,
    seenFalse,
    tasks,
    hosts,
    guests,
    wakes,
    clusters,
    now,
    host: (cluster: string, node: string) => hosts.get(`${cluster}/${node}`) as Host,
    hostsOf,
    guestsOn,
    membersSeenBy,
    begin,
    wake,
    boot,
    cutPower: (host: Host) => off(host, 'world', null),
    /** Guests that a task under way will make run on this host. */
    arrivingOn: (host: Host) =>
      [...tasks.values()].flatMap(({ work: { action, target }, host: from, state }) => {
        if (state !== 'running' || from.cluster !== host.cluster) return [];
        if (action.kind === 'guest.start' || action.kind === 'guest.restart') {
          return from === host ? [target.id] : [];
        }
        const isComing =
          action.kind === 'guest.migrate' && action.args.targetNode === host.plan.name;
        const isRunning = guests.get(`${host.cluster}/${target.id}`)?.isRunning ?? false;
        return isComing && isRunning ? [target.id] : [];
      }),
    kill: (task: Task) => finish(task, 'dead', -1),
    /** A task of this command that may still change the world. */
    isUnderWay: (commandId: string) =>
      [...tasks.values()].some(
        ({ work, state }) => work.commandId === commandId && state === 'running',
      ),
  };
}
