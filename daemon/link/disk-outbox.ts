/**
 * Samples that outgrew the ring, on disk in append-only segments: bounded in bytes, the oldest
 * segment dropped first and counted. It survives restarts with the incarnation and seq the
 * samples were born with. A torn tail is expected after a crash and ends its segment; it must
 * never hand out a record whose checksum does not hold.
 *
 *   segment = record*    record = length u32 LE | crc32 u32 LE | JSON (node, incarnation, seq, payload)
 */
import { mkdir, open, readdir, readFile, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import { NodeId } from '../../broker/contract/ids.ts';
import { oneByOne } from '../turns.ts';

export type Spilled = { node: string; incarnation: number; seq: number; payload: string };

export type DiskOutbox = {
  /** Durable after `sync`, or once its segment is full. */
  append(samples: readonly Spilled[]): Promise<void>;
  /** Starts again at the oldest record, as every new session must. */
  rewind(): void;
  /** The next record that is not covered, oldest first; undefined at the end. */
  next(): Promise<Spilled | undefined>;
  /** Everything of this node and incarnation up to `seq` is stored at the server. */
  cover(node: string, incarnation: number, seq: number): Promise<void>;
  /** Below this, nothing of this node and incarnation is here: it is stored, or was dropped. */
  heldFrom(node: string, incarnation: number): number;
  sync(): Promise<void>;
  /** Records now on disk, covered ones in a half-covered segment included. */
  count(): number;
  /** Records lost to the bound on bytes or to damage, since the start. */
  dropped(): number;
  close(): Promise<void>;
};

export type DiskOutboxOptions = { folder: string; bytesMax: number; segmentBytes: number };

const Record = z.object({
  node: NodeId,
  incarnation: z.int().min(1),
  seq: z.int().min(1),
  payload: z.string(),
});

const headBytes = 8;
const segmentName = /^(\d{10})\.samples$/;

/** (node, incarnation) -> lowest or highest seq. */
type Marks = Map<string, number>;
const markOf = ({ node, incarnation }: { node: string; incarnation: number }): string =>
  `${node} ${incarnation}`;

type Segment = { path: string; bytes: number; count: number; lowest: Marks; highest: Marks };

function encodeRecord(sample: Spilled): Buffer {
  const { node, incarnation, seq, payload } = sample;
  const json = Buffer.from(JSON.stringify({ node, incarnation, seq, payload }));
  const head = Buffer.alloc(headBytes);
  head.writeUInt32LE(json.length, 0);
  head.writeUInt32LE(crc32(json), 4);
  return Buffer.concat([head, json]);
}

/** All whole records from the start; what follows the first damaged one is not believed. */
function decodeSegment(bytes: Buffer): { records: Spilled[]; isDamaged: boolean } {
  const records: Spilled[] = [];
  let offset = 0;
  while (offset + headBytes <= bytes.length) {
    const end = offset + headBytes + bytes.readUInt32LE(offset);
    const json = bytes.subarray(offset + headBytes, end);
    if (end > bytes.length || crc32(json) !== bytes.readUInt32LE(offset + 4)) break;
    records.push(Record.parse(JSON.parse(json.toString('utf8'))));
    offset = end;
  }
  return { records, isDamaged: offset !== bytes.length };
}

const raise = (marks: Marks, key: string, seq: number): void => {
  marks.set(key, Math.max(marks.get(key) ?? 0, seq));
};

const emptySegment = (path: string): Segment => ({
  path,
  bytes: 0,
  count: 0,
  lowest: new Map(),
  highest: new Map(),
});

function note(segment: Segment, sample: Spilled): void {
  const key = markOf(sample);
  segment.count += 1;
  raise(segment.highest, key, sample.seq);
  segment.lowest.set(key, Math.min(segment.lowest.get(key) ?? Infinity, sample.seq));
}

function summarise(path: string, bytes: Buffer): { segment: Segment; isDamaged: boolean } {
  const { records, isDamaged } = decodeSegment(bytes);
  const segment = { ...emptySegment(path), bytes: bytes.length };
  for (const record of records) note(segment, record);
  return { segment, isDamaged };
}

class SegmentFiles implements DiskOutbox {
  readonly #options: DiskOutboxOptions;
  readonly #segments: Segment[];
  readonly #covered: Marks = new Map();
  #nextNumber: number;
  #writing: { handle: FileHandle; segment: Segment } | undefined;
  #reading: { segment: Segment; records: Spilled[]; index: number } | undefined;
  #dropped: number;
  /** Writes, reads and deletions run one after the other. */
  readonly #inTurn = oneByOne();

  constructor(options: DiskOutboxOptions, found: Segment[], dropped: number) {
    this.#options = options;
    this.#segments = found;
    this.#dropped = dropped;
    const last = found.at(-1)?.path ?? '';
    this.#nextNumber = Number(segmentName.exec(last.slice(-18))?.[1] ?? 0) + 1;
  }

  append(samples: readonly Spilled[]): Promise<void> {
    return this.#inTurn(async () => {
      for (const sample of samples) {
        const writing = await this.#openSegment();
        const record = encodeRecord(sample);
        await writing.handle.appendFile(record).catch(async (error: unknown) => {
          // Half a record may stand there now; nothing that follows it could be read.
          await this.#rotate().catch(() => undefined);
          throw error;
        });
        writing.segment.bytes += record.length;
        note(writing.segment, sample);
        if (writing.segment.bytes >= this.#options.segmentBytes) await this.#rotate();
      }
      await this.#keepBound();
    });
  }

  rewind(): void {
    this.#reading = undefined;
  }

  next(): Promise<Spilled | undefined> {
    return this.#inTurn(async () => {
      for (;;) {
        const reading = this.#reading ?? (await this.#load(this.#segments[0]));
        if (!reading) return undefined;
        this.#reading = reading;
        const record = reading.records[reading.index];
        if (record) {
          reading.index += 1;
          if (!this.#isCovered(record)) return record;
          continue;
        }
        const after = await this.#load(this.#successorOf(reading.segment), reading);
        if (!after) return undefined;
        this.#reading = after;
      }
    });
  }

  cover(node: string, incarnation: number, seq: number): Promise<void> {
    raise(this.#covered, markOf({ node, incarnation }), seq);
    if (this.#segments.length === 0) return Promise.resolve();
    return this.#inTurn(async () => {
      const isCovered = ([key, highest]: [string, number]): boolean =>
        highest <= (this.#covered.get(key) ?? 0);
      const done = this.#segments.filter(({ highest }) => [...highest].every(isCovered));
      for (const segment of done) await this.#forget(segment);
    });
  }

  heldFrom(node: string, incarnation: number): number {
    const key = markOf({ node, incarnation });
    const lowest = this.#segments.map((segment) => segment.lowest.get(key) ?? Infinity);
    const first = Math.min(...lowest);
    const uncovered = (this.#covered.get(key) ?? 0) + 1;
    return Number.isFinite(first) ? Math.max(first, uncovered) : uncovered;
  }

  sync(): Promise<void> {
    return this.#inTurn(async () => this.#writing?.handle.sync());
  }

  count(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.count, 0);
  }

  dropped(): number {
    return this.#dropped;
  }

  close(): Promise<void> {
    return this.#inTurn(() => this.#rotate());
  }

  #isCovered(record: Spilled): boolean {
    return record.seq <= (this.#covered.get(markOf(record)) ?? 0);
  }

  /** The segment after this one; of a segment deleted meanwhile, the oldest that is left. */
  #successorOf(segment: Segment): Segment | undefined {
    const index = this.#segments.indexOf(segment);
    return index < 0 ? this.#segments[0] : this.#segments[index + 1];
  }

  /** Reads a segment; with `seen`, the one being written may have grown since it was read. */
  async #load(segment: Segment | undefined, seen?: { segment: Segment; index: number }) {
    const wanted = segment ?? seen?.segment;
    if (!wanted || !this.#segments.includes(wanted)) return undefined;
    const index = wanted === seen?.segment ? seen.index : 0;
    if (wanted.count <= index) return undefined;
    const { records } = decodeSegment(await readFile(wanted.path));
    return records.length > index ? { segment: wanted, records, index } : undefined;
  }

  async #openSegment(): Promise<{ handle: FileHandle; segment: Segment }> {
    if (this.#writing) return this.#writing;
    const name = `${String(this.#nextNumber).padStart(10, '0')}.samples`;
    const path = join(this.#options.folder, name);
    this.#nextNumber += 1;
    const segment = emptySegment(path);
    this.#writing = { handle: await open(path, 'ax', 0o600), segment };
    this.#segments.push(segment);
    return this.#writing;
  }

  async #rotate(): Promise<void> {
    const writing = this.#writing;
    if (!writing) return;
    this.#writing = undefined;
    await writing.handle.sync();
    await writing.handle.close();
  }

  async #keepBound(): Promise<void> {
    const total = () => this.#segments.reduce((sum, { bytes }) => sum + bytes, 0);
    for (let oldest = this.#segments[0]; oldest; oldest = this.#segments[0]) {
      if (total() <= this.#options.bytesMax) return;
      this.#dropped += oldest.count;
      await this.#forget(oldest);
    }
  }

  async #forget(segment: Segment): Promise<void> {
    if (this.#writing?.segment === segment) await this.#rotate();
    this.#segments.splice(this.#segments.indexOf(segment), 1);
    await unlink(segment.path);
  }
}

/** Opens the folder and reads what earlier daemon starts left there. */
export async function openDiskOutbox(options: DiskOutboxOptions): Promise<DiskOutbox> {
  const { folder } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const names = (await readdir(folder)).filter((name) => segmentName.test(name)).sort();
  const found: Segment[] = [];
  let damaged = 0;
  for (const name of names) {
    const path = join(folder, name);
    const { isDamaged, segment } = summarise(path, await readFile(path));
    if (isDamaged) damaged += 1;
    if (segment.count > 0) found.push(segment);
    else await unlink(path);
  }
  return new SegmentFiles(options, found, damaged);
}
