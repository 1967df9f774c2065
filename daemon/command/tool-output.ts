/**
 * What tools print: the newest part, from pipes of those that answer and from files of those that
 * act. A pipe would break when this process ends or is upgraded, and Proxmox kills its task at the
 * next line that it cannot pass on. Invariant: no tool waits for us to read, and an acting one
 * never meets a broken pipe; a file is cut at 1 MiB while it grows, also that of a tool which an
 * earlier process began.
 */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, mkdtemp, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Of each stream, unless more is asked for. */
export const outputBytesMax = 64 * 1024;
/** Above this a file is cut to its newest part. */
const fileBytesMax = 2 ** 20;
/** Small chunks are joined, so that their number does not cost more than their bytes. */
const chunksMax = 1_024;
/** No tool may act for longer than a day. */
const orphanMs = 25 * 3_600_000;

/** A cut may have split a character: leaves out its continuation bytes (10xxxxxx). */
function textOf(tail: Buffer, isCut: boolean): string {
  const isHalf = (byte: number): boolean => (byte & 0xc0) === 0x80;
  const from = isCut ? tail.findIndex((byte) => !isHalf(byte)) : 0;
  return tail.toString('utf8', Math.max(0, from));
}

/** Reads for ever, so that the tool never blocks on a full pipe, and keeps the newest bytes. */
export function keepNewest(stream: NodeJS.ReadableStream | null, bytesMax: number): () => string {
  let chunks: Buffer[] = [];
  let length = 0;
  let isCut = false;
  const trim = (): Buffer => {
    isCut ||= length > bytesMax;
    const newest = Buffer.concat(chunks).subarray(-bytesMax);
    chunks = [newest];
    length = newest.length;
    return newest;
  };
  stream?.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    length += chunk.length;
    if (length > 2 * bytesMax || chunks.length > chunksMax) trim();
  });
  return () => textOf(trim(), isCut);
}

async function tailOf(file: FileHandle): Promise<{ tail: Buffer; isCut: boolean }> {
  const { size } = await file.stat();
  const from = Math.max(0, size - outputBytesMax);
  const length = size - from;
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, from);
  return { tail: buffer.subarray(0, bytesRead), isCut: from > 0 };
}

/** Appending tools go on at the new end; what one prints meanwhile may stand before older lines. */
async function cut(file: FileHandle): Promise<void> {
  if ((await file.stat()).size <= fileBytesMax) return;
  const { tail } = await tailOf(file);
  await file.truncate(0);
  await file.appendFile(tail);
}

const appending = constants.O_RDWR | constants.O_APPEND | constants.O_NOFOLLOW;

export type OutputFiles = {
  /** stdout and stderr, for the tool. */
  readonly descriptors: readonly [number, number];
  cut(): Promise<void>;
  /** The newest 64 KiB of each. */
  read(): Promise<{ stdout: string; stderr: string }>;
  /** `isOver`: nobody prints any more, and the files go. */
  close(isOver: boolean): Promise<void>;
};

/** @throws what the file system says: no space, no right, no such disk. */
export async function openOutputs(parent: string): Promise<OutputFiles> {
  await mkdir(parent, { recursive: true, mode: 0o700 });
  const folder = await mkdtemp(join(parent, 'tool-'));
  const create = async (name: string): Promise<FileHandle> =>
    open(join(folder, name), appending | constants.O_CREAT | constants.O_EXCL, 0o600);
  const stdout = await create('stdout');
  const stderr = await create('stderr');
  const read = async (file: FileHandle): Promise<string> => {
    const { tail, isCut } = await tailOf(file);
    return textOf(tail, isCut);
  };
  return {
    descriptors: [stdout.fd, stderr.fd],
    async cut() {
      await cut(stdout);
      await cut(stderr);
    },
    read: async () => ({ stdout: await read(stdout), stderr: await read(stderr) }),
    async close(isOver) {
      await stdout.close();
      await stderr.close();
      if (isOver) await rm(folder, { recursive: true, force: true });
    },
  };
}

async function sweepFolder(folder: string, nowWallMs: number): Promise<void> {
  let touchedMs = (await stat(folder)).mtimeMs;
  for (const name of await readdir(folder)) {
    const file = await open(join(folder, name), appending);
    try {
      touchedMs = Math.max(touchedMs, (await file.stat()).mtimeMs);
      await cut(file);
    } finally {
      await file.close();
    }
  }
  if (nowWallMs - touchedMs > orphanMs) await rm(folder, { recursive: true, force: true });
}

/** Bounds what tools of an earlier process still print, and removes what has been still for long. */
export async function sweepOutputs(parent: string, nowWallMs: number): Promise<void> {
  const names = await readdir(parent).catch((): string[] => []);
  for (const name of names) {
    // One that goes with its run in this very moment is no failure.
    await sweepFolder(join(parent, name), nowWallMs).catch(() => undefined);
  }
}
