/**
 * The HTTPS API of Proxmox VE: several members' URLs, one token. Certificates are checked before
 * the token leaves this host, answers are bounded in size and time and checked before anything is
 * believed. A question goes to the next member when one does not answer; a request that may have
 * begun something is repeated only if it provably never left.
 */
import { Agent, buildConnector, request } from 'undici';
import { z } from 'zod';
import { freshTls, pinnedConnector } from '../../pinned.ts';
import { firstIssue } from '../../../broker/contract/codec.ts';

export type ApiEndpoint = {
  /** `https://pve1.lan:8006` of one or several members. */
  urls: readonly string[];
  /** `kr@pve!kernreaktor`. */
  tokenId: string;
  tokenSecret: string;
  /** SHA-256 per URL, 64 lower-case hex digits; empty: `ca`, else the system's authorities. */
  fingerprints: readonly string[];
  /** PEM of the authority, `/etc/pve/pve-root-ca.pem`. */
  ca: string | null;
};

export type ApiErrorCode =
  /** No connection: nothing began. */
  | 'KR_PVE_UNREACHABLE'
  | 'KR_PVE_CERTIFICATE'
  | 'KR_PVE_TOKEN'
  | 'KR_PVE_RIGHTS'
  /** The node behind the member that answered is off. */
  | 'KR_PVE_ASLEEP'
  /** The API said no: nothing began. */
  | 'KR_PVE_REFUSED'
  /** No usable answer: nobody knows whether it began. */
  | 'KR_PVE_UNCLEAR';

export class PveApiError extends Error {
  override readonly name = 'PveApiError';
  readonly code: ApiErrorCode;
  constructor(code: ApiErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export type Params = Readonly<Record<string, string>>;
export type Question = {
  /** A DELETE has no parameters: Proxmox refuses one with content. */
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  path: string;
  params?: Params;
  /** Only by this member. */
  via?: string;
  signal?: AbortSignal;
};

export type PveApi = {
  readonly urls: readonly string[];
  /** @throws PveApiError also for an answer that is not what `schema` says. */
  get<T>(schema: z.ZodType<T>, path: string, more?: Pick<Question, 'params' | 'via'>): Promise<T>;
  /** Whose token it is, as UPIDs spell it. */
  readonly tokenId: string;
  /** The worker's name, or what else it answers as text; null when nothing. */
  send(question: Question): Promise<string | null>;
  close(): Promise<void>;
};

const connectMs = 3_000;
const answerMs = 15_000;
/** Some 350 bytes a guest or storage, ten thousand of them; half an hour of a node's past. */
const answerBytesMax = 16 * 2 ** 20;

/** The connector failed, so not one byte of the request was sent. */
class NotConnected extends Error {
  override readonly name = 'NotConnected';
}

const isCertificate = (error: Error): boolean =>
  /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT_)/.test(
    (error as NodeJS.ErrnoException).code ?? '',
  ) || error.message.includes('another is pinned');

function connectorOf({ fingerprints, ca }: ApiEndpoint, index: number): buildConnector.connector {
  const options = { ...freshTls, timeout: connectMs };
  const pin = fingerprints[index];
  const connect =
    pin === undefined
      ? buildConnector({ ...options, ...(ca === null ? {} : { ca }) })
      : pinnedConnector(pin, options);
  return (to, callback) =>
    connect(to, (...answer) => {
      const [error] = answer;
      if (error === null) return callback(...answer);
      callback(new NotConnected(error.message, { cause: error }), null);
    });
}

const agentOf = (endpoint: ApiEndpoint, index: number): Agent =>
  new Agent({
    connect: connectorOf(endpoint, index),
    headersTimeout: answerMs,
    bodyTimeout: answerMs,
    maxResponseSize: answerBytesMax,
    connections: 4,
  });

const Envelope = z.object({ data: z.unknown().optional(), message: z.string().optional() });

function codeOf(status: number, method: Question['method']): ApiErrorCode {
  if (status === 401) return 'KR_PVE_TOKEN';
  if (status === 403) return 'KR_PVE_RIGHTS';
  // pveproxy's own, of AnyEvent::HTTP: 595 is a connection to the node of the path that failed, and
  // 596 to 599 are failures after the request was passed on, or may have been.
  if (status < 595 || status > 599) return 'KR_PVE_REFUSED';
  return status === 595 || method === 'GET' ? 'KR_PVE_ASLEEP' : 'KR_PVE_UNCLEAR';
}

type Member = { url: string; agent: Agent };

async function ask(member: Member, authorization: string, question: Question): Promise<unknown> {
  const { method, path, params = {}, signal } = question;
  const text = new URLSearchParams(params).toString();
  const query = method === 'GET' && text !== '' ? `?${text}` : '';
  const hasContent = method === 'POST' || method === 'PUT';
  const answer = await request(`${member.url}/api2/json${path}${query}`, {
    method,
    dispatcher: member.agent,
    ...(signal && { signal }),
    headers: {
      authorization,
      ...(hasContent && { 'content-type': 'application/x-www-form-urlencoded' }),
    },
    ...(hasContent && { body: text }),
  });
  const body = await answer.body.text();
  const { statusCode, statusText } = answer;
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    json = undefined;
  }
  const envelope = Envelope.safeParse(json);
  if (statusCode !== 200) {
    const said = envelope.data?.message?.trim() ?? '';
    const reason = said === '' ? statusText : said;
    throw new PveApiError(codeOf(statusCode, method), `${statusCode} ${reason}`.trim());
  }
  if (envelope.success) return envelope.data.data;
  throw new PveApiError('KR_PVE_UNCLEAR', `${path}: the answer is not that of Proxmox VE`);
}

