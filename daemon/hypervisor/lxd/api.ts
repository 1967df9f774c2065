/**
 * The REST API of LXD and Incus, by the unix socket of this host or by HTTPS with a client
 * certificate. Answers are bounded in size and time and checked before anything is believed. It
 * follows no redirect. A change is an operation of the server's: this starts it once and never
 * repeats a request, since a lost answer does not say that nothing began.
 */
import { readFileSync } from 'node:fs';
import { Agent, buildConnector, type Dispatcher } from 'undici';
import { z } from 'zod';
import { freshTls, pinnedConnector } from '../../pinned.ts';
import { Operation } from './answers.ts';

export type LxdEndpoint =
  | { socket: string }
  | {
      url: string;
      certificateFile: string;
      keyFile: string;
      /** SHA-256 of the server's certificate; else `caFile`, else the system's authorities. */
      fingerprint?: string | undefined;
      caFile?: string | undefined;
    };

export class LxdError extends Error {
  override readonly name = 'LxdError';
  /** `KR_LXD_REFUSED`: the server said no, nothing began; `KR_LXD_UNCLEAR`: nobody knows. */
  readonly code: 'KR_LXD_REFUSED' | 'KR_LXD_UNCLEAR';
  /** HTTP status, null when there was no usable answer. */
  readonly status: number | null;
  constructor(code: LxdError['code'], message: string, status: number | null = null) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

type Change = { method: 'POST' | 'PUT' | 'PATCH' | 'DELETE'; path: string; body: object | null };

export type LxdApi = {
  /** @throws LxdError also for an answer that is not what `schema` says. */
  get<T>(schema: z.ZodType<T>, path: string, signal?: AbortSignal): Promise<T>;
  /** Starts a change; the operation that carries it out, null when it is done already. */
  change(change: Change, signal: AbortSignal): Promise<Operation | null>;
  /** Waits for the end of an operation; null when the server keeps no record of it. */
  wait(operation: string, signal: AbortSignal): Promise<Operation | null>;
  /** Asks the server to give an operation up; it may refuse. */
  cancel(operation: string): Promise<void>;
  close(): Promise<void>;
};

const answerMs = 15_000;
/** A thousand instances with their state take some 3 MB. */
const answerBytesMax = 16 * 2 ** 20;
const waitSeconds = 10;

const Envelope = z.object({
  type: z.enum(['sync', 'async', 'error']),
  error: z.string().default(''),
  error_code: z.number().default(0),
  metadata: z.unknown().optional(),
});

const plain = { ...freshTls, timeout: answerMs } as const;

function connectorOf(endpoint: LxdEndpoint): buildConnector.connector {
  if ('socket' in endpoint) return buildConnector({ ...plain, socketPath: endpoint.socket });
  const { certificateFile, keyFile, fingerprint, caFile } = endpoint;
  const own = { cert: readFileSync(certificateFile), key: readFileSync(keyFile) };
  if (fingerprint !== undefined) return pinnedConnector(fingerprint, { ...own, timeout: answerMs });
  return buildConnector({
    ...plain,
    ...own,
    ...(caFile === undefined ? {} : { ca: readFileSync(caFile) }),
  });
}

const reasonOf = (error: unknown): string =>
  error instanceof Error ? error.message || error.name : String(error);

const unclear = (why: string): LxdError => new LxdError('KR_LXD_UNCLEAR', why);

function envelopeOf(text: string, status: number): z.infer<typeof Envelope> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw unclear(`LXD answered ${status} with no JSON`);
  }
  const parsed = Envelope.safeParse(json);
  if (!parsed.success) throw unclear(`LXD answered ${status} in an unknown shape`);
  const { type, error, error_code: code } = parsed.data;
  if (type !== 'error') return parsed.data;
  // 5xx says that something broke on the way, not that nothing was done.
  const kind = code >= 400 && code < 500 ? 'KR_LXD_REFUSED' : 'KR_LXD_UNCLEAR';
  throw new LxdError(kind, `LXD: ${error.slice(0, 500)} (${code})`, code);
}

function read<T>(schema: z.ZodType<T>, value: unknown, path: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw unclear(`${path}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

/** @throws Error from the file system when a certificate or key cannot be read. */
export function createLxdApi(endpoint: LxdEndpoint): LxdApi {
  const origin = 'socket' in endpoint ? 'http://lxd' : new URL(endpoint.url).origin;
  const agent = new Agent({
    connect: connectorOf(endpoint),
    headersTimeout: answerMs,
    bodyTimeout: answerMs,
    connections: 8,
    maxResponseSize: answerBytesMax,
  });

  async function ask(
    path: string,
    method: Dispatcher.HttpMethod,
    { body = null, signal }: { body?: object | null; signal?: AbortSignal | undefined },
  ) {
    try {
      const answer = await agent.request({
        origin,
        path,
        method,
        signal: signal ?? null,
        ...(body && {
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
        }),
      });
      return envelopeOf(await answer.body.text(), answer.statusCode);
    } catch (error) {
      if (error instanceof LxdError) throw error;
      throw unclear(`LXD cannot be asked: ${reasonOf(error)}`);
    }
  }

  const get: LxdApi['get'] = async (schema, path, signal) =>
    read(schema, (await ask(path, 'GET', { signal })).metadata, path);

  return {
    get,
    async change({ method, path, body }, signal) {
      const answer = await ask(path, method, { body, signal });
      return answer.type === 'async' ? read(Operation, answer.metadata, path) : null;
    },
    async wait(operation, signal) {
      for (;;) {
        const path = `/1.0/operations/${operation}/wait?timeout=${waitSeconds}`;
        try {
          const state = await get(Operation, path, signal);
          if (state.isOver) return state;
        } catch (error) {
          if (error instanceof LxdError && error.status === 404) return null;
          throw error;
        }
      }
    },
    async cancel(operation) {
      await ask(`/1.0/operations/${operation}`, 'DELETE', {}).catch((error: unknown) => {
        if (!(error instanceof LxdError)) throw error;
      });
    },
    close: () => agent.destroy(),
  };
}
