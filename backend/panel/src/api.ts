/**
 * The panel's only way to the server: the API that everybody uses, relative to where the page was
 * served from. Failures are `ApiError` with the server's problem, or `offline` when nobody
 * answered; a 401 ends the session here, once, for every caller.
 */
import { signal } from '@preact/signals';

/** RFC 9457, as the API sends it. */
export type Problem = {
  code: string;
  title: string;
  status: number;
  detail: string;
  field?: string;
  wayOut?: string;
};

export class ApiError extends Error {
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

const offline: Problem = {
  code: 'OFFLINE',
  title: 'No answer',
  status: 0,
  detail: 'The server does not answer.',
  wayOut: 'The panel tries again by itself.',
};

export const problemOf = (error: unknown): Problem =>
  error instanceof ApiError ? error.problem : { ...offline, detail: String(error) };

const storageKey = 'kernreaktor-session';

/** The session's token; null while nobody is signed in. */
export const token = signal<string | null>(
  sessionStorage.getItem(storageKey) ?? localStorage.getItem(storageKey),
);
/** Why the last session ended, shown on the sign-in page. */
export const endedBecause = signal('');

export function keepToken(value: string, { isRemembered }: { isRemembered: boolean }): void {
  (isRemembered ? localStorage : sessionStorage).setItem(storageKey, value);
  token.value = value;
  endedBecause.value = '';
}

export function forgetToken(because: string): void {
  sessionStorage.removeItem(storageKey);
  localStorage.removeItem(storageKey);
  token.value = null;
  endedBecause.value = because;
}

export const apiUrl = (path: string): URL => new URL(`api/v1/${path}`, document.baseURI);

type Options = { body?: unknown; headers?: Record<string, string>; signal?: AbortSignal };

/** @throws ApiError with the server's problem; code `OFFLINE` when there was no answer. */
export async function call<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const used = token.value;
  const headers: Record<string, string> = { ...options.headers };
  if (used !== null) headers['authorization'] = `Bearer ${used}`;
  if (options.body !== undefined) headers['content-type'] = 'application/json';
  const response = await fetch(apiUrl(path), {
    method,
    headers,
    ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  }).catch((error: unknown) => {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError(offline);
  });
  if (response.ok) return (response.status === 204 ? undefined : await response.json()) as T;
  const problem = (await response.json().catch(() => null)) as Problem | null;
  // Only the answer to the token that is still in use may end the session; a wrong code of the
  // second factor says nothing about the token.
  const isOfToken = response.status === 401 && problem?.code !== 'KR_TOTP';
  if (isOfToken && used !== null && token.value === used) {
    forgetToken('The session has ended. Sign in again.');
  }
  throw new ApiError(
    problem ?? { ...offline, status: response.status, detail: `HTTP ${response.status}` },
  );
}

export const get = <T>(path: string, signal?: AbortSignal): Promise<T> =>
  call<T>('GET', path, signal === undefined ? {} : { signal });

export type Page<T> = { items: T[]; total: number; nextCursor: string | null };

/** `a=1&b=2` of what is set. */
export const query = (values: Record<string, string | number | undefined>): string =>
  new URLSearchParams(
    Object.entries(values).flatMap(([name, value]) =>
      value === undefined || value === '' ? [] : [[name, String(value)]],
    ),
  ).toString();

/** Browsers keep `randomUUID` from pages that came over plain http. */
const newKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join('-');

/** Asks for a command, once, however often the wire repeats it. */
export const submitCommand = (body: object): Promise<{ id: string }> =>
  call('POST', 'commands', { body, headers: { 'idempotency-key': newKey() } });
