import { createPublicKey, verify } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Signed, ServerKey } from '../../../broker/contract/server.ts';
import { keepId, openSigner } from '../../../backend/act/signer.ts';
import { idsOf, seededRandom, virtualClock } from '../../support/clock.ts';

let folder: string;
beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'kr-keys-')), 'keys');
});
afterEach(async () => {
  await rm(join(folder, '..'), { recursive: true });
});

const open = (seed = 1) => {
  const random = seededRandom(seed);
  return openSigner({ folder, random, newId: idsOf(virtualClock(), random) });
};

const isSignedBy = (signed: Signed, { publicKey }: ServerKey): boolean => {
  const der = Buffer.concat([
    Buffer.from('302a300506032b6570032100', 'hex'),
    Buffer.from(publicKey, 'base64'),
  ]);
  const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
  return verify(null, Buffer.from(signed.signed), key, Buffer.from(signed.signature, 'base64'));
};

describe('the signer', () => {
  it('signs what any holder of its public key can check, and no changed byte of it', async () => {
    const signer = await open();
    const [key] = signer.serverKeys;
    const signed = signer.sign({ type: 'grant', text: 'für alle' });
    expect(Signed.parse(signed)).toEqual(signed);
    expect(ServerKey.parse(key)).toEqual(key);
    expect(signed.keyId).toBe(key?.keyId);
    expect(key && isSignedBy(signed, key)).toBe(true);
    expect(key && isSignedBy({ ...signed, signed: signed.signed.replace('f', 'F') }, key)).toBe(
      false,
    );
  });

  it('keeps key and id over restarts, readable by its owner alone', async () => {
    const first = await open(1);
    const second = await open(2);
    expect(second.serverKeys).toEqual(first.serverKeys);
    expect(second.serverId).toBe(first.serverId);
    for (const name of await readdir(folder)) {
      expect((await stat(join(folder, name))).mode & 0o777).toBe(0o600);
    }
  });

  it('offers two keys during a rotation and signs with the older one', async () => {
    const first = await open(1);
    const other = join(folder, '..', 'other');
    const random = seededRandom(9);
    await openSigner({ folder: other, random, newId: idsOf(virtualClock(), random) });
    await writeFile(join(folder, 'server-2.pem'), await readFile(join(other, 'server-1.pem')));
    const both = await open(3);
    expect(both.serverKeys).toHaveLength(2);
    expect(both.sign({}).keyId).toBe(first.serverKeys[0]?.keyId);
    await writeFile(join(folder, 'server-3.pem'), await readFile(join(other, 'server-1.pem')));
    await expect(open(4)).rejects.toMatchObject({ code: 'KR_SERVER_KEY' });
  });

  it('never replaces a key it cannot read', async () => {
    await open();
    const path = join(folder, 'server-1.pem');
    await chmod(path, 0o600);
    await writeFile(path, 'torn');
    await expect(open(2)).rejects.toMatchObject({ code: 'KR_SERVER_KEY' });
    expect(await readFile(path, 'utf8')).toBe('torn');
  });

  it('is not kept from its first key by a start that was killed while it wrote one', async () => {
    await mkdir(folder);
    for (const name of ['server-1.pem.new', 'server-id.new']) {
      await writeFile(join(folder, name), '-----BEG');
    }
    const first = await open(1);
    expect((await open(2)).serverId).toBe(first.serverId);
    expect((await readdir(folder)).sort()).toEqual(['server-1.pem', 'server-id']);
    expect((await stat(join(folder, 'server-1.pem'))).mode & 0o777).toBe(0o600);
  });
});

describe('the id of an installation', () => {
  it('stays the same in its folder, and is another in every other folder', async () => {
    const make = (at: string, seed: number) =>
      keepId(at, 'installation-id', idsOf(virtualClock(), seededRandom(seed)));
    const parent = join(folder, '..');
    const first = await make(parent, 1);
    expect(await make(parent, 2)).toBe(first);
    await mkdir(folder);
    expect(await make(folder, 3)).not.toBe(first);
    await writeFile(join(parent, 'installation-id'), 'mine\n');
    await expect(make(parent, 4)).rejects.toThrow(/installation-id holds no UUID/);
  });
});
