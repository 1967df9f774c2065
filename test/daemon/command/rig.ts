/**
 * An executor between honest twins: a server that signs what it is told to sign, a world that
 * writes down each effect that began, a disk that can lose power. Crash = the old object is cut
 * off from disk, world and listener, and a new one opens the same disk.
 */
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import type {
  Claim,
  CommandKind,
  CommandState,
  GrantContent,
  Offer,
} from '../../../broker/contract/command.ts';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { Report } from '../../../broker/contract/report.ts';
import type { ServerKey, Signed, SyncContent } from '../../../broker/contract/server.ts';
import type { ExecutorPort, FromExecutor } from '../../../daemon/command/executor-port.ts';
import { createExecutor, type ExecutorDeps } from '../../../daemon/command/executor.ts';
import { LocalPolicy } from '../../../daemon/command/local-policy.ts';
import type {
  Description,
  HostSample,
  Hypervisor,
  Observation,
  Performed,
  Trace,
  Work,
  WorkContext,
} from '../../../daemon/hypervisor/port.ts';
import { idsOf, seededRandom, virtualClock } from '../../support/clock.ts';
import { nodeValues } from '../../support/messages.ts';
import { memoryLog } from '../../support/log.ts';
import { tornDisk } from './torn-files.ts';

export const cluster = 'home';
export const node = 'n1';

export type Signer = { key: ServerKey; sign(content: object): Signed };

export function createSigner(): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  const keyId = createHash('sha256').update(raw).digest('hex').slice(0, 16);
  return {
    key: { keyId, publicKey: raw.toString('base64') },
    sign(content) {
      const signed = JSON.stringify(content);
      const signature = sign(null, Buffer.from(signed), privateKey).toString('base64');
      return { signed, keyId, signature };
    },
  };
}

export const kinds: CommandKind[] = [
  'node.shutdown',
  'guest.start',
  'guest.stop',
  'guest.migrate',
  'guest.scale',
];

export type World = {
  /** Command ids in the order in which their effects began. */
  effects: string[];
  attached: string[];
  observed: string[];
  handle: string | null;
  /** What the hypervisor's own list says of a start without a handle. */
  find: (trace: Trace) => string | null;
  description: Description;
  sample: () => Promise<HostSample>;
  perform: (work: Work, context: WorkContext) => Promise<Performed>;
  observe: (work: Work) => Promise<Observation>;
};

/** A standalone host that nobody needs and that can be woken: it may be switched off. */
const idleNode = NodeFacts.parse({
  runningGuests: 0,
  roles: [],
  busy: [],
  links: [{ name: 'eno1', mac: '02:00:00:00:00:01', wakeOnMagic: true }],
});

/** Up for an hour, with guests that nobody lists. */
const awake: HostSample = {
  node: nodeValues({ uptimeMs: 3_600_000 }),
  guests: null,
  membersOnline: null,
  versions: { daemon: 'test', hypervisor: null, kernel: null },
};

export function createWorld(): World {
  const done: Performed = { exitCode: 0, detail: 'done', output: 'all well' };
  return {
    effects: [],
    attached: [],
    observed: [],
    handle: null,
    find: () => null,
    description: {
      driver: { name: 'script', version: '1', simulated: false, capabilities: kinds },
      bootId: '00000000-0000-4000-8000-000000000001',
      facts: idleNode,
      guests: null,
    },
    sample: async () => awake,
    perform: async () => done,
    observe: async () => ({ postcondition: true, detail: 'seen' }),
  };
}

/** The world seen by one executor object: after its crash it can begin nothing more. */
function driverOf(world: World, isAlive: () => boolean, nodes: string[]): Hypervisor {
  const alive = async (): Promise<void> => {
    if (!isAlive()) await new Promise<never>(() => undefined);
  };
  return {
    nodes: () => nodes,
    async describe() {
      await alive();
      return world.description;
    },
    async sample() {
      await alive();
      return world.sample();
    },
    async perform(work, context) {
      await alive();
      world.effects.push(work.commandId);
      if (world.handle) await context.onHandle(world.handle);
      return world.perform(work, context);
    },
    async find(_work, trace) {
      await alive();
      return world.find(trace);
    },
    async attach(work, handle, context) {
      await alive();
      world.attached.push(handle);
      return world.perform(work, context);
    },
    async observe(work) {
      await alive();
      world.observed.push(work.commandId);
      return world.observe(work);
    },
    close: async () => undefined,
  };
}

export type RigOptions = { seed?: number; nodes?: string[]; deps?: Partial<ExecutorDeps> };

export const offerOf =
  (newId: () => string) =>
  (more: Partial<Offer> = {}): Offer => ({
    commandId: newId(),
    kind: 'guest.start',
    target: { kind: 'guest', id: '100' },
    args: {},
    generation: 1,
    epoch: 1,
    ttlMs: 60_000,
    ...more,
  });

