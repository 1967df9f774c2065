/**
 * Batches of line protocol that a server did not take, on disk, oldest first, bounded in bytes.
 * `append` resolves when the batch is on the disk; a record torn by a crash is cut off when the
 * folder is opened again, and everything before it is sent again, which changes nothing. What no
 * longer fits falls out at the old end, a segment at a time, and is counted; never silently.
 *
 *   segment file = records; record = header (20 bytes) | bucket and names (zstd) | lines (zstd)
 *   header       = magic, length of the first, length of the lines, samples, CRC-32 of both
 */
import { mkdir, open, readdir, readFile, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { constants, crc32, zstdCompress, zstdDecompress } from 'node:zlib';
import { z } from 'zod';
import { syncFolder } from '../../durable.ts';
import type { HeldRange } from './held.ts';

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

const magic = 0x4b52_5331;
const headerBytes = 20;
/** At full load a segment every 12 s; also the most that is sent twice after a restart. */
const segmentBytesMax = 8 * 1024 * 1024;
/** What falls out at once is a small part of a small spool, too. */
const segmentsMin = 16;
/** Level 1 takes 9 ms of a pool thread for 5 000 lines and halves what gzip leaves. */
const compression = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

const Head = z.object({
  bucket: z.string(),
  names: z.array(
    z.object({
      cluster: z.string(),
      node: z.string(),
      incarnation: z.number(),
      first: z.number(),
      last: z.number(),
    }),
  ),
});

export type SpoolBatch = {
  bucket: string;
  names: readonly HeldRange[];
  samples: number;
  lines: readonly string[];
};

type Extent = { offset: number; bytes: number; samples: number };
type Segment = { file: string; bytes: number; records: Extent[] };

export type SpoolFigures = { bytes: number; samples: number; dropped: number };

export type SpooledBatch = {
  bucket: string;
  lines: string[];
  samples: number;
  done(): Promise<void>;
};

export type Spool = {
  isEmpty(): boolean;
  /** @throws what the file system throws; then nothing of the batch is kept. */
  append(batch: SpoolBatch): Promise<void>;
  /** The oldest batch, whose `done` takes it off. Null when there is none. */
  oldest(): Promise<SpooledBatch | null>;
  /** Of everything kept, as it was when the folder was opened. */
  names: readonly HeldRange[];
  figures(): SpoolFigures;
};

export type SpoolOptions = {
  folder: string;
  bytesMax: number;
  segmentBytes?: number;
  /** Told how many samples fell out. */
  onDropped(samples: number): void;
};

async function encodeRecord({ bucket, names, samples, lines }: SpoolBatch): Promise<Buffer> {
  const [head, body] = await Promise.all([
    compress(JSON.stringify({ bucket, names }), compression),
    compress(lines.join('\n'), compression),
  ]);
  const header = Buffer.alloc(headerBytes);
  [magic, head.length, body.length, samples].forEach((value, index) =>
    header.writeUInt32LE(value, index * 4),
  );
  header.writeUInt32LE(crc32(body, crc32(head)), 16);
  return Buffer.concat([header, head, body]);
}

type Decoded = { extent: Extent; head: Buffer; body: Buffer };

/** The record at `offset`, undefined where the file ends or is torn. */
function recordAt(bytes: Buffer, offset: number): Decoded | undefined {
  if (offset + headerBytes > bytes.length) return undefined;
  const field = (index: number): number => bytes.readUInt32LE(offset + index * 4);
  const [headLength, bodyLength] = [field(1), field(2)];
  const end = offset + headerBytes + headLength + bodyLength;
  if (field(0) !== magic || end > bytes.length) return undefined;
  const head = bytes.subarray(offset + headerBytes, offset + headerBytes + headLength);
  const body = bytes.subarray(end - bodyLength, end);
  if (crc32(body, crc32(head)) !== field(4)) return undefined;
  return { extent: { offset, bytes: end - offset, samples: field(3) }, head, body };
}

const headOf = async ({ head }: Decoded): Promise<z.infer<typeof Head>> =>
  Head.parse(JSON.parse((await decompress(head)).toString('utf8')));

/** What a segment holds; what follows the last whole record is cut off. */
async function readSegment(file: string): Promise<{ segment: Segment; names: HeldRange[] }> {
  const bytes = await readFile(file);
  const segment: Segment = { file, bytes: 0, records: [] };
  const names: HeldRange[] = [];
  for (let next = recordAt(bytes, 0); next; next = recordAt(bytes, segment.bytes)) {
    segment.records.push(next.extent);
    segment.bytes += next.extent.bytes;
    names.push(...(await headOf(next)).names);
  }
  if (segment.bytes < bytes.length) await truncate(file, segment.bytes);
  return { segment, names };
}

async function appendTo(segment: Segment, record: Buffer): Promise<void> {
  const handle = await open(segment.file, 'a', 0o600);
  try {
    await handle.writeFile(record);
    await handle.sync();
  } catch (error) {
    // A full disk leaves half a record, which must not stand before the next one.
    await handle.truncate(segment.bytes).catch(() => undefined);
    throw error;
  } finally {
    await handle.close();
  }
}

async function contentAt({ file }: Segment, { offset, bytes }: Extent) {
  const handle = await open(file, 'r');
  try {
    const buffer = Buffer.alloc(bytes);
    await handle.read(buffer, 0, bytes, offset);
    const record = recordAt(buffer, 0);
    if (!record) throw new Error(`${file} is damaged at byte ${offset}`);
    const lines = (await decompress(record.body)).toString('utf8').split('\n');
    return { bucket: (await headOf(record)).bucket, lines };
  } finally {
    await handle.close();
  }
}

const samplesOf = (segments: readonly Segment[]): number =>
  segments.flatMap(({ records }) => records).reduce((sum, { samples }) => sum + samples, 0);

const bytesOf = (segments: readonly Segment[]): number =>
  segments.reduce((sum, { bytes }) => sum + bytes, 0);

export async function openSpool(options: SpoolOptions): Promise<Spool> {
  const {
    folder,
    bytesMax,
    segmentBytes = Math.min(segmentBytesMax, bytesMax / segmentsMin),
  } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const files = (await readdir(folder)).filter((name) => /^\d{12}\.spool$/.test(name)).sort();
  const read: Awaited<ReturnType<typeof readSegment>>[] = [];
  for (const name of files) read.push(await readSegment(join(folder, name)));
  const segments = read.map(({ segment }) => segment);
  let nextFile = Number(files.at(-1)?.slice(0, 12) ?? 0) + 1;
  let dropped = 0;

  async function newest(): Promise<Segment> {
    const last = segments.at(-1);
    if (last && last.bytes < segmentBytes) return last;
    const file = join(folder, `${String(nextFile).padStart(12, '0')}.spool`);
    nextFile += 1;
    const created = await open(file, 'a', 0o600);
    await created.close();
    await syncFolder(folder);
    const segment: Segment = { file, bytes: 0, records: [] };
    segments.push(segment);
    return segment;
  }

  async function trim(): Promise<void> {
    while (segments.length > 1 && bytesOf(segments) > bytesMax) {
      const [oldest] = segments.splice(0, 1) as [Segment];
      const samples = samplesOf([oldest]);
      dropped += samples;
      options.onDropped(samples);
      await rm(oldest.file, { force: true });
    }
  }

  async function takeOff(segment: Segment, extent: Extent): Promise<void> {
    // Dropped meanwhile: it is gone, and nothing else may go in its place.
    if (segment.records[0] === extent) segment.records.shift();
    if (segment.records.length > 0 || !segments.includes(segment)) return;
    segments.splice(segments.indexOf(segment), 1);
    await rm(segment.file, { force: true });
  }

  // Appending and removing must not meet in one segment.
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const done = turn.then(work);
    turn = done.catch(() => undefined);
    return done;
  };

  for (const segment of segments.filter(({ records }) => records.length === 0)) {
    segments.splice(segments.indexOf(segment), 1);
    await rm(segment.file, { force: true });
  }

  return {
    isEmpty: () => segments.every(({ records }) => records.length === 0),
    append: (batch) =>
      inTurn(async () => {
        const record = await encodeRecord(batch);
        const segment = await newest();
        await appendTo(segment, record);
        const extent = { offset: segment.bytes, bytes: record.length, samples: batch.samples };
        segment.records.push(extent);
        segment.bytes += record.length;
        await trim();
      }),
    oldest: () =>
      inTurn(async () => {
        const segment = segments.find(({ records }) => records.length > 0);
        const extent = segment?.records[0];
        if (!segment || !extent) return null;
        const done = () => inTurn(() => takeOff(segment, extent));
        return { ...(await contentAt(segment, extent)), samples: extent.samples, done };
      }),
    names: read.flatMap(({ names }) => names),
    figures: () => ({ bytes: bytesOf(segments), samples: samplesOf(segments), dropped }),
  };
}
