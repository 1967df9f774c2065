/**
 * Passwords: argon2id with 19 MiB and two passes, behind a bounded queue, so that a flood of
 * sign-ins can take neither all memory nor every thread. Alone imports @node-rs/argon2. A
 * password is never logged, stored or returned.
 */
import { readFileSync } from 'node:fs';
import { hash, type Options, verify } from '@node-rs/argon2';
import { httpError } from './errors.ts';

export type Passwords = {
  hash(password: string): Promise<string>;
  /** Takes the same time whether or not a hash exists. */
  verify(storedHash: string | null, password: string): Promise<boolean>;
  /** Why it is refused, or null. */
  weakness(password: string, username: string): string | null;
};

/** OWASP's minimum for argon2id; the algorithm id 2 is argon2id (a const enum cannot be read). */
const options: Options = { memoryCost: 19_456, timeCost: 2, parallelism: 1, algorithm: 2 };
/** Two at a time hold 38 MiB; the 32 waiting take about a second on a small machine. */
const runningMax = 2;
const waitingMax = 32;

export const passwordLengthMin = 12;
export const passwordLengthMax = 256;

function boundedQueue() {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async <T>(work: () => Promise<T>): Promise<T> => {
    if (running >= runningMax) {
      if (waiting.length >= waitingMax) {
        throw httpError('KR_BUSY', 'Too many sign-ins are being checked.', { retryAfterMs: 1_000 });
      }
      // The one who leaves hands its place over, so `running` stays as it is.
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else {
      running += 1;
    }
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running -= 1;
    }
  };
}

const commonPasswords = (): ReadonlySet<string> =>
  new Set(
    readFileSync(new URL('./common-passwords.txt', import.meta.url), 'utf8')
      .split('\n')
      .filter((line) => line !== ''),
  );

export function weaknessOf(
  password: string,
  username: string,
  common: ReadonlySet<string>,
): string | null {
  const normal = password.normalize('NFKC').toLowerCase();
  const length = Array.from(password).length;
  if (length < passwordLengthMin) return `It has ${length} characters; at least 12 are needed.`;
  if (length > passwordLengthMax) return `It has ${length} characters; at most 256 are possible.`;
  if (common.has(normal)) return 'It is in the list of common passwords.';
  if (new Set(normal).size < 5) return 'It uses fewer than five different characters.';
  if (normal.includes(username.toLowerCase())) return 'It contains the user name.';
  return null;
}

/** `random` makes the dummy that unknown users are verified against. */
export async function createPasswords(random: (bytes: number) => Uint8Array): Promise<Passwords> {
  const queue = boundedQueue();
  const common = commonPasswords();
  const dummy = await hash(random(32), { ...options, salt: random(16) });
  return {
    hash: (password) => queue(() => hash(password.normalize('NFKC'), options)),
    async verify(storedHash, password) {
      const isRight = await queue(() => verify(storedHash ?? dummy, password.normalize('NFKC')));
      return isRight && storedHash !== null;
    },
    weakness: (password, username) => weaknessOf(password, username, common),
  };
}
