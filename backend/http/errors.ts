/**
 * Every error this API can answer with, in one table: code -> status, title and the way out.
 * Answers are RFC 9457 problem details; `code` is stable, words may change. A 5xx never carries
 * the cause: that stands in the log under the same `instance`.
 */
import type { Refusal } from '../refusal.ts';

type Entry = { readonly status: number; readonly title: string; readonly wayOut: string };

const entry = (status: number, title: string, wayOut: string): Entry => ({ status, title, wayOut });

export const errorTable = {
  KR_BODY: entry(400, 'Invalid body', 'Correct the named field; /openapi.json has the schema.'),
  KR_QUERY: entry(400, 'Invalid query', 'Correct the named parameter; /openapi.json lists them.'),
  KR_PATH: entry(400, 'Invalid path', 'Correct the named part of the path.'),
  KR_HEADER: entry(400, 'Invalid header', 'Correct the named header.'),
  KR_NOT_JSON: entry(400, 'Body is not JSON', 'Send one JSON object encoded as UTF-8.'),
  KR_BODY_MISSING: entry(400, 'Body is missing', 'Send a JSON object as body.'),
  KR_REQUEST: entry(400, 'Malformed request', 'Correct the request; /openapi.json describes it.'),
  KR_METRIC_UNKNOWN: entry(400, 'Unknown metric', 'Use names of the metrics catalogue.'),
  KR_PASSWORD_WEAK: entry(400, 'Password refused', 'Choose 12 to 256 characters nobody can guess.'),
  KR_UNAUTHENTICATED: entry(
    401,
    'Not signed in',
    'Send Authorization: Bearer <token> from POST /api/v1/session or an API token.',
  ),
  KR_CREDENTIALS: entry(401, 'Sign-in refused', 'Check user name and password.'),
  KR_TOTP: entry(401, 'Needs the second factor', 'Send the six digits that your app shows now.'),
  KR_SETUP_TOKEN: entry(
    401,
    'Wrong set-up token',
    'Use the token printed when the server started.',
  ),
  KR_FORBIDDEN: entry(403, 'Not permitted', 'Ask an administrator for a role that may do this.'),
  KR_SCOPE: entry(403, 'Needs access to every cluster', 'Use an account without a cluster list.'),
  KR_REAUTHENTICATION: entry(
    403,
    'Needs a fresh proof of the password',
    'Repeat the request with your password in the field password.',
  ),
  KR_CROSS_SITE: entry(403, 'Cross-site request', 'Call the API from its own origin.'),
  KR_ADDRESS: entry(403, 'Address not allowed', 'Ask the administrator to allow this address.'),
  KR_NOT_FOUND: entry(404, 'Not found', 'Check the id; lists show what exists.'),
  KR_ROUTE: entry(404, 'No such route', 'See /openapi.json for every route.'),
  KR_CLUSTER_UNKNOWN: entry(404, 'Unknown cluster', 'GET /api/v1/clusters lists yours.'),
  KR_METHOD: entry(405, 'Method not allowed', 'Use a method of the Allow header.'),
  KR_SETUP_DONE: entry(409, 'Already set up', 'Sign in with POST /api/v1/session.'),
  KR_USERNAME_TAKEN: entry(409, 'User name taken', 'Choose another user name.'),
  KR_LAST_ADMIN: entry(409, 'Last administrator', 'Make another account administrator first.'),
  KR_CONFLICT: entry(409, 'Changed meanwhile', 'Read it again and repeat.'),
  KR_SIMULATED_FIXED: entry(
    409,
    'Simulated is fixed',
    'Whether a cluster is simulated is decided at its creation; use another cluster.',
  ),
  KR_BODY_TOO_LARGE: entry(413, 'Body too large', 'Send fewer bytes; 64 KiB is the usual limit.'),
  KR_CONTENT_TYPE: entry(415, 'Unsupported content type', 'Send Content-Type: application/json.'),
  KR_RATE_LIMIT: entry(429, 'Too many requests', 'Wait as long as Retry-After says.'),
  KR_LOGIN_DELAY: entry(429, 'Too many failed sign-ins', 'Wait as long as Retry-After says.'),
  KR_NOT_DELIVERED: entry(502, 'Not delivered', 'Correct the channel, then test it again.'),
  KR_INTERNAL: entry(500, 'Internal error', 'The server log has the cause under this instance.'),
  KR_STORE_UNAVAILABLE: entry(503, 'Store unavailable', 'Wait as long as Retry-After says.'),
  KR_BUSY: entry(503, 'Busy', 'Wait as long as Retry-After says and repeat.'),
} as const satisfies Record<string, Entry>;

export type ErrorCode = keyof typeof errorTable;

export type Problem = {
  type: string;
  title: string;
  status: number;
  code: string;
  detail: string;
  field?: string;
  wayOut?: string;
  instance?: string;
};

type Details = { field?: string; wayOut?: string; retryAfterMs?: number; cause?: unknown };

/** An expected refusal on its way to the client. */
export class HttpError extends Error {
  readonly problem: Problem;
  readonly retryAfterMs: number | undefined;

  constructor(problem: Problem, options: { retryAfterMs?: number; cause?: unknown } = {}) {
    super(problem.detail, { cause: options.cause });
    this.name = 'HttpError';
    this.problem = problem;
    this.retryAfterMs = options.retryAfterMs;
  }
}

const typeOf = (code: string): string =>
  `urn:kernreaktor:error:${code.slice('KR_'.length).toLowerCase().replaceAll('_', '-')}`;

export function httpError(code: ErrorCode, detail: string, details: Details = {}): HttpError {
  const { status, title, wayOut } = errorTable[code];
  const { field, retryAfterMs, cause } = details;
  return new HttpError(
    {
      type: typeOf(code),
      title,
      status,
      code,
      detail,
      ...(field === undefined ? {} : { field }),
      wayOut: details.wayOut ?? wayOut,
    },
    { ...(retryAfterMs === undefined ? {} : { retryAfterMs }), cause },
  );
}

/** What is away may be back by then; nobody is harmed by asking sooner. */
export const retryAfterMs = 1_000;

/** A refusal that another stage worded (commands, enrolments), passed on as it is. */
export function refusalError(refusal: Refusal): HttpError {
  const { status, code, field, detail, wayOut } = refusal;
  const problem = { type: typeOf(code), title: 'Refused', status, code, detail, wayOut };
  const later = status === 503 ? { retryAfterMs } : {};
  return new HttpError(field === '' ? problem : { ...problem, field }, later);
}
