/**
 * The agent's end of the socket: the executor and its driver as if they were here. It connects
 * again for as long as it takes. Invariant: while the executor is away nothing is guessed and
 * nothing queued; every question ends with an error, and its owner asks again by itself.
 */
import { connect } from 'node:net';
import type { z } from 'zod';
import type { Cancel, Clock, Log } from '../../../broker/contract/ports.ts';
import type { ServerKey } from '../../../broker/contract/server.ts';
import type { HostSample, Hypervisor, PastSample } from '../../hypervisor/port.ts';
import { type Waker, wakersFor } from '../../waker/port.ts';
import type { CheckedSync, ExecutorPort, FromExecutor } from '../executor-port.ts';
import { type Channel, openChannel, SocketError } from './channel.ts';
import {
  type AgentAsk,
  DeliveredAnswer,
  Described,
  ExecutorAsk,
  executorFrameBytesMax,
  ExecutorNote,
  Greeted,
  Introduced,
  Remembered,
  Sampled,
} from './verbs.ts';

export type ClientOptions = {
  path: string;
  /** Of this agent process. */
  run: string;
  cluster: string;
  serverKeys: readonly ServerKey[];
  /** Those that need the network. */
  wakers: readonly Waker[];
  clock: Clock;
  log: Log;
  /** Ends the wait for the executor. */
  signal: AbortSignal;
};

export type RemoteExecutor = {
  executor: ExecutorPort;
  /** Describes and samples; everything else is the executor's alone. */
  hypervisor: Hypervisor;
  /** The executor was started anew: its journal decides, so the agent introduces itself again. */
  onReborn(listener: () => void): void;
  close(): void;
};

const againMs = 1_000;
const answerMaxMs = 30_000;
/** The agent's own limit of a wake; the executor waits a little longer for the answer. */
const wakeMaxMs = 50_000;

const away = (): SocketError =>
  new SocketError('KR_EXECUTOR_AWAY', 'the executor is away: start it');

const isAway = (error: unknown): boolean =>
  error instanceof SocketError && /^KR_(EXECUTOR_AWAY|SOCKET_CLOSED)$/.test(error.code);

class Client {
  readonly #options: ClientOptions;
  #channel: Channel | null = null;
  #greeted: Greeted | null = null;
  #listener: (message: FromExecutor) => void | Promise<void> = () => undefined;
  #reborn: () => void = () => undefined;
  #onGreeted: (greeted: Greeted) => void = () => undefined;
  #cancel: Cancel = () => undefined;
  #isClosed = false;
  #hasComplained = false;
  /** What the executor must hear again when it comes back. */
  readonly #online = new Set<string>();

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /** Resolves with the first greeting. */
  start(): Promise<Greeted> {
    const { signal } = this.#options;
    return new Promise((resolve, reject) => {
      this.#onGreeted = resolve;
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      this.#open();
    });
  }

  onOutgoing(listener: (message: FromExecutor) => void | Promise<void>): void {
    this.#listener = listener;
  }

  onReborn(listener: () => void): void {
    this.#reborn = listener;
  }

  connected(node: string, online: boolean): void {
    if (online) this.#online.add(node);
    else this.#online.delete(node);
    this.#channel?.note({ verb: 'connected', node, online });
  }

  async ask<T>(ask: AgentAsk, answer: z.ZodType<T>): Promise<T> {
    if (!this.#channel) throw away();
    return answer.parse(await this.#channel.ask(ask, answerMaxMs));
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel();
    this.#channel?.close();
  }

  #open(): void {
    const { path, clock, log } = this.#options;
    if (this.#isClosed) return;
    const socket = connect(path);
    const channel: Channel = openChannel({
      socket,
      clock,
      log,
      bytesMax: executorFrameBytesMax,
      asks: ExecutorAsk,
      notes: ExecutorNote,
      onAsk: (ask) => this.#obey(ask),
      onNote: (note) => void this.#listener(note),
      onClose: () => this.#lose(channel),
    });
    socket.once('error', (error) => this.#complain({ path, err: error }));
    socket.once('connect', () => void this.#greet(channel));
  }

  #complain(fields: object): void {
    if (this.#hasComplained) return;
    this.#hasComplained = true;
    this.#options.log.warn(fields, 'the executor cannot be reached; it is tried again each second');
  }

  async #greet(channel: Channel): Promise<void> {
    const { run, cluster, serverKeys, log } = this.#options;
    try {
      const ask: AgentAsk = { verb: 'greet', run, cluster, serverKeys: [...serverKeys] };
      const greeted = Greeted.parse(await channel.ask(ask, answerMaxMs));
      const before = this.#greeted;
      this.#greeted = greeted;
      this.#channel = channel;
      this.#hasComplained = false;
      log.info({ incarnation: greeted.incarnation }, 'the executor is here');
      if (before === null) return this.#onGreeted(greeted);
      if (before.incarnation !== greeted.incarnation) return this.#reborn();
      for (const node of this.#online) channel.note({ verb: 'connected', node, online: true });
    } catch (error) {
      this.#complain({ err: error });
      channel.close();
    }
  }

  #lose(channel: Channel): void {
    const { clock, log } = this.#options;
    if (this.#channel === channel) {
      this.#channel = null;
      log.warn({}, 'the executor is gone');
    }
    if (!this.#isClosed) this.#cancel = clock.after(againMs, () => this.#open());
  }

  async #obey(ask: ExecutorAsk): Promise<unknown> {
    if (ask.verb === 'goodbye') {
      await this.#listener({ name: 'goodbye', node: ask.node });
      return null;
    }
    const { node, macs, broadcasts, commandId } = ask.request;
    const [waker] = wakersFor(this.#options.wakers, node, ask.waker);
    if (!waker) throw new SocketError('KR_NO_WAKER', `no ${ask.waker} for ${node} in daemon.yaml`);
    const request = { node, macs, broadcasts, ...(commandId !== undefined && { commandId }) };
    return waker.wake(request, AbortSignal.timeout(wakeMaxMs));
  }
}

/** Resolves when the executor has let this agent in. */
export async function connectExecutor(options: ClientOptions): Promise<RemoteExecutor> {
  const client = new Client(options);
  const { nodes } = await client.start().catch((error: unknown) => {
    client.close();
    throw error;
  });
  const only = async (): Promise<never> => {
    throw new SocketError('KR_EXECUTOR_ONLY', 'only the executor acts on this host');
  };
  return {
    executor: {
      introduce: (node) => client.ask({ verb: 'introduce', node }, Introduced),
      async deliver(message): Promise<CheckedSync | undefined> {
        try {
          return (await client.ask({ verb: 'deliver', message }, DeliveredAnswer)) ?? undefined;
        } catch (error) {
          if (!isAway(error)) throw error;
          // Lost like a packet: the server says it again, or the new session asks.
          options.log.warn({ name: message.name }, 'the executor is away: a message was dropped');
          return undefined;
        }
      },
      onOutgoing: (listener) => client.onOutgoing(listener),
      connected: (node, online) => client.connected(node, online),
      close: async () => client.close(),
    },
    hypervisor: {
      nodes: () => nodes,
      describe: (node) => client.ask({ verb: 'describe', node }, Described),
      // The schema names every value; TypeScript only sees a record built from a table.
      sample: async (node) => (await client.ask({ verb: 'sample', node }, Sampled)) as HostSample,
      history: async (node, span) =>
        (await client.ask({ verb: 'history', node, span }, Remembered)) as PastSample[],
      perform: only,
      observe: only,
      close: async () => undefined,
    },
    onReborn: (listener) => client.onReborn(listener),
    close: () => client.close(),
  };
}
