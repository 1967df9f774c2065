/**
 * The executor's door: a unix socket in a folder that only root and the agent's group may enter.
 * It lets one agent in at a time and passes on nothing but the verbs. Invariant: whoever is at the
 * other end, the worst it can do is what a hostile broker could: the executor believes signatures
 * alone. It must never let a frame end the process.
 */
import { chmod, chown, mkdir, stat, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import type { Clock, Log } from '../../../broker/contract/ports.ts';
import type { Hypervisor } from '../../hypervisor/port.ts';
import type { Waker, WakeRequest, WakeSent } from '../../waker/port.ts';
import type { HostExecutor } from '../executor.ts';
import type { FromExecutor } from '../executor-port.ts';
import { type Channel, openChannel, SocketError } from './channel.ts';
import type { Trust } from './trust.ts';
import {
  AgentAsk,
  agentFrameBytesMax,
  AgentNote,
  type ExecutorAsk,
  type Greeted,
  remoteWakers,
  WakeAnswer,
} from './verbs.ts';

export type ServerOptions = {
  path: string;
  executor: HostExecutor;
  hypervisor: Hypervisor;
  trust: Trust;
  clock: Clock;
  log: Log;
};

export type ExecutorServer = {
  /** Has the agent send a wake, since this process has no network. */
  wake(name: Waker['name'], request: WakeRequest): Promise<WakeSent>;
  close(): Promise<void>;
};

const socketMode = 0o660;
const folderMode = 0o750;
const writableByOthers = 0o022;
const goodbyeMaxMs = 2_000;
const wakeMaxMs = 60_000;

const problem = (message: string, wayOut: string): SocketError =>
  new SocketError('KR_SOCKET', `${message}: ${wayOut}`);

/** Whoever may write the folder could put a socket of their own in our place. */
async function prepareFolder(folder: string): Promise<number> {
  await mkdir(folder, { recursive: true, mode: folderMode });
  const { mode, gid } = await stat(folder);
  if ((mode & writableByOthers) === 0) return gid;
  throw problem(`${folder} can be written by others`, `chmod go-w ${folder}`);
}

const isAnswered = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = connect(path);
    const end = (answered: boolean) => () => {
      probe.destroy();
      resolve(answered);
    };
    probe.once('connect', end(true));
    probe.once('error', end(false));
  });

/** A crash leaves the name of its socket behind. */
async function removeStale(path: string): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found === null) return;
  if (!found.isSocket()) throw problem(`${path} is no socket`, 'name another path');
  if (await isAnswered(path)) {
    throw problem(`another executor listens on ${path}`, 'stop it first');
  }
  await unlink(path);
}

async function listen(server: Server, path: string): Promise<void> {
  const gid = await prepareFolder(dirname(path));
  await removeStale(path);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
  await chown(path, process.getuid?.() ?? 0, gid);
  await chmod(path, socketMode);
}

/** One question at a time; whoever asks meanwhile gets the same answer. */
function shared<T>(begin: (node: string) => Promise<T>): (node: string) => Promise<T> {
  const running = new Map<string, Promise<T>>();
  return (node) => {
    const known = running.get(node);
    if (known) return known;
    const begun = begin(node).finally(() => running.delete(node));
    running.set(node, begun);
    return begun;
  };
}

class Door {
  readonly #options: ServerOptions;
  readonly #describe: (node: string) => Promise<unknown>;
  readonly #sample: (node: string) => Promise<unknown>;
  /** The agent that greeted last. */
  #agent: Channel | null = null;
  #run: string | null = null;
  readonly #online = new Set<string>();

