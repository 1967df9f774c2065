/**
 * The world as one daemon's hypervisor driver and waker see it: facts, samples, tasks. A driver
 * whose daemon has died answers nobody. It reports what it sees and decides nothing.
 */
import { GuestFacts, NodeFacts } from '../../broker/contract/facts.ts';
import type { CommandKind } from '../../broker/contract/command.ts';
import type { Clock } from '../../broker/contract/ports.ts';
import type {
  Description,
  HostSample,
  Hypervisor,
  Observation,
  Performed,
  Work,
} from '../../daemon/hypervisor/port.ts';
import type { Waker } from '../../daemon/waker/port.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import { guestSample, nodeValues } from '../support/messages.ts';
import type { ClusterPlan, HostPlan } from './houses.ts';
import type { Guest, Host, Task, World } from './world.ts';

const capabilities: CommandKind[] = [
  'node.shutdown',
  'node.wake',
  'node.reboot',
  'guest.start',
  'guest.stop',
  'guest.restart',
  'guest.migrate',
  'guest.scale',
];

const gib = 2 ** 30;
/** A new one each time: whoever waits for a shared one is kept in memory by it for ever. */
const never = (): Promise<never> => new Promise(() => undefined);

export const driverOf = ({ simulated }: ClusterPlan): Description['driver'] =>
  simulated
    ? { name: 'memory', version: null, simulated, capabilities }
    : { name: 'lxd', version: '1', simulated, capabilities };

function quorumOf(world: World, plan: ClusterPlan, host: Host): NodeFacts['quorum'] {
  if (!plan.hasQuorum) return null;
  const seen = world.membersSeenBy(host);
  const members = plan.hosts.map(({ name, votes }) => ({
    node: name,
    votes,
    online: seen.includes(name),
  }));
  const device = plan.qdeviceVotes;
  const expectedVotes = device + members.reduce((sum, { votes }) => sum + votes, 0);
  const totalVotes =
    device + members.reduce((sum, { votes, online }) => sum + (online ? votes : 0), 0);
  const quorumVotes = Math.floor(expectedVotes / 2) + 1;
  return {
    quorate: totalVotes >= quorumVotes,
    expectedVotes,
    totalVotes,
    quorumVotes,
    members,
    qdevice: device > 0 ? { votes: device, alive: true, voting: true, seenAgeMs: 1_000 } : null,
  };
}

function haOf(plan: ClusterPlan, host: Host): NodeFacts['ha'] {
  if (!plan.hasQuorum) return null;
  const services = plan.hosts
    .filter(({ hasHaService }) => hasHaService)
    .map(({ name }) => ({ sid: `vm:${name}`, state: 'started', node: name }));
  const isActive = host.plan.hasHaService;
  return {
    managed: services.length > 0,
    lrmState: isActive ? 'active' : 'idle',
    mode: null,
    watchdogOpen: isActive,
    shutdownPolicy: 'conditional',
    services,
  };
}

/** Its shape never changes, so the schema need look at it only once. */
const templates = new WeakMap<HostPlan, NodeFacts>();
export function templateOf(plan: HostPlan): NodeFacts {
  const known = templates.get(plan);
  if (known) return known;
  const facts = NodeFacts.parse({
    links: [
      {
        name: 'eth0',
        mac: `02:00:00:00:00:0${plan.name.slice(-1)}`,
        broadcast: '192.168.1.255',
        driver: 'virtio_net',
        wakeOnMagic: plan.wakeOnMagic,
      },
    ],
    cpuVendor: 'GenuineIntel',
    hypervisorVersion: 'memory 1',
    kernel: '6.1',
    biosVersion: '1',
    roles: [],
    busy: [],
    upsOnBattery: false,
    protected: plan.isProtected,
  });
  templates.set(plan, facts);
  return facts;
}

export const nodeFactsOf = (world: World, plan: ClusterPlan, host: Host): NodeFacts => ({
  ...templateOf(host.plan),
  quorum: quorumOf(world, plan, host),
  ha: haOf(plan, host),
});

const guestTemplates = new Map<string, GuestFacts>();
function guestFactsOf({ id, lock, cpuCount }: Guest): GuestFacts {
  let facts = guestTemplates.get(id);
  if (!facts) {
    facts = GuestFacts.parse({
      id,
      kind: 'vm',
      name: `guest-${id}`,
      cpuType: 'x86-64-v3',
      hotplug: ['cpu', 'memory'],
      disks: [],
      localResources: [],
    });
    guestTemplates.set(id, facts);
  }
  return { ...facts, lock, cpuCount };
}

export const guestFactsOn = (world: World, host: Host): GuestFacts[] =>
  world.guestsOn(host.cluster, host.plan.name).map(guestFactsOf);

