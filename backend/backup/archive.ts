/**
 * What stands in a backup, one JSON object a line, compressed and then encrypted: a head, files,
 * rows of tables, and an end that counts them. Without its end an archive is not whole, and
 * nothing of it is restored. Lines are read one by one, so that size never is memory.
 */
import { createReadStream } from 'node:fs';
import { pipeline, Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { createGunzip, createGzip } from 'node:zlib';
import { z } from 'zod';
import { BackupError, opened, sealed } from './seal.ts';

const Value = z.union([z.string(), z.number(), z.null()]);

const Head = z.object({
  kind: z.literal('kernreaktor-backup'),
  format: z.literal(1),
  version: z.string(),
  takenAtMs: z.number(),
  serverId: z.string(),
  /** Migrations that the tables had seen, in order. */
  migrations: z.array(z.string()).min(1).readonly(),
});
export type Head = z.infer<typeof Head>;

const pathPattern = /^[A-Za-z0-9][\w.-]*(\/[A-Za-z0-9][\w.-]*){0,2}$/;
/** A file of another name must not go in: nobody could read the archive again. */
export const isArchivable = (path: string): boolean => pathPattern.test(path);

const FileLine = z.object({
  kind: z.literal('file'),
  /** Below the data folder; the configuration under its usual name. */
  path: z.string().regex(pathPattern),
  mode: z.int(),
  base64: z.string(),
});
const RowsLine = z.object({
  kind: z.literal('rows'),
  table: z.string().regex(/^[a-z][a-z0-9_]*$/),
  rows: z.array(z.record(z.string(), Value)),
});
const End = z.object({ kind: z.literal('end'), files: z.int(), rows: z.int() });
const Line = z.discriminatedUnion('kind', [Head, FileLine, RowsLine, End]);

export type Content = z.infer<typeof FileLine> | z.infer<typeof RowsLine>;
export type Counts = { files: number; rows: number };

async function* linesOf(head: Head, content: AsyncIterable<Content>, counts: Counts) {
  yield `${JSON.stringify(head)}\n`;
  for await (const line of content) {
    if (line.kind === 'file') counts.files += 1;
    else counts.rows += line.rows.length;
    yield `${JSON.stringify(line)}\n`;
  }
  yield `${JSON.stringify({ kind: 'end', ...counts })}\n`;
}

const ignore = (): void => undefined;

/** `counts` is filled while it is read. */
export function writeArchive(
  { head, content }: { head: Head; content: AsyncIterable<Content> },
  recipients: readonly string[],
  counts: Counts,
): Promise<Readable> {
  // An error of any part destroys the last one, whose reader is told.
  const zipped = pipeline(Readable.from(linesOf(head, content, counts)), createGzip(), ignore);
  return sealed(zipped, recipients);
}

function parsed(text: string): z.infer<typeof Line> {
  try {
    return Line.parse(JSON.parse(text));
  } catch (cause) {
    const error = new BackupError('the archive holds a line that this version does not know');
    error.cause = cause;
    throw error;
  }
}

export type Visitor = {
  head(head: Head): Promise<void> | void;
  content(content: Content): Promise<void> | void;
};

/** Node's own readline does not pass errors of its input on. */
async function* splitLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  for await (const chunk of chunks) {
    const lines = (rest + decoder.write(chunk)).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  if (rest !== '') throw new BackupError('the archive ends within a line');
}

async function* plainLines(path: string, identities: readonly string[]) {
  const plain = await opened(createReadStream(path), identities);
  try {
    for await (const line of splitLines(pipeline(plain, createGunzip(), ignore))) {
      yield parsed(line);
    }
  } catch (error) {
    if (error instanceof BackupError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new BackupError(`${path} is cut off or was changed: ${why}`);
  }
}

/**
 * Reads it to its end, in order.
 * @throws BackupError when the key is wrong or the archive is not whole.
 */
export async function readArchive(
  path: string,
  identities: readonly string[],
  visitor: Visitor,
): Promise<Counts> {
  const seen: Counts = { files: 0, rows: 0 };
  let end: Counts | null = null;
  let isFirst = true;
  for await (const line of plainLines(path, identities)) {
    if (isFirst !== (line.kind === 'kernreaktor-backup') || end !== null) {
      throw new BackupError(`${path} is out of order: it is no backup of ours`);
    }
    isFirst = false;
    if (line.kind === 'kernreaktor-backup') await visitor.head(line);
    else if (line.kind === 'end') end = line;
    else {
      if (line.kind === 'file') seen.files += 1;
      else seen.rows += line.rows.length;
      await visitor.content(line);
    }
  }
  if (end === null || end.files !== seen.files || end.rows !== seen.rows) {
    throw new BackupError(`${path} is cut off: use another backup`);
  }
  return seen;
}