  constructor(options: ServerOptions) {
    const { hypervisor } = options;
    this.#options = options;
    this.#describe = shared((node) => hypervisor.describe(node));
    this.#sample = shared((node) => hypervisor.sample(node));
    options.executor.onOutgoing((message) => this.#say(message));
  }

  admit(socket: Socket): void {
    const { clock, log } = this.#options;
    let hasGreeted = false;
    const channel: Channel = openChannel({
      socket,
      clock,
      log,
      bytesMax: agentFrameBytesMax,
      asks: AgentAsk,
      notes: AgentNote,
      onAsk: async (ask) => {
        if (ask.verb === 'greet') {
          const greeted = await this.#greet(ask, channel);
          hasGreeted = true;
          return greeted;
        }
        if (!hasGreeted) throw new SocketError('KR_NOT_GREETED', 'greet first');
        return this.#answer(ask);
      },
      onNote: (note) => {
        if (this.#agent === channel) this.#connected(note);
      },
      onClose: () => this.#lose(channel),
    });
  }

  close(): void {
    this.#agent?.close();
  }

  ask(ask: ExecutorAsk, limitMs: number): Promise<unknown> {
    if (this.#agent) return this.#agent.ask(ask, limitMs);
    return Promise.reject(new SocketError('KR_NO_AGENT', 'the agent is not here: start it'));
  }

  async #greet(ask: Extract<AgentAsk, { verb: 'greet' }>, channel: Channel): Promise<Greeted> {
    const { trust, executor, hypervisor, log } = this.#options;
    const { run, cluster, serverKeys } = ask;
    await trust.admit({ cluster, serverKeys });
    const nodes = [...hypervisor.nodes()];
    // Samples are counted from one again, so they need a number of their own to be counted in.
    if (this.#run !== null && this.#run !== run) await executor.begin();
    this.#run = run;
    const former = this.#agent;
    this.#agent = channel;
    if (former !== channel) {
      this.#rest();
      former?.close();
      log.info({ run }, 'an agent is here');
    }
    const { incarnation } = await executor.introduce(nodes[0] ?? '');
    return { nodes, incarnation };
  }

  async #answer(ask: Exclude<AgentAsk, { verb: 'greet' }>): Promise<unknown> {
    const { executor, hypervisor } = this.#options;
    if (ask.verb === 'deliver') return executor.deliver(ask.message);
    const { node } = ask;
    if (!hypervisor.nodes().includes(node)) {
      throw new SocketError('KR_FOREIGN_NODE', `${node} is not driven here`);
    }
    switch (ask.verb) {
      case 'introduce':
        return executor.introduce(node);
      case 'describe':
        return this.#describe(node);
      case 'history':
        return (await hypervisor.history?.(node, ask.span)) ?? [];
      case 'sample':
      default:
        return this.#sample(node);
    }
  }

  #connected({ node, online }: AgentNote): void {
    const { executor, hypervisor } = this.#options;
    if (!hypervisor.nodes().includes(node)) return;
    if (online) this.#online.add(node);
    else this.#online.delete(node);
    executor.connected(node, online);
  }

  #rest(): void {
    for (const node of this.#online) this.#options.executor.connected(node, false);
    this.#online.clear();
  }

  #lose(channel: Channel): void {
    if (this.#agent !== channel) return;
    this.#agent = null;
    this.#rest();
    this.#options.log.warn({}, 'the agent is gone; commands that run go on');
  }

  async #say(message: FromExecutor): Promise<void> {
    if (message.name !== 'goodbye') return this.#agent?.note(message);
    await this.ask({ verb: 'goodbye', node: message.node }, goodbyeMaxMs);
  }
}

const isRemote = (name: string): name is (typeof remoteWakers)[number] =>
  (remoteWakers as readonly string[]).includes(name);

/** @throws SocketError when the path cannot be used, with the way out. */
export async function serveExecutor(options: ServerOptions): Promise<ExecutorServer> {
  const door = new Door(options);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    door.admit(socket);
  });
  // An agent has one connection; a second one while the first is being replaced.
  server.maxConnections = 8;
  await listen(server, options.path);
  server.on('error', (error) => options.log.error({ err: error }, 'the socket failed'));
  return {
    async wake(name, { node, macs, broadcasts, commandId }) {
      if (!isRemote(name)) throw new SocketError('KR_NO_WAKER', `${name} is not the agent's`);
      const request = {
        node,
        macs: [...macs],
        broadcasts: [...broadcasts],
        ...(commandId !== undefined && { commandId }),
      };
      return WakeAnswer.parse(await door.ask({ verb: 'wake', waker: name, request }, wakeMaxMs));
    },
    async close() {
      door.close();
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