const reasonOf = (error: unknown): string =>
  error instanceof Error ? error.message || error.name : String(error);

function failureOf(error: unknown, url: string): PveApiError {
  if (error instanceof PveApiError) return error;
  const { host } = new URL(url);
  const message = `${host}: ${reasonOf(error)}`;
  if (!(error instanceof NotConnected)) {
    return new PveApiError('KR_PVE_UNCLEAR', message, { cause: error });
  }
  const cause = error.cause as Error;
  const code = isCertificate(cause) ? 'KR_PVE_CERTIFICATE' : 'KR_PVE_UNREACHABLE';
  return new PveApiError(code, message, { cause });
}

/** Whether another member may be asked the same: a question always, a change if it never left. */
const mayAskNext = ({ code }: PveApiError, { method }: Question): boolean =>
  code === 'KR_PVE_UNREACHABLE' ||
  code === 'KR_PVE_CERTIFICATE' ||
  (code === 'KR_PVE_UNCLEAR' && method === 'GET');

export function createPveApi(endpoint: ApiEndpoint): PveApi {
  const { tokenId, tokenSecret } = endpoint;
  const authorization = `PVEAPIToken=${tokenId}=${tokenSecret}`;
  const members = endpoint.urls.map((url, index) => ({ url, agent: agentOf(endpoint, index) }));
  /** The member that answered last goes first. */
  let first = 0;

  async function call(question: Question): Promise<unknown> {
    const { via } = question;
    const order = [...members.slice(first), ...members.slice(0, first)];
    const asked = via === undefined ? order : order.filter(({ url }) => url === via);
    const failures: PveApiError[] = [];
    for (const member of asked) {
      try {
        const answer = await ask(member, authorization, question);
        if (via === undefined) first = members.indexOf(member);
        return answer;
      } catch (error) {
        const failure = failureOf(error, member.url);
        failures.push(failure);
        if (!mayAskNext(failure, question)) throw failure;
      }
    }
    const [only] = failures;
    if (only && failures.length === 1) throw only;
    const all = failures.map(({ message }) => message).join('; ');
    throw new PveApiError(failures.at(-1)?.code ?? 'KR_PVE_UNREACHABLE', all);
  }

  return {
    urls: endpoint.urls,
    tokenId,
    async get(schema, path, more = {}) {
      const parsed = schema.safeParse(await call({ method: 'GET', path, ...more }));
      if (parsed.success) return parsed.data;
      const { field, hint } = firstIssue(parsed.error, '');
      throw new PveApiError('KR_PVE_UNCLEAR', `${path}: ${field}: ${hint}`);
    },
    async send(question) {
      const answer = await call(question);
      return typeof answer === 'string' ? answer : null;
    },
    async close() {
      for (const { agent } of members) await agent.destroy();
    },
  };
}
