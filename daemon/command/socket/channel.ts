/**
 * One connection between agent and executor, the same at both ends: questions with an answer, and
 * notes without one. Invariant: nothing that arrives can make it throw, keep more than its bounds
 * or answer what was not asked; a stream that breaks the rules is cut, and every open question
 * ends. It knows no verb.
 */
import type { Socket } from 'node:net';
import type { z } from 'zod';
import type { Clock, Log } from '../../../broker/contract/ports.ts';
import { createFrameReader, encodeFrame } from './frames.ts';
import { Answer, Note, Question } from './verbs.ts';

export class SocketError extends Error {
  override readonly name = 'SocketError';
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export type ChannelOptions<A, N> = {
  socket: Socket;
  clock: Clock;
  log: Log;
  /** Of one frame that arrives. */
  bytesMax: number;
  asks: z.ZodType<A>;
  notes: z.ZodType<N>;
  onAsk: (ask: A) => Promise<unknown>;
  onNote: (note: N) => void;
  onClose: () => void;
};

export type Channel = {
  /** Rejects with SocketError: the other side said no, is gone, or took longer than `limitMs`. */
  ask(ask: object, limitMs: number): Promise<unknown>;
  note(note: object): void;
  close(): void;
};

/** Questions of the other side at work at once; beyond it nothing more is read. */
const workingMax = 64;
/** What the other side may leave unread before it is taken for stuck. */
const unreadBytesMax = 8 * 2 ** 20;

const gone = (): SocketError => new SocketError('KR_SOCKET_CLOSED', 'the other side is away');

const codeOf = (error: unknown): string => {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && /^KR_[A-Z0-9_]{2,48}$/.test(code) ? code : 'KR_FAILED';
};

const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).slice(0, 2_000);

class Line<A, N> implements Channel {
  readonly #options: ChannelOptions<A, N>;
  readonly #pending = new Map<number, (answer: Answer) => void>();
  #lastId = 0;
  #working = 0;
  #isOpen = true;

  constructor(options: ChannelOptions<A, N>) {
    const { socket, bytesMax, log } = options;
    this.#options = options;
    const reader = createFrameReader(bytesMax, (value) => this.#take(value));
    socket.on('data', (chunk: Buffer) => {
      if (reader.push(chunk)) return;
      log.warn({}, 'the other side of the socket broke the frames: cut');
      socket.destroy();
    });
    socket.on('error', (error) => log.debug({ err: error }, 'socket error'));
    socket.on('close', () => this.#end());
  }

  ask(ask: object, limitMs: number): Promise<unknown> {
    if (!this.#isOpen) return Promise.reject(gone());
    this.#lastId = (this.#lastId % 2 ** 31) + 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const cancel = this.#options.clock.after(limitMs, () => {
        this.#pending.delete(id);
        reject(new SocketError('KR_SOCKET_TIMEOUT', `no answer within ${limitMs} ms`));
      });
      this.#pending.set(id, (answer) => {
        this.#pending.delete(id);
        cancel();
        if (answer.ok) resolve(answer.value);
        else reject(new SocketError(answer.code, answer.message));
      });
      this.#send({ id, ask });
    });
  }

  note(note: object): void {
    this.#send({ note });
  }

  close(): void {
    this.#options.socket.destroy();
  }

  #send(value: object): void {
    const { socket, log } = this.#options;
    if (!this.#isOpen) return;
    if (socket.writableLength > unreadBytesMax) {
      log.warn({ bytes: socket.writableLength }, 'the other side of the socket does not read: cut');
      socket.destroy();
      return;
    }
    socket.write(encodeFrame(value));
  }

  #take(value: unknown): void {
    if (!this.#isOpen) return;
    const { notes, onNote, log } = this.#options;
    const question = Question.safeParse(value);
    if (question.success) {
      void this.#answer(question.data.id, question.data.ask);
      return;
    }
    const answer = Answer.safeParse(value);
    if (answer.success) {
      this.#pending.get(answer.data.re)?.(answer.data);
      return;
    }
    const note = Note.safeParse(value);
    const said = note.success ? notes.safeParse(note.data.note) : undefined;
    if (said?.success) onNote(said.data);
    else log.debug({}, 'a frame without meaning was dropped');
  }

  async #answer(id: number, asked: unknown): Promise<void> {
    const { socket, asks, onAsk } = this.#options;
    const ask = asks.safeParse(asked);
    if (!ask.success) {
      const message = 'no such question: start agent and executor of the same version';
      return this.#send({ re: id, ok: false, code: 'KR_BAD_QUESTION', message });
    }
    this.#working += 1;
    if (this.#working >= workingMax) socket.pause();
    try {
      this.#send({ re: id, ok: true, value: (await onAsk(ask.data)) ?? null });
    } catch (error) {
      this.#send({ re: id, ok: false, code: codeOf(error), message: messageOf(error) });
    } finally {
      this.#working -= 1;
      if (this.#working < workingMax) socket.resume();
    }
  }

  #end(): void {
    this.#isOpen = false;
    for (const [re, settle] of this.#pending) {
      settle({ re, ok: false, code: 'KR_SOCKET_CLOSED', message: gone().message });
    }
    this.#options.onClose();
  }
}

export const openChannel = <A, N>(options: ChannelOptions<A, N>): Channel => new Line(options);
