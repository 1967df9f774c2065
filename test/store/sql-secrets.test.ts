import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSecrets, loadMasterKey } from '../../backend/store/sql/secrets.ts';
import { uuidv7 } from '../../broker/contract/ids.ts';
import { seededRandom } from '../support/clock.ts';

const random = {
  ...seededRandom(1),
  bytes: (count: number) => Uint8Array.from(randomBytes(count)),
};
const newId = () => uuidv7(1_800_000_000_000, random.bytes(16));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-secrets-'));
});
afterAll(() => rm(folder, { recursive: true }));

const codeOf = (work: () => unknown): unknown => {
  try {
    work();
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
  return 'no error';
};

describe('a sealed secret', () => {
  const key = random.bytes(32);
  const secrets = createSecrets(key, random);

  it('opens to what was sealed and never looks the same twice', () => {
    for (const plain of ['', 'hunter2', '🦊'.repeat(1_000)]) {
      const sealed = secrets.seal('webhook', plain);
      expect(secrets.unseal('webhook', sealed)).toBe(plain);
      expect(secrets.seal('webhook', plain)).not.toBe(sealed);
      expect(sealed).toMatch(/^v1\.[\w-]{8}\.[\w-]{16}\.[\w-]{22,}$/);
    }
  });

  it('does not open after any changed byte, cut or swap', () => {
    const sealed = secrets.seal('bmc/pve1', 'hunter2');
    const [, keyId, nonce = '', body = ''] = sealed.split('.');
    for (const [part, rebuild] of [
      [nonce, (text: string) => `v1.${keyId}.${text}.${body}`],
      [body, (text: string) => `v1.${keyId}.${nonce}.${text}`],
    ] as const) {
      const bytes = Buffer.from(part, 'base64url');
      for (let at = 0; at < bytes.length; at += 1) {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ 1;
        const text = rebuild(changed.toString('base64url'));
        expect(codeOf(() => secrets.unseal('bmc/pve1', text))).toBe('KR_SECRET_TAMPERED');
      }
    }
    for (const text of ['', 'v1', `v2${sealed.slice(2)}`, sealed.slice(0, 40), `${sealed}.x`]) {
      expect(codeOf(() => secrets.unseal('bmc/pve1', text))).toBe('KR_SECRET_TAMPERED');
    }
    expect(codeOf(() => secrets.unseal('bmc/pve2', sealed))).toBe('KR_SECRET_TAMPERED');
  });

  it('says so when it was sealed under another master key', () => {
    const sealed = createSecrets(random.bytes(32), random).seal('webhook', 'hunter2');
    expect(codeOf(() => secrets.unseal('webhook', sealed))).toBe('KR_SECRET_SEALED_ELSEWHERE');
  });
});

describe('the master key', () => {
  it('is made once, for the owner alone, and is the same for all who start at once', async () => {
    const file = join(folder, 'keys', 'master.key');
    const keys = await Promise.all(
      Array.from({ length: 4 }, () => loadMasterKey(file, { random, newId })),
    );
    const again = await loadMasterKey(file, { random, newId });
    for (const key of keys) expect(Buffer.from(key)).toEqual(Buffer.from(again));
    expect(again).toHaveLength(32);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(join(folder, 'keys'))).mode & 0o777).toBe(0o700);
    expect(await readdir(join(folder, 'keys'))).toEqual(['master.key']);
  });

  it('is closed to others again when somebody opened it', async () => {
    const file = join(folder, 'shared.key');
    await loadMasterKey(file, { random, newId });
    await chmod(file, 0o644);
    await loadMasterKey(file, { random, newId });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  it('that is damaged is refused by name and never replaced', async () => {
    const file = join(folder, 'damaged.key');
    await writeFile(file, 'abc\n');
    await expect(loadMasterKey(file, { random, newId })).rejects.toMatchObject({
      code: 'KR_MASTER_KEY',
      message: expect.stringContaining(file),
    });
    expect(await readFile(file, 'utf8')).toBe('abc\n');
  });
});
