/**
 * The public API as client commands use it, over the local socket or the network. What the server
 * refuses keeps its code, field and way out.
 */
import type { Readable } from 'node:stream';
import { Agent, type Dispatcher, request } from 'undici';
import { z } from 'zod';
import type { ServerAddress } from './config.ts';

const requestTimeoutMs = 30_000;

const Problem = z.object({
  code: z.string().catch('KR_UNEXPECTED'),
  detail: z.string().catch('the server gave no reason'),
  field: z.string().optional().catch(undefined),
  wayOut: z.string().optional().catch(undefined),
});

/** The server's own words, or what kept it from answering. */
export class ApiRefused extends Error {
  override readonly name = 'ApiRefused';
  readonly code: string;
  constructor(problem: z.infer<typeof Problem>) {
    const field = problem.field === undefined ? '' : `${problem.field}: `;
    const said = `${problem.code}: ${field}${problem.detail}`;
    const joint = /[.!?:;]$/.test(said) ? ' ' : '; ';
    super(problem.wayOut === undefined ? said : `${said}${joint}${problem.wayOut}`);
    this.code = problem.code;
  }
}

export type Call = {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  path: string;
  body?: object;
  headers?: Record<string, string>;
};

export type ClientApi = {
  /** @throws ApiRefused */
  ask<T>(schema: z.ZodType<T>, call: Call): Promise<T>;
  /** The body of a GET, as it comes. @throws ApiRefused */
  download(path: string): Promise<Readable>;
  close(): Promise<void>;
};

const parsedOr = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
};

export function createClientApi({ url, token, socketPath }: ServerAddress): ClientApi {
  const timeouts = { headersTimeout: requestTimeoutMs, bodyTimeout: requestTimeoutMs };
  const dispatcher: Dispatcher = new Agent({
    ...timeouts,
    ...(socketPath !== null && { connect: { socketPath } }),
  });
  const send = async ({ method, path, body, headers }: Call): Promise<Dispatcher.ResponseData> => {
    const answer = await request(`${url}${path}`, {
      dispatcher,
      method,
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
        ...(token !== null && { authorization: `Bearer ${token}` }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    }).catch((error: unknown) => {
      const detail = `the server does not answer: ${(error as Error).message}`;
      throw new ApiRefused({ code: 'KR_UNREACHABLE', detail });
    });
    if (answer.statusCode < 300) return answer;
    throw new ApiRefused(Problem.parse(parsedOr(await answer.body.text())));
  };
  return {
    ask: async (schema, call) => schema.parse(parsedOr(await (await send(call)).body.text())),
    download: async (path) => (await send({ method: 'GET', path })).body,
    close: () => dispatcher.close(),
  };
}
