/**
 * One POST to somebody else's server: no redirect is followed, nothing link-local is reached
 * (cloud metadata), and of the answer only its status is ever told.
 */
import { lookup, type LookupAddress } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { Agent, request } from 'undici';

const timeoutMs = 10_000;

export class NotSent extends Error {
  override readonly name = 'NotSent';
  readonly code = 'KR_NOT_SENT';
}

const barred = new BlockList();
barred.addSubnet('169.254.0.0', 16, 'ipv4');
barred.addSubnet('fe80::', 10, 'ipv6');

const isBarred = (address: string): boolean => {
  const plain = address.replace(/^\[|\]$/g, '').replace(/^::ffff:(?=\d)/i, '');
  const family = isIP(plain);
  return family !== 0 && barred.check(plain, family === 4 ? 'ipv4' : 'ipv6');
};

/** The address that is judged is the one that is called. */
const guardedLookup: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
    const allowed = addresses?.filter(({ address }) => !isBarred(address)) ?? [];
    const [first] = allowed;
    if (error || !first) {
      callback(error ?? new Error(`${hostname} is link-local: not called`), '', 4);
    } else if (options.all === true) {
      (callback as unknown as (e: null, all: LookupAddress[]) => void)(null, allowed);
    } else callback(null, first.address, first.family);
  });
};

const agent = new Agent({
  connect: { lookup: guardedLookup, timeout: timeoutMs },
  headersTimeout: timeoutMs,
  bodyTimeout: timeoutMs,
  pipelining: 0,
});

export type Post = {
  url: string;
  method?: 'POST' | 'GET';
  headers?: Record<string, string>;
  /** Sent as it stands: a signature covers these very bytes. */
  body?: string;
};

/** @throws NotSent unless the answer is 2xx. */
export async function post({ url, method = 'POST', headers = {}, body }: Post): Promise<void> {
  const { host, hostname } = new URL(url);
  if (isBarred(hostname)) throw new NotSent(`${host} is link-local: it is not called`);
  let statusCode: number;
  try {
    const answer = await request(url, {
      method,
      dispatcher: agent,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body }),
    });
    statusCode = answer.statusCode;
    await answer.body.dump();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new NotSent(`${host} was not reached: ${why}`);
  }
  if (statusCode < 200 || statusCode > 299) throw new NotSent(`${host} answered ${statusCode}`);
}