const idleValues = nodeValues({ memoryTotalBytes: 32 * gib, memoryUsedBytes: 4 * gib });
const samples = new Map<string, GuestSample>();
function guestSampleOf({ id, isRunning, lock, cpuCount }: Guest): GuestSample {
  let sample = samples.get(id);
  if (!sample) {
    sample = guestSample(id);
    samples.set(id, sample);
  }
  return { ...sample, state: isRunning ? 'running' : 'stopped', lock, cpuCount };
}

export function sampleOf(world: World, plan: ClusterPlan, host: Host): HostSample {
  const { name } = host.plan;
  return {
    node: { ...idleValues, uptimeMs: world.now() - host.bootedAtMs },
    guests: world.guestsOn(host.cluster, name).map(guestSampleOf),
    membersOnline: plan.hasQuorum ? world.membersSeenBy(host) : null,
    versions: { daemon: '0.1.0', hypervisor: 'memory 1', kernel: '6.1' },
  };
}

/** True: seen to hold. False: seen not to hold, and nothing under way could change that. */
function postcondition(world: World, host: Host, work: Work): boolean | null {
  const { action, target, commandId } = work;
  if (world.isUnderWay(commandId)) return null;
  const guest = world.guests.get(`${host.cluster}/${target.id}`);
  switch (action.kind) {
    case 'node.shutdown':
      return !world.membersSeenBy(host).includes(target.id);
    case 'node.reboot':
      return null;
    case 'guest.start':
    case 'guest.stop':
      if (guest?.node !== host.plan.name) return null;
      return guest.isRunning === (action.kind === 'guest.start');
    case 'guest.restart':
      return guest?.restartedBy.includes(commandId) ?? null;
    case 'guest.scale':
      return guest?.cpuCount === action.args.cpuCount;
    case 'guest.migrate':
      return guest?.node === action.args.targetNode;
    case 'node.wake':
    case 'node.drain':
    case 'node.restore':
    case 'guest.create':
    case 'guest.delete':
    case 'guest.snapshot':
    default:
      return null;
  }
}

export type Life = {
  isAlive: () => boolean;
  /** Right before and after an effect begins; true: it dies there. */
  diesAt: (side: 'before' | 'after') => boolean;
};

export type DriverDeps = { world: World; plan: ClusterPlan; host: Host; clock: Clock; life: Life };

export function createDriver({ world, plan, host, clock, life }: DriverDeps): Hypervisor {
  const alive = async (): Promise<void> => {
    if (!life.isAlive()) await never();
  };
  /** Resolves when the task ends; a killed tool ends its task too. */
  const ending = (task: Task, signal: AbortSignal): Promise<Performed> =>
    new Promise((resolve) => {
      const done = (): void => {
        if (!life.isAlive()) return;
        const exitCode = task.state === 'ended' ? task.exitCode : null;
        resolve({ exitCode, detail: `task ${task.state}`, output: '' });
      };
      if (task.state !== 'running') return done();
      task.waiting.push(done);
      signal.addEventListener('abort', () => world.kill(task), { once: true });
    });
  return {
    nodes: () => [host.plan.name],
    async describe() {
      await alive();
      const { bootId } = host;
      const facts = nodeFactsOf(world, plan, host);
      return { driver: driverOf(plan), bootId, facts, guests: guestFactsOn(world, host) };
    },
    async sample() {
      await alive();
      return sampleOf(world, plan, host);
    },
    async perform(work, context) {
      await alive();
      if (life.diesAt('before')) await never();
      const task = world.begin(host, work);
      if (life.diesAt('after')) await never();
      const result = ending(task, context.signal);
      await context.onHandle(task.handle);
      return result;
    },
    async attach(_work, handle, { signal }) {
      await alive();
      const task = world.tasks.get(handle);
      if (!task) return { exitCode: null, detail: 'no such task', output: '' };
      return ending(task, signal);
    },
    async observe(work): Promise<Observation> {
      await alive();
      await new Promise<void>((seen) => void clock.after(50, seen));
      await alive();
      const seen = postcondition(world, host, work);
      if (seen === true) world.seenTrue.add(work.commandId);
      if (seen === false) world.seenFalse.add(work.commandId);
      return { postcondition: seen, detail: 'looked' };
    },
    close: async () => undefined,
  };
}

export const createWaker = ({ world, host, life }: Omit<DriverDeps, 'plan' | 'clock'>): Waker => ({
  name: 'memory',
  async wake(request) {
    if (!life.isAlive() || life.diesAt('before')) return never();
    world.wake(host, request);
    if (life.diesAt('after')) return never();
    return { packets: 3, detail: 'sent' };
  },
});
