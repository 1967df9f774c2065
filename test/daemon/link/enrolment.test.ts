import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DaemonClientOptions } from '../../../broker/client.ts';
import { decode, encode, type Outgoing } from '../../../broker/contract/codec.ts';
import type { Enrolled } from '../../../broker/contract/server.ts';
import {
  type Credential,
  credentialPath,
  readCredential,
  writeCredential,
} from '../../../daemon/link/credential.ts';
import { enrol } from '../../../daemon/link/enrolment.ts';
import { idsOf, seededRandom, virtualClock } from '../../support/clock.ts';
import { memoryLog } from '../../support/log.ts';
import { settle } from './twin.ts';

let dataDir: string;
beforeEach(async () => {
  dataDir = join(await mkdtemp(join(tmpdir(), 'kr-enrol-')), 'data');
});
afterEach(() => rm(join(dataDir, '..'), { recursive: true, force: true }));

const token = 'ab'.repeat(32);
const enrolled: Enrolled = {
  daemon: 'nas',
  secret: 'cd'.repeat(32),
  serverId: '0b3f6c1e-5b51-4b0c-9a1e-2f4d5a6b7c8d',
  serverKeys: [{ keyId: '0'.repeat(16), publicKey: Buffer.alloc(32, 7).toString('base64') }],
  simulated: false,
};
const credential: Credential = {
  cluster: 'home',
  daemon: 'nas',
  nodes: ['nas'],
  secret: enrolled.secret,
  serverId: enrolled.serverId,
  serverKeys: enrolled.serverKeys,
  simulated: false,
  caSha256: 'ef'.repeat(32),
};

/** A broker that lets a token in; what it answers is the test's business. */
function start() {
  const clock = virtualClock();
  const newId = idsOf(clock, seededRandom(3));
  const log = memoryLog();
  const published: Outgoing[] = [];
  let options: DaemonClientOptions | undefined;
  let ends = 0;
  const abort = new AbortController();
  const path = credentialPath(dataDir);
  const asked = {
    url: 'mqtts://twin',
    cluster: 'home',
    node: 'nas',
    secret: token,
    caSha256: credential.caSha256,
    daemonVersion: '1.2.3',
    kernel: '6.8',
    path,
  };
  const openClient = (given: DaemonClientOptions) => {
    options = given;
    return {
      publish: async (message: Outgoing) => void published.push(message),
      isConnected: () => true,
      end: async () => void (ends += 1),
    };
  };
  const deps = { clock, random: seededRandom(4), newId, log, openClient };
  const answer = (body: unknown = enrolled): void => {
    const head = { v: 1, id: newId(), cluster: 'home', node: 'nas', seq: 0, sentAtMs: 0 } as const;
    const out = encode('enrolled', { ...head, session: newId(), body: body as Enrolled });
    options?.onMessage(out.topic, Buffer.from(out.payload));
  };
  return {
    clock,
    log,
    published,
    path,
    abort,
    answer,
    options: () => options,
    ends: () => ends,
    done: enrol(asked, deps, abort.signal),
  };
}

describe('enrolment', () => {
  it('comes in by the token, under the pinned CA, and may only hear its answer', async () => {
    const first = start();
    await settle();
    expect(first.options()).toMatchObject({
      clientId: 'home/nas',
      username: 'home/nas',
      password: token,
      fingerprintSha256: credential.caSha256,
      subscriptions: ['kr/v1/home/nas/enrolled'],
    });
    first.options()?.onConnect();
    first.answer();
    expect(await first.done).toEqual(credential);
    expect(await readCredential(first.path)).toEqual(credential);
    expect((await stat(first.path)).mode & 0o777).toBe(0o600);
    expect(first.ends()).toBe(1);
    expect(first.clock.pending()).toBe(0);
    expect(JSON.stringify(first.log.lines)).not.toContain(enrolled.secret);
  });

  it('asks again until it is answered, and takes nothing malformed for an answer', async () => {
    const first = start();
    await settle();
    first.options()?.onConnect();
    await first.clock.advance(11_000);
    first.answer({ ...enrolled, secret: 'short' });
    await first.clock.advance(5_000);
    const asked = first.published.map(({ topic, payload }) => decode(topic, Buffer.from(payload)));
    expect(asked).toHaveLength(4);
    expect(asked[0]).toMatchObject({
      ok: true,
      message: { name: 'enrol', body: { daemonVersion: '1.2.3', kernel: '6.8' } },
    });
    expect(await readCredential(first.path)).toBeNull();
    first.answer();
    await expect(first.done).resolves.toMatchObject({ daemon: 'nas' });
  });

  it('says the way out while it is refused, and ends when it is told to', async () => {
    const first = start();
    await settle();
    first.options()?.onClose('Connection refused: Not authorized');
    expect(first.log.lines[0]?.message).toContain('token may be used up');
    first.abort.abort(new Error('stopping'));
    await expect(first.done).rejects.toThrow('stopping');
    expect(first.ends()).toBe(1);
    expect(await readCredential(first.path)).toBeNull();
  });
});

describe('credential file', () => {
  it('replaces what an interrupted attempt left, with mode 0600 from the first byte', async () => {
    const path = credentialPath(dataDir);
    await mkdir(dataDir, { recursive: true });
    await writeFile(`${path}.new`, '{"half', { mode: 0o644 });
    expect(await readCredential(path)).toBeNull();
    await writeCredential(path, credential);
    expect(await readdir(dataDir)).toEqual(['credential.json']);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it.each([
    ['{"half', 'is not JSON'],
    ['{}', 'cluster'],
    [JSON.stringify({ ...credential, secret: 'x' }), 'secret'],
    [JSON.stringify({ ...credential, colour: 'red' }), 'colour'],
  ])('never enrols again in silence over a damaged file: %s', async (text, field) => {
    const path = credentialPath(dataDir);
    await mkdir(dataDir, { recursive: true });
    await writeFile(path, text);
    await expect(readCredential(path)).rejects.toMatchObject({
      code: 'KR_CREDENTIAL',
      message: expect.stringMatching(new RegExp(`${field}.*delete it and enrol`)),
    });
    expect(await readFile(path, 'utf8')).toBe(text);
  });
});
