import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Content, readArchive, writeArchive } from '../../../backend/backup/archive.ts';
import { BackupError, newIdentity, recipientOf } from '../../../backend/backup/seal.ts';

let folder: string;
let identity: string;
let path: string;
let counted: { files: number; rows: number };

const content: Content[] = [
  { kind: 'file', path: 'keys/server-1.pem', mode: 0o600, base64: 'c2VjcmV0' },
  {
    kind: 'rows',
    table: 'accounts',
    rows: Array.from({ length: 500 }, (_, n) => ({ id: `ü${n}`, n, none: null })),
  },
];
const head = {
  kind: 'kernreaktor-backup',
  format: 1,
  version: '0.1.0',
  takenAtMs: 1_800_000_000_000,
  serverId: '01890000-0000-7000-8000-000000000001',
  migrations: ['001-schema'],
} as const;

async function* given(lines: readonly Content[]) {
  for (const line of lines) yield line;
}

async function read(file: string, key: string): Promise<Content[]> {
  const seen: Content[] = [];
  await readArchive(file, [key], { head: () => undefined, content: (one) => void seen.push(one) });
  return seen;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-archive-'));
  identity = await newIdentity();
  path = join(folder, 'whole.age');
  const counts = { files: 0, rows: 0 };
  const archive = { head, content: given(content) };
  const stream = await writeArchive(archive, [await recipientOf(identity)], counts);
  await pipeline(stream, createWriteStream(path));
  counted = counts;
});
afterAll(() => rm(folder, { recursive: true }));

describe('an archive', () => {
  it('gives back what was put in, and shows none of it without the key', async () => {
    expect(await read(path, identity)).toEqual(content);
    expect(counted).toEqual({ files: 1, rows: 500 });
    expect((await readFile(path)).includes('server-1.pem')).toBe(false);
  });

  it('opens with its own key alone', async () => {
    await expect(read(path, await newIdentity())).rejects.toThrow(BackupError);
  });

  it('is refused when it is cut anywhere', async () => {
    const whole = await readFile(path);
    const cut = join(folder, 'cut.age');
    for (let length = 0; length < whole.length; length += 97) {
      await writeFile(cut, whole.subarray(0, length));
      await expect(read(cut, identity), `cut at ${length}`).rejects.toThrow(BackupError);
    }
    await writeFile(cut, whole.subarray(0, -1));
    await expect(read(cut, identity)).rejects.toThrow(BackupError);
  });

  it('is refused when a byte of it was changed', async () => {
    const whole = await readFile(path);
    const changed = join(folder, 'changed.age');
    for (let at = 0; at < whole.length; at += 101) {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      await writeFile(changed, bytes);
      await expect(read(changed, identity), `byte ${at}`).rejects.toThrow(BackupError);
    }
  });

  it('says which failure ended it when its content cannot be read', async () => {
    async function* failing(): AsyncGenerator<Content> {
      yield* given(content);
      throw new Error('the disk is gone');
    }
    const archive = { head, content: failing() };
    const stream = await writeArchive(archive, [await recipientOf(identity)], {
      files: 0,
      rows: 0,
    });
    const ended = pipeline(stream, createWriteStream(join(folder, 'failed.age')));
    await expect(ended).rejects.toThrow('the disk is gone');
  });
});
