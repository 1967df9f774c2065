/**
 * One host: the production executor over a disk that loses what was not fsynced, and a small
 * relay in the agent's place, which speaks the production codec. A crash cuts the old executor
 * off from disk, world, clock and wire; a new one opens what the disk kept.
 */
import { decode, decodeServer, encode } from '../../broker/contract/codec.ts';
import type { Bodies } from '../../broker/contract/messages.ts';
import type { Clock, NewId, Random } from '../../broker/contract/ports.ts';
import type { ServerKey } from '../../broker/contract/server.ts';
import { serverTopic } from '../../broker/contract/topics.ts';
import type { NodeRecord } from '../../backend/state/fleet.ts';
import type { ExecutorPort, FromExecutor, ToExecutor } from '../../daemon/command/executor-port.ts';
import { createExecutor } from '../../daemon/command/executor.ts';
import { LocalPolicy } from '../../daemon/command/local-policy.ts';
import { tornDisk } from '../daemon/command/torn-files.ts';
import { memoryLog } from '../support/log.ts';
import { factsOf, kinds, type World } from './world.ts';

type Said = 'claim' | 'report' | 'hello' | 'presence';
export type NodeDeps = {
  name: string;
  clock: Clock;
  random: Random;
  newId: NewId;
  world: World;
  keys: readonly ServerKey[];
  record: NodeRecord;
  send: (topic: string, payload: string) => void;
};

export type SimNode = {
  name: string;
  start(): Promise<void>;
  crash(): void;
  /** Power fails after so many more bytes, in the middle of a record. */
  tearAfter(bytes: number): void;
  isUp(): boolean;
  sample(): void;
  receive(topic: string, payload: string): void;
};

const cluster = 'home';

export function createNode(deps: NodeDeps): SimNode {
  const { name: node, clock, random, newId, world, record } = deps;
  const disk = tornDisk();
  let life = 0;
  let session: string | null = null;
  let executor: ExecutorPort | null = null;
  let isSynced = false;

  function say<N extends Said>(name: N, body: Bodies[N], as = session): void {
    if (as === null) return;
    const head = { v: 1 as const, id: newId(), cluster, node, session: as, seq: 0 };
    const message = encode(name, { ...head, sentAtMs: clock.wallMs(), body } as never);
    deps.send(message.topic, message.payload);
  }
  function onOutgoing(mine: number, message: FromExecutor): void {
    if (mine !== life || message.name === 'goodbye') return;
    if (message.name === 'claim') say('claim', message.body);
    else say('report', message.body);
  }
  function build(mine: number, bootId: string): ExecutorPort {
    const isAlive = () => mine === life;
    const built = createExecutor({
      cluster,
      files: disk.files(),
      hypervisor: world.driverOf(node, bootId, isAlive),
      wakers: [],
      serverKeys: () => deps.keys,
      readPolicy: async () => ({ ok: true, policy: LocalPolicy.parse({}) }),
      isHeld: async () => false,
      observeOnly: false,
      clock: {
        ...clock,
        after: (delayMs, run) => clock.after(delayMs, () => (isAlive() ? run() : undefined)),
      },
      random,
      newId,
      log: memoryLog(),
    });
    built.onOutgoing((message) => onOutgoing(mine, message));
    return built;
  }
  async function greet(mine: number, bootId: string): Promise<void> {
    if (mine !== life || isSynced || !executor) return;
    const { localHold, wakeTableVersion, ...known } = await executor.introduce(node);
    if (mine !== life) return;
    const driver = { name: 'memory' as const, version: null, simulated: true, capabilities: kinds };
    const facts = factsOf(node);
    const more = { bootId, driver, facts, guests: null, localHold, wakeTableVersion };
    say('hello', { ...known, ...more });
    clock.after(4_000, () => greet(mine, bootId));
  }
  async function takeSync(to: ExecutorPort, sync: ToExecutor, mine: number): Promise<void> {
    const checked = await to.deliver(sync);
    if (checked && mine === life) isSynced = true;
  }
  return {
    name: node,
    isUp: () => session !== null && !disk.isDead(),
    tearAfter: (bytes) => disk.loseAfter(bytes),
    sample() {
      if (session === null) return;
      record.sampleAtMs = clock.monotonicMs();
      record.sampledAtWallMs = clock.wallMs();
    },
    async start() {
      life += 1;
      const mine = life;
      const bootId = newId();
      session = newId();
      isSynced = false;
      executor = build(mine, bootId);
      Object.assign(record, { session, online: true, offlineSinceMs: null, bootId });
      this.sample();
      say('presence', { online: true, reason: 'birth', load: null });
      await executor.introduce(node);
      if (mine !== life) return;
      executor.connected(node, true);
      await greet(mine, bootId);
    },
    crash() {
      const was = session;
      life += 1;
      session = null;
      executor = null;
      disk.restart();
      Object.assign(record, { online: false, offlineSinceMs: clock.monotonicMs() });
      if (was) say('presence', { online: false, reason: 'will', load: null }, was);
    },
    receive(topic, payload) {
      if (session === null || !executor) return;
      const bytes = Buffer.from(payload);
      if (topic === serverTopic) {
        const body = decodeServer(bytes);
        if (body) void executor.deliver({ name: 'server', body });
        return;
      }
      const decoded = decode(topic, bytes);
      if (!decoded.ok) throw new Error(`server said ${topic}: ${JSON.stringify(decoded)}`);
      const { message } = decoded;
      if (message.name === 'sync') {
        if (message.session !== session) return;
        const sync = { name: 'sync', node, session, body: message.body } as const;
        void takeSync(executor, sync, life);
      }
      const { name } = message;
      if (name === 'offer' || name === 'grant' || name === 'probe' || name === 'verdict') {
        void executor.deliver({ name, node, body: message.body } as never);
      }
    },
  };
}
