/**
 * The simulator as a client of the public API, over the local socket or the network. It uses no
 * other way into the server. A request that got no answer is the caller's to repeat; the
 * Idempotency-Key makes that safe for commands.
 */
import { Agent, Pool, type Dispatcher } from 'undici';
import { z } from 'zod';
import { CommandState } from '../broker/contract/command.ts';
import { ServerKey } from '../broker/contract/server.ts';
import type { Server } from './config.ts';

export type ApiErrorCode = 'KR_UNREACHABLE' | 'KR_REFUSED' | 'KR_UNEXPECTED';

export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: ApiErrorCode;
  readonly status: number;
  constructor(code: ApiErrorCode, status: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.status = status;
  }
}

export const Enrolled = z.object({
  credentials: z.array(z.object({ node: z.string(), daemon: z.string(), secret: z.string() })),
  serverId: z.string(),
  serverKeys: z.array(ServerKey),
});
export type Enrolled = z.infer<typeof Enrolled>;

const Accepted = z.object({ id: z.string(), state: CommandState });
const HistoryLine = z.object({
  state: CommandState,
  at: z.string(),
  reason: z.string().optional(),
});
export const CommandAnswer = z.object({
  id: z.string(),
  kind: z.string(),
  state: CommandState,
  stateReason: z.string().nullable(),
  history: z.array(HistoryLine),
});
export type CommandAnswer = z.infer<typeof CommandAnswer>;

const GuestAnswer = z.object({
  id: z.string(),
  node: z.string(),
  state: z.string(),
  lock: z.string().nullable(),
  cpuCount: z.number().nullable(),
});
export type GuestAnswer = z.infer<typeof GuestAnswer>;
const NodeAnswer = z.object({ id: z.string(), state: z.string(), online: z.boolean() });
export type NodeAnswer = z.infer<typeof NodeAnswer>;

const Missing = z.object({ samples: z.number(), missing: z.number() });

export type Wish = {
  cluster: string;
  kind: string;
  node: string;
  guest?: string;
  args: object;
};

type Call = {
  method: 'GET' | 'POST' | 'PATCH';
  path: string;
  body?: object;
  headers?: Record<string, string>;
};

const requestTimeoutMs = 30_000;

async function send(dispatcher: Dispatcher, { api }: Server, call: Call): Promise<string> {
  const headers = {
    ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
    ...(api.token === null ? {} : { authorization: `Bearer ${api.token}` }),
    ...call.headers,
  };
  const answer = await dispatcher
    .request({
      origin: api.url,
      path: call.path,
      method: call.method,
      headers,
      body: call.body === undefined ? null : JSON.stringify(call.body),
    })
    .catch((cause: unknown) => {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new ApiError('KR_UNREACHABLE', 0, `${call.method} ${call.path}: ${why}`, { cause });
    });
  const text = await answer.body.text();
  const { statusCode } = answer;
  if (statusCode >= 200 && statusCode < 300) return text;
  // 5xx and 429 say "not now"; anything else 4xx says "not so".
  const code = statusCode >= 500 || statusCode === 429 ? 'KR_UNREACHABLE' : 'KR_REFUSED';
  throw new ApiError(code, statusCode, `${call.method} ${call.path}: ${statusCode} ${text}`);
}

function read<T>(schema: z.ZodType<T>, text: string, call: Call): T {
  const parsed = schema.safeParse(JSON.parse(text));
  if (parsed.success) return parsed.data;
  const problem = z.prettifyError(parsed.error);
  throw new ApiError('KR_UNEXPECTED', 200, `${call.method} ${call.path}: ${problem}`);
}

const listOf = <T>(item: z.ZodType<T>) => z.object({ items: z.array(item) });

export function createApi(server: Server) {
  const timeouts = { headersTimeout: requestTimeoutMs, bodyTimeout: requestTimeoutMs };
  const { socketPath, url } = server.api;
  const dispatcher: Dispatcher =
    socketPath === null
      ? new Agent(timeouts)
      : new Pool(url, { ...timeouts, socketPath, connections: 16 });
  const ask = async <T>(schema: z.ZodType<T>, call: Call): Promise<T> =>
    read(schema, await send(dispatcher, server, call), call);
  const get = <T>(schema: z.ZodType<T>, path: string): Promise<T> =>
    ask(schema, { method: 'GET', path });
  const inCluster = (cluster: string): string =>
    `cluster=${encodeURIComponent(cluster)}&limit=5000`;

  return {
    enrol: (cluster: string, nodes: readonly string[]): Promise<Enrolled> =>
      ask(Enrolled, {
        method: 'POST',
        path: '/api/v1/enrolments',
        body: { cluster, nodes, simulated: true },
      }),
    changeCluster: async (cluster: string, change: object): Promise<void> => {
      const path = `/api/v1/clusters/${cluster}`;
      await send(dispatcher, server, { method: 'PATCH', path, body: change });
    },
    /** The same key gives the same command, however often it is sent. */
    submit: (wish: Wish, idempotencyKey: string): Promise<{ id: string; state: CommandState }> =>
      ask(Accepted, {
        method: 'POST',
        path: '/api/v1/commands',
        body: wish,
        headers: { 'idempotency-key': idempotencyKey },
      }),
    command: (id: string): Promise<CommandAnswer> => get(CommandAnswer, `/api/v1/commands/${id}`),
    guests: async (cluster: string): Promise<GuestAnswer[]> =>
      (await get(listOf(GuestAnswer), `/api/v1/guests?${inCluster(cluster)}`)).items,
    nodes: async (cluster: string): Promise<NodeAnswer[]> =>
      (await get(listOf(NodeAnswer), `/api/v1/nodes?${inCluster(cluster)}`)).items,
    /** Of clusters whose id begins so. */
    missing: (sinceMs: number, clusterPrefix: string): Promise<z.infer<typeof Missing>> => {
      const query = `sinceMs=${Math.floor(sinceMs)}&clusterPrefix=${clusterPrefix}`;
      return get(Missing, `/api/v1/telemetry/missing?${query}`);
    },
    metricsText: (): Promise<string> =>
      send(dispatcher, server, { method: 'GET', path: '/metrics' }),
    close: (): Promise<void> => dispatcher.close(),
  };
}

export type Api = ReturnType<typeof createApi>;
