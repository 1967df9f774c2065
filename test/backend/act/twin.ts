/**
 * A hand-written other side for the command protocol: a network that loses, repeats and delays by
 * seed, and executors with a journal that outlives them, which obey the daemon's rules and write
 * every effect into one log. Nothing here shares code with the server side under test.
 */
import { createPublicKey, verify } from 'node:crypto';
import type { GrantContent } from '../../../broker/contract/command.ts';
import type { CommandKind } from '../../../broker/contract/command.ts';
import { nodeKey } from '../../../broker/contract/ids.ts';
import type { Bodies, Message } from '../../../broker/contract/messages.ts';
import type { Cancel, Clock, NewId, Random } from '../../../broker/contract/ports.ts';
import { GuestFacts, NodeFacts } from '../../../broker/contract/facts.ts';
import type { Report } from '../../../broker/contract/report.ts';
import type { ServerKey, Signed, SyncContent } from '../../../broker/contract/server.ts';
import type { ServerLink } from '../../../broker/port.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import { type Commands, createCommands } from '../../../backend/act/commands.ts';
import { openSigner } from '../../../backend/act/signer.ts';
import {
  emptyFleet,
  type Fleet,
  type GuestRecord,
  type NodeRecord,
} from '../../../backend/state/fleet.ts';
import { ensureCluster, ensureNodes } from '../../../backend/store/sql/clusters.ts';
import { commandStore } from '../../../backend/store/sql/command-rows.ts';
import { type Database, openDatabase } from '../../../backend/store/sql/database.ts';
import { idsOf, seededRandom, virtualClock, type VirtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';
import { guestSample, nodeValues } from '../../support/messages.ts';

export type Faults = { loss: number; duplicate: number; delayMs: number };
export const noFaults: Faults = { loss: 0, duplicate: 0, delayMs: 0 };

export const everyKind: CommandKind[] = [
  'node.shutdown',
  'node.wake',
  'guest.create',
  'guest.start',
  'guest.stop',
  'guest.restart',
  'guest.migrate',
  'guest.scale',
];

type FromNode = 'claim' | 'report' | 'hello' | 'presence';
type Entry = {
  phase: 'claiming' | 'granted' | 'started' | 'finished' | 'refused';
  n: number;
  nonce: string;
  claimedMs: number;
  voidMs: number;
  grant: GrantContent | null;
  /** Not yet settled by a verdict; survives a crash like the journal it stands for. */
  unconfirmed: Report[];
};

type Bare<R> = R extends Report ? Omit<R, 'commandId' | 'n' | 'journalId' | 'incarnation'> : never;

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const publicKeyOf = (raw: string) =>
  createPublicKey({
    key: Buffer.concat([
      Buffer.from('302a300506032b6570032100', 'hex'),
      Buffer.from(raw, 'base64'),
    ]),
    format: 'der',
    type: 'spki',
  });

export type World = Awaited<ReturnType<typeof createWorld>>;
export type Twin = ReturnType<typeof createTwin>;

type Links = {
  clock: Clock;
  random: Random;
  newId: NewId;
  keys: readonly ServerKey[];
  fleet: Fleet;
  effects: { commandId: string; kind: string; atMs: number }[];
  violations: string[];
  send: (message: Message<FromNode>) => void;
  isOff: (node: string) => boolean;
  powerOff: (node: string) => void;
  powerOn: (node: string, by: string) => void;
  /** What the picture shows otherwise of a guest that has moved. */
  arrival: () => Partial<GuestRecord>;
  isReal: boolean;
  /** How a witness looks; without one it knows who is off. */
  look: Look | undefined;
};

type Look = (
  probe: Bodies['probe'],
  witness: string,
) => Promise<{ postcondition: boolean | null; detail: string }>;

export function createTwin(node: string, cluster: string, links: Links) {
  const { clock, random, newId, effects, violations, fleet } = links;
  const journal = new Map<string, Entry>();
  let journalId = newId();
  let bootId = newId();
  let incarnation = 0;
  let maxEpoch = 0;
  let session: string | null = null;
  let isSynced = false;
  let helloAtMs = 0;
  /** On its disk, like the journal. */
  let wakeTableVersion: number | null = null;
  let life = 0;

  const record = (): NodeRecord => fleet.nodes.get(nodeKey(cluster, node)) as NodeRecord;
  /** A timer of this life: a crash silences it. */
  const later = (delayMs: number, run: () => void): Cancel => {
    const born = life;
    return clock.after(delayMs, () => {
      if (life === born && session !== null) run();
    });
  };
  function say<N extends FromNode>(name: N, body: Bodies[N], as = session): void {
    if (as === null) return;
    links.send({
      v: 1,
      id: newId(),
      cluster,
      node,
      session: as,
      seq: 0,
      sentAtMs: clock.wallMs(),
      name,
      body,
    } as unknown as Message<FromNode>);
  }
  function report(id: string, entry: Entry, body: Bare<Report>): void {
    entry.n += 1;
    const full: Report = { ...body, commandId: id, n: entry.n, journalId, incarnation };
    entry.unconfirmed.push(full);
    say('report', full);
  }
  function tombstone(id: string, known: Entry | undefined, code: string): void {
    const entry = known ?? fresh();
    entry.phase = 'refused';
    journal.set(id, entry);
    report(id, entry, { step: 'refused', code, reason: 'not started', wayOut: '' });
  }
  const fresh = (): Entry => ({
    phase: 'claiming',
    n: 0,
    nonce: hex(random.bytes(16)),
    claimedMs: clock.monotonicMs(),
    voidMs: 0,
    grant: null,
    unconfirmed: [],
  });
  function claim(id: string, entry: Entry): void {
    if (entry.phase !== 'claiming') return;
    if (clock.monotonicMs() >= entry.voidMs) return tombstone(id, entry, 'KR_OFFER_EXPIRED');
    entry.nonce = hex(random.bytes(16));
    entry.claimedMs = clock.monotonicMs();
    const { nonce } = entry;
    say('claim', { commandId: id, nonce, journalId, incarnation, bootId, maxEpoch });
    later(3_000, () => claim(id, entry));
  }
  function verified(signed: Signed): GrantContent | undefined {
    const key = links.keys.find(({ keyId }) => keyId === signed.keyId);
    const signature = Buffer.from(signed.signature, 'base64');
    const bytes = Buffer.from(signed.signed);
    if (!key || !verify(null, bytes, publicKeyOf(key.publicKey), signature)) {
      violations.push('bad signature');
      return undefined;
    }
    return JSON.parse(signed.signed) as GrantContent;
  }
  function begin(id: string, entry: Entry, grant: GrantContent): void {
    entry.phase = 'started';
    entry.grant = grant;
    report(id, entry, { step: 'started', handle: null });
    effects.push({ commandId: id, kind: grant.kind, atMs: clock.monotonicMs() });
    if (grant.kind === 'node.shutdown') {
      later(2_000, () => {
        say('presence', { online: false, reason: 'shutdown', load: null });
        links.powerOff(node);
      });
      return;
    }
    if (grant.kind === 'node.wake') later(500, () => links.powerOn(grant.target.id, node));
    const beat = (): void => {
      if (entry.phase !== 'started') return;
      report(id, entry, { step: 'heartbeat', handle: null, progressRatio: null });
      later(10_000, beat);
    };
    later(10_000, beat);
    later(1_000 + random.ratio() * 20_000, () => finish(id, entry));
  }
  function finish(id: string, entry: Entry, { isBack = false } = {}): void {
    if (entry.phase !== 'started') return;
    entry.phase = 'finished';
    const isWake = entry.grant?.kind === 'node.wake';
    if (entry.grant?.kind === 'guest.migrate' && !isBack) {
      const { targetNode } = entry.grant.args as { targetNode: string };
      const guest = fleet.guests.get(`${cluster}/${entry.grant.target.id}`);
      const seen = { node: targetNode, sampleAtMs: clock.monotonicMs() };
      if (guest) Object.assign(guest, seen, links.arrival());
    }
    const postcondition = isWake ? null : !isBack;
    report(id, entry, { step: 'finished', exitCode: 0, postcondition, detail: '', output: '' });
  }
  function onGrant(signed: Signed): void {
    const grant = verified(signed);
    const entry = grant && journal.get(grant.commandId);
    if (!grant || !entry || entry.phase !== 'claiming') return;
    if (grant.nonce !== entry.nonce || clock.monotonicMs() - entry.claimedMs > 10_000) return;
    if (grant.epoch < maxEpoch) return;
    maxEpoch = grant.epoch;
    begin(grant.commandId, entry, grant);
  }
  function onProbe(probe: Bodies['probe']): void {
    const { commandId, role, target } = probe;
    const entry = journal.get(commandId);
    if (role === 'witness') {
      const tell = (seen: { postcondition: boolean | null; detail: string }): void =>
        report(commandId, fresh(), { step: 'probed', role, started: null, ...seen });
      if (links.look) void links.look(probe, node).then(tell);
      else tell({ postcondition: links.isOff(target.id), detail: 'looked' });
      return;
    }
    if (!entry) return tombstone(commandId, undefined, 'KR_NEVER_SEEN');
    if (entry.phase === 'claiming') return tombstone(commandId, entry, 'KR_NOT_STARTED');
    if (entry.phase === 'finished' || entry.phase === 'refused') {
      for (const one of entry.unconfirmed) say('report', one);
    }
    if (entry.phase !== 'refused' && entry.phase !== 'granted') {
      const postcondition = entry.phase === 'finished' ? true : null;
      const body = { step: 'probed', role, started: true, detail: '' } as const;
      report(commandId, entry, { ...body, postcondition });
    }
  }
  /** Confirms a new one as a daemon does: with its next hello. */
  function keepTable({ signed }: Signed): void {
    const { wakeTable } = JSON.parse(signed) as SyncContent;
    if (!wakeTable || wakeTable.version === wakeTableVersion) return;
    wakeTableVersion = wakeTable.version;
    later(1_000, hello);
  }
  function receive(name: string, body: unknown): void {
    if (name === 'sync') {
      isSynced = true;
      keepTable(body as Signed);
    }
    if (name === 'grant') onGrant(body as Signed);
    if (name === 'probe') onProbe(body as Bodies['probe']);
    if (name === 'verdict') {
      const { commandId, n, state } = body as Bodies['verdict'];
      const entry = journal.get(commandId);
      if (!entry) return;
      const isOver = /SUCCEEDED|FAILED|REJECTED|CANCELLED|EXPIRED/.test(state);
      entry.unconfirmed = isOver ? [] : entry.unconfirmed.filter((one) => one.n !== n);
      if (isOver && entry.phase === 'claiming') entry.phase = 'refused';
      if (state === 'CANCELLING') finish(commandId, entry, { isBack: true });
    }
    if (name === 'offer') {
      const { commandId, ttlMs } = body as Bodies['offer'];
      const known = journal.get(commandId);
      if (known?.phase === 'refused') return tombstone(commandId, known, 'KR_REFUSED');
      if (known) return;
      const entry = { ...fresh(), voidMs: clock.monotonicMs() + ttlMs };
      journal.set(commandId, entry);
      claim(commandId, entry);
    }
  }
  function hello(): void {
    helloAtMs = clock.monotonicMs();
    say('hello', {
      incarnation,
      bootId,
      journalId,
      maxEpoch,
      driver: {
        name: 'memory',
        version: null,
        simulated: !links.isReal,
        capabilities: everyKind,
      },
      // What a test had it say before still holds.
      facts: record().facts ?? factsOf(node),
      guests: null,
      openCommands: [...journal].map(([commandId, { phase, n }]) => ({
        commandId,
        n,
        handle: null,
        phase: phase === 'claiming' || phase === 'granted' ? 'received' : phase,
      })),
      wakeTableVersion,
      localHold: false,
    });
  }
  function keepTalking(): void {
    if (!isSynced || clock.monotonicMs() - helloAtMs >= 600_000) hello();
    for (const entry of journal.values()) for (const one of entry.unconfirmed) say('report', one);
    later(4_000, keepTalking);
  }
  return {
    node,
    cluster,
    receive: (name: string, to: string, body: unknown) => {
      // A sync of another session is not for this one; the rest stands on its own.
      if (session !== null && (name !== 'sync' || to === session)) receive(name, body);
    },
    get session() {
      return session;
    },
    start() {
      incarnation += 1;
      life += 1;
      session = newId();
      isSynced = false;
      Object.assign(record(), { session, online: true, offlineSinceMs: null, bootId });
      this.sampled();
      for (const [id, entry] of journal) {
        // What was claimed lost its nonce; what had started is looked at, never run again.
        if (entry.phase === 'claiming') tombstone(id, entry, 'KR_NOT_STARTED');
        if (entry.phase === 'started' && entry.grant?.kind !== 'node.shutdown') finish(id, entry);
      }
      say('presence', { online: true, reason: 'birth', load: null });
      keepTalking();
    },
    /** The process dies; the broker sends its will. */
    crash() {
      if (session === null) return;
      const was = session;
      life += 1;
      session = null;
      Object.assign(record(), { online: false, offlineSinceMs: clock.monotonicMs() });
      say('presence', { online: false, reason: 'will', load: null }, was);
    },
    reboot() {
      bootId = newId();
    },
    loseJournal() {
      journal.clear();
      journalId = newId();
    },
    sampled: () => {
      record().sampleAtMs = clock.monotonicMs();
      record().sampledAtWallMs = clock.wallMs();
    },
    say,
    hello,
    journal,
    get journalId() {
      return journalId;
    },
  };
}

const factsOf = (node: string): NodeFacts =>
  NodeFacts.parse({
    links: [{ name: 'eth0', mac: macOf(node), broadcast: '192.168.1.255', wakeOnMagic: true }],
    cpuVendor: 'GenuineIntel',
    kernel: '6.14.0-twin',
    hypervisorVersion: 'memory 1',
    roles: [],
    busy: [],
    upsOnBattery: false,
  });

const guestFactsOf = (id: string): GuestFacts =>
  GuestFacts.parse({
    id,
    kind: 'vm',
    name: `guest-${id}`,
    cpuType: 'x86-64-v3',
    hotplug: ['cpu', 'memory'],
    disks: [],
    localResources: [],
  });

const macOf = (node: string): string => {
  const digits = Buffer.from(node.padEnd(6, '0')).toString('hex').slice(0, 10);
  return `02:${digits.match(/../g)?.join(':') ?? ''}`;
};

export const nodeRecord = (cluster: string, node: string): NodeRecord => ({
  ...unseenNode(cluster, node),
  values: nodeValues(),
  guests: [],
});

type Layout = { clusters: Record<string, string[]>; guests: Record<string, string> };

function fleetOf(layout: Layout): Fleet {
  const fleet = emptyFleet();
  for (const [cluster, nodes] of Object.entries(layout.clusters)) {
    const records = nodes.map((node) => [node, nodeRecord(cluster, node)] as const);
    fleet.nodesByCluster.set(cluster, new Map(records));
    for (const [node, record] of records) fleet.nodes.set(nodeKey(cluster, node), record);
  }
  for (const [key, node] of Object.entries(layout.guests)) {
    const [cluster = '', id = ''] = key.split('/');
    // Every node could describe it, wherever it is at the time.
    for (const record of fleet.nodesByCluster.get(cluster)?.values() ?? []) {
      const known = JSON.parse(record.guestFactsJson ?? '[]') as GuestFacts[];
      record.guestFactsJson = JSON.stringify([...known, guestFactsOf(id)]);
    }
    fleet.guests.set(key, { ...guestSample(id), cluster, node, sampleAtMs: 0 });
  }
  return fleet;
}

async function seedRows(database: Database, layout: Layout, nowMs: number, isReal: boolean) {
  await database.transaction(async (trx) => {
    for (const [id, nodes] of Object.entries(layout.clusters)) {
      await ensureCluster(trx, { id, simulated: !isReal, nowMs });
      await ensureNodes(trx, { cluster: id, nodes, nowMs });
    }
  });
}

export type Service = {
  commands: Commands;
  log: ReturnType<typeof memoryLog>;
  /** Like kill -9: no timer and no message of it happens any more. */
  kill(): void;
  /** Stops hearing and speaking, but goes on thinking. */
  pause(isPaused: boolean): void;
};

export type WorldOptions = {
  folder: string;
  seed?: number;
  layout?: Layout;
  faults?: Faults;
  database?: Database;
  isReal?: boolean;
  look?: Look;
};

const home: Layout = {
  clusters: { home: ['n1', 'n2', 'n3'] },
  guests: { 'home/100': 'n1', 'home/101': 'n2', 'home/102': 'n2' },
};

export async function createWorld(options: WorldOptions) {
  const { folder, seed = 1, layout = home } = options;
  const clock: VirtualClock = virtualClock();
  const random = seededRandom(seed);
  const newId = idsOf(clock, random);
  const database =
    options.database ??
    (await openDatabase({
      file: ':memory:',
      nowMs: () => Math.trunc(clock.wallMs()),
      log: memoryLog(),
    }));
  const fleet = fleetOf(layout);
  await seedRows(database, layout, clock.wallMs(), options.isReal ?? false);
  const signer = await openSigner({ folder, random, newId });
  const services = new Set<Service & { hear: (message: Message<FromNode>) => void }>();
  const effects: Links['effects'] = [];
  const violations: string[] = [];
  const retained: string[] = [];
  const sent: { cluster: string; node: string; name: string; body: unknown }[] = [];
  let faults = options.faults ?? noFaults;
  const off = new Set<string>();
  let canBoot = true;
  const mute = new Set<string>();
  let arrival: Partial<GuestRecord> = {};
  let canSee = true;

  const carry = (deliver: () => void): void => {
    const copies = random.ratio() < faults.loss ? 0 : random.ratio() < faults.duplicate ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      if (faults.delayMs === 0) deliver();
      else clock.after(random.ratio() * faults.delayMs, deliver);
    }
  };
  const twins = new Map<string, Twin>();
  const links = (cluster: string): Links => ({
    clock,
    random,
    newId,
    keys: signer.serverKeys,
    fleet,
    effects,
    violations,
    send: (message) =>
      carry(() => {
        for (const service of services) service.hear(message);
      }),
    isOff: (node) => canSee && off.has(nodeKey(cluster, node)),
    powerOff(node) {
      off.add(nodeKey(cluster, node));
      twins.get(nodeKey(cluster, node))?.crash();
    },
    arrival: () => arrival,
    isReal: options.isReal ?? false,
    look: options.look,
    powerOn(node, by) {
      const key = nodeKey(cluster, node);
      if (mute.has(by) || !canBoot || !off.delete(key)) return;
      clock.after(30_000, () => {
        twins.get(key)?.reboot();
        twins.get(key)?.start();
      });
    },
  });
  for (const [cluster, nodes] of Object.entries(layout.clusters)) {
    for (const node of nodes)
      twins.set(nodeKey(cluster, node), createTwin(node, cluster, links(cluster)));
  }

  function createService(owner = 'backend-a'): Service {
    let isAlive = true;
    let isPaused = false;
    const log = memoryLog();
    const link: ServerLink = {
      async publish({ topic, payload }) {
        if (!isAlive || isPaused) return;
        if (topic === 'kr/v1/server') {
          retained.push(payload);
          return;
        }
        const [, , cluster = '', node = '', name = ''] = topic.split('/');
        const { session, body } = JSON.parse(payload) as { session: string; body: unknown };
        sent.push({ cluster, node, name, body });
        carry(() => twins.get(nodeKey(cluster, node))?.receive(name, session, body));
      },
      onMessage: () => undefined,
      isConnected: () => isAlive && !isPaused,
      close: async () => undefined,
    };
    const mortal: Clock = {
      ...clock,
      after: (delayMs, run) => clock.after(delayMs, () => (isAlive ? run() : undefined)),
    };
    const commands = createCommands({
      store: commandStore(database),
      link,
      clock: mortal,
      random,
      newId,
      log,
      signer,
      owner,
      fleet: () => fleet,
      watermark: () => ({ incarnation: 0, seq: 0 }),
    });
    const service = {
      commands,
      log,
      kill: () => void (isAlive = false),
      pause: (paused: boolean) => void (isPaused = paused),
      hear: (message: Message<FromNode>) => {
        if (isAlive && !isPaused) commands.onMessage(message);
      },
    };
    services.add(service);
    return service;
  }

  return {
    clock,
    random,
    newId,
    database,
    fleet,
    signer,
    effects,
    violations,
    retained,
    sent,
    twins,
    createService,
    twin: (node: string, cluster = 'home') => twins.get(nodeKey(cluster, node)) as Twin,
    breakWakes: () => void (canBoot = false),
    /** What this node sends wakes nobody. */
    setArrival: (change: Partial<GuestRecord>) => void (arrival = change),
    muteWaker: (node: string) => void mute.add(node),
    /** Witnesses look and see nothing of a power-off. */
    blindWitnesses: () => void (canSee = false),
    setFaults: (next: Faults) => void (faults = next),
    powerOff: (node: string, cluster = 'home') => links(cluster).powerOff(node),
    isOff: (node: string, cluster = 'home') => off.has(nodeKey(cluster, node)),
    /** All nodes up and known; their samples stay fresh as long as they run. */
    async boot() {
      for (const twin of twins.values()) twin.start();
      const sample = (): void => {
        for (const twin of twins.values()) if (twin.session !== null) twin.sampled();
        clock.after(5_000, sample);
      };
      sample();
      await clock.advance(6_000);
    },
    command: (id: string) =>
      database.db.selectFrom('commands').selectAll().where('id', '=', id).executeTakeFirstOrThrow(),
    history: async (id: string) =>
      (
        await database.db
          .selectFrom('command_history')
          .select(['state', 'ver'])
          .where('command_id', '=', id)
          .orderBy('ver')
          .execute()
      ).map(({ state }) => state),
    target: (kind: 'node' | 'guest', id: string, cluster = 'home') =>
      database.db
        .selectFrom('targets')
        .selectAll()
        .where('cluster', '=', cluster)
        .where('kind', '=', kind)
        .where('id', '=', id)
        .executeTakeFirst(),
  };
}