export const syncOf = (more: Partial<SyncContent> & Pick<SyncContent, 'session'>): SyncContent => ({
  v: 1,
  type: 'sync',
  cluster,
  node,
  epoch: 1,
  hold: false,
  simulated: false,
  storedIncarnation: 1,
  storedSeq: 7,
  intervalMs: 5_000,
  commands: [],
  wakeTable: null,
  ...more,
});

export function createRig({ seed = 1, nodes = [node, 'n2'], deps = {} }: RigOptions = {}) {
  const clock = virtualClock();
  const random = seededRandom(seed);
  const newId = idsOf(clock, random);
  const log = memoryLog();
  const disk = tornDisk();
  const signer = createSigner();
  const world = createWorld();
  const sent: FromExecutor[] = [];
  let life = 0;
  let executor: ExecutorPort | null = null;
  let policy = LocalPolicy.parse({});
  let isHeld = false;
  let session = newId();

  const flush = async (): Promise<void> => {
    for (let turn = 0; turn < 12; turn += 1) await new Promise((r) => setImmediate(r));
  };
  const start = (): ExecutorPort => {
    life += 1;
    const mine = life;
    const isAlive = () => mine === life;
    // Timers of a dead process never fire.
    const ownClock = {
      ...clock,
      after: (delayMs: number, run: () => void | Promise<void>) =>
        clock.after(delayMs, () => (isAlive() ? run() : undefined)),
    };
    executor = createExecutor({
      cluster,
      files: disk.files(),
      hypervisor: driverOf(world, isAlive, nodes),
      wakers: [],
      serverKeys: () => [signer.key],
      readPolicy: async () => ({ ok: true, policy }),
      isHeld: async () => isHeld,
      observeOnly: false,
      clock: ownClock,
      random,
      newId,
      log,
      ...deps,
    });
    executor.onOutgoing((message) => {
      if (!isAlive()) return;
      if (message.name === 'report') Report.parse(message.body);
      sent.push(message);
    });
    return executor;
  };
  const running = (): ExecutorPort => executor ?? start();

  const rig = {
    clock,
    disk,
    log,
    newId,
    signer,
    world,
    sent,
    flush,
    start,
    executor: running,
    get session() {
      return session;
    },
    hold: (held: boolean) => void (isHeld = held),
    policy: (next: Partial<LocalPolicy>) => void (policy = { ...policy, ...next }),
    /** Power fails; what was not fsynced may be lost, and the process with it. */
    crash() {
      life += 1;
      executor = null;
      disk.restart();
    },
    async connect(at = node) {
      session = newId();
      const introduction = await running().introduce(at);
      running().connected(at, true);
      await flush();
      return introduction;
    },
    offer: offerOf(newId),
    grantOf: (offer: Offer, claim: Pick<Claim, 'nonce'>, more: object = {}): GrantContent => ({
      v: 1,
      type: 'grant',
      cluster,
      node,
      commandId: offer.commandId,
      kind: offer.kind,
      target: offer.target,
      args: offer.args,
      generation: offer.generation,
      epoch: offer.epoch,
      nonce: claim.nonce,
      simulated: false,
      timeoutMs: 60_000,
      timeScale: 1,
      policyHash: null,
      ...more,
    }),
    syncOf: (more: Partial<SyncContent> = {}): SyncContent => syncOf({ session, ...more }),
    async give(offer: Offer, at = node) {
      await running().deliver({ name: 'offer', node: at, body: offer });
      await flush();
    },
    async grant(content: object, at = node) {
      await running().deliver({ name: 'grant', node: at, body: signer.sign(content) });
      await flush();
    },
    async sync(more: Partial<SyncContent> = {}) {
      const body = signer.sign(rig.syncOf(more));
      const checked = await running().deliver({ name: 'sync', node, session, body });
      await flush();
      return checked;
    },
    async verdict(commandId: string, n: number, state: CommandState) {
      const body = { commandId, n, state, reason: null };
      await running().deliver({ name: 'verdict', node, body });
      await flush();
    },
    claims: (commandId?: string): Claim[] =>
      sent.flatMap((one) =>
        one.name === 'claim' && (!commandId || one.body.commandId === commandId) ? [one.body] : [],
      ),
    reports: (commandId: string): Report[] =>
      sent.flatMap((one) =>
        one.name === 'report' && one.body.commandId === commandId ? [one.body] : [],
      ),
    steps: (commandId: string): string[] => rig.reports(commandId).map(({ step }) => step),
    /** Offer, claim, grant, and whatever the executor makes of it. */
    async run(more: Partial<Offer> = {}, grantMore: object = {}) {
      const offer = rig.offer(more);
      await rig.give(offer);
      const claim = rig.claims(offer.commandId).at(-1);
      if (claim) await rig.grant(rig.grantOf(offer, claim, grantMore));
      return offer;
    },
  };
  return rig;
}

export type Rig = ReturnType<typeof createRig>;
