/**
 * The executor's memory: append-only, checksummed, fsynced; its format is journal-format.ts.
 * Invariant: `append` resolves only when its entries are durable, and `state` shows only what is.
 * Entries that wait together share one frame and one fsync. After an error of write or fsync it
 * stops for ever: the kernel may have dropped the pages, so trying again would lie. A full disk is
 * the one exception: a reserve file is freed so that what runs can still be written down.
 */
import type { Log, NewId } from '../../broker/contract/ports.ts';
import type { FilePort } from './files.ts';
import {
  emptyState,
  encodeFrame,
  type Entry,
  fold,
  forgetOld,
  type JournalState,
  magic,
  scan,
  snapshot,
} from './journal-format.ts';

export class JournalError extends Error {
  override readonly name = 'JournalError';
  readonly code = 'KR_JOURNAL';
}

export type Journal = {
  readonly journalId: string;
  readonly state: Readonly<JournalState>;
  /** @throws JournalError once anything could not be made durable, and from then on always. */
  append(entries: readonly Entry[]): Promise<void>;
  hasFailed(): boolean;
  /** False on a full disk; asks the disk again each time. */
  hasReserve(): Promise<boolean>;
  /** The corrupt predecessor that nobody has looked at and removed yet. */
  quarantined(): Promise<string | null>;
  close(): Promise<void>;
};

export type JournalDeps = { files: FilePort; newId: NewId; wallMs: () => number; log: Log };

const journalName = 'journal';
const temporaryName = 'journal.new';
const reserveName = 'journal.reserve';
const reserveBytes = 1024 * 1024;
const compactFromBytes = 1024 * 1024;
const entriesPerFrame = 1_000;

const countsFromMs = Date.UTC(2020, 0, 1);
/** A clock that runs ahead by a century must not number a daemon out of what the wire takes. */
const firstIncarnationMax = 2 ** 31;

/**
 * Every start counts one more. A journal without a predecessor begins at the seconds since 2020:
 * the server keeps each (node, incarnation, seq) once, and a lost folder must not repeat numbers.
 */
function nextIncarnation({ state, isNew }: Loaded, wallMs: number): number {
  const next = state.incarnation + 1;
  if (!isNew) return next;
  const elapsedSeconds = Math.floor((wallMs - countsFromMs) / 1_000);
  return Math.max(next, Math.min(elapsedSeconds, firstIncarnationMax));
}

const isDiskFull = (error: unknown): boolean =>
  ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '');

/** Writes a whole journal beside the current one and swaps them: never half of either. */
async function replaceJournal(files: FilePort, entries: readonly Entry[]): Promise<number> {
  const frames: Uint8Array[] = [magic];
  for (let from = 0; from < entries.length; from += entriesPerFrame) {
    frames.push(encodeFrame(entries.slice(from, from + entriesPerFrame)));
  }
  const content = Buffer.concat(frames);
  await files.remove(temporaryName);
  await files.append(temporaryName, content);
  await files.sync(temporaryName);
  await files.rename(temporaryName, journalName);
  await files.syncFolder();
  return content.length;
}

type Loaded = {
  state: JournalState;
  bytes: number;
  /** No start was ever counted in it. */
  isNew: boolean;
};

/** Reads, cuts a torn tail, or sets a corrupt journal aside and begins a new one. */
async function load({ files, newId, wallMs, log }: JournalDeps): Promise<Loaded> {
  const content = await files.read(journalName);
  const found = content && scan(content);
  if (found && typeof found.problem === 'object' && found.problem !== null) {
    const { newerVersion } = found.problem;
    throw new JournalError(
      `the journal has version ${newerVersion}, this program knows 1: start the newer program`,
    );
  }
  if (found?.problem === 'torn') {
    log.info({ fromBytes: content?.length, toBytes: found.goodBytes }, 'journal tail cut');
    await files.truncate(journalName, found.goodBytes);
    await files.sync(journalName);
  }
  if (found && found.problem !== 'corrupt') {
    const { state, goodBytes: bytes } = found;
    return { state, bytes, isNew: state.incarnation === 0 };
  }

  const journalId = newId();
  const quarantined = found ? `journal.quarantined-${journalId}` : null;
  if (quarantined) {
    await files.rename(journalName, quarantined);
    await files.syncFolder();
    log.error(
      { quarantined },
      'journal is corrupt: set aside, no destructive command until removed',
    );
  }
  const state = emptyState();
  fold(state, { type: 'header', journalId, createdAtMs: wallMs(), quarantined });
  // The counters only ever grow, so those of the good frames are a safe lower bound.
  state.incarnation = found?.state.incarnation ?? 0;
  state.maxEpoch = found?.state.maxEpoch ?? 0;
  const entries = snapshot(state).filter((entry) => entry.type !== 'opened');
  return { state, bytes: await replaceJournal(files, entries), isNew: true };
}

/** True when the reserve is in place; asks the disk for it when it is not. Never rejects. */
async function ensureReserve(files: FilePort, log: Log): Promise<boolean> {
  try {
    if (await files.exists(reserveName)) return true;
    await files.preallocate(reserveName, reserveBytes);
    return true;
  } catch (error) {
    log.warn({ error }, 'no room for the journal reserve');
  }
  await files.remove(reserveName).catch((error: unknown) => {
    log.warn({ error }, 'half a journal reserve could not be removed');
  });
  return false;
}

/** Appends and fsyncs frames; the first error is the last thing it does. */
function createWriter({ files, wallMs, log }: JournalDeps, { state, bytes }: Loaded) {
  let writtenBytes = bytes;
  let compactAtBytes = Math.max(compactFromBytes, 2 * writtenBytes);

  const append = async (frame: Uint8Array): Promise<void> => {
    try {
      await files.append(journalName, frame);
    } catch (error) {
      if (!isDiskFull(error) || !(await files.exists(reserveName))) throw error;
      log.error({}, 'disk full: journal reserve freed, new commands are refused');
      await files.remove(reserveName);
      await files.truncate(journalName, writtenBytes);
      await files.append(journalName, frame);
    }
    await files.sync(journalName);
    writtenBytes += frame.length;
  };

  return {
    async write(entries: readonly Entry[]): Promise<void> {
      await append(encodeFrame(entries));
      for (const entry of entries) fold(state, entry);
    },
    async compactWhenLarge(): Promise<void> {
      if (writtenBytes <= compactAtBytes) return;
      forgetOld(state, wallMs());
      try {
        writtenBytes = await replaceJournal(files, snapshot(state));
      } catch (error) {
        if (!isDiskFull(error)) throw error;
        await files.remove(temporaryName);
      }
      compactAtBytes = Math.max(compactFromBytes, 2 * writtenBytes);
    },
  };
}

type Waiting = { entries: readonly Entry[]; resolve: () => void; reject: (e: Error) => void };

/** Lets entries that wait share one write and one fsync. */
function createQueue(writer: ReturnType<typeof createWriter>, log: Log) {
  let waiting: Waiting[] = [];
  let flushing: Promise<void> | null = null;
  let failure: JournalError | null = null;

  const stop = (cause: unknown): JournalError => {
    const why = `the journal could not be written (${(cause as Error).message})`;
    log.error({ error: cause }, 'journal stopped: every command is refused');
    return new JournalError(`${why}; repair the disk, then restart`, { cause });
  };
  const flush = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      try {
        if (failure) throw failure;
        await writer.write(batch.flatMap((one) => one.entries));
        for (const one of batch) one.resolve();
        await writer.compactWhenLarge();
      } catch (cause) {
        failure ??= stop(cause);
        for (const one of batch) one.reject(failure);
      }
    }
    // In the same breath as the last look at `waiting`, or a latecomer would wait for ever.
    flushing = null;
  };
  return {
    append(entries: readonly Entry[]): Promise<void> {
      if (failure) return Promise.reject(failure);
      return new Promise((resolve, reject) => {
        waiting.push({ entries, resolve, reject });
        flushing ??= flush();
      });
    },
    hasFailed: () => failure !== null,
    settled: async () => void (await flushing),
  };
}

/** @throws JournalError when the folder cannot hold a journal. */
export async function openJournal(deps: JournalDeps): Promise<Journal> {
  const { files, log } = deps;
  const loaded = await load(deps).catch((cause: unknown) => {
    if (cause instanceof JournalError) throw cause;
    const why = (cause as Error).message;
    throw new JournalError(`cannot open the journal (${why}); its folder must be writable`, {
      cause,
    });
  });
  const { state } = loaded;
  await ensureReserve(files, log);
  const queue = createQueue(createWriter(deps, loaded), log);
  const atMs = deps.wallMs();
  await queue.append([{ type: 'opened', incarnation: nextIncarnation(loaded, atMs), atMs }]);
  let reserving: Promise<boolean> | null = null;
  return {
    journalId: state.header?.journalId ?? '',
    state,
    append: (entries) => queue.append(entries),
    hasFailed: queue.hasFailed,
    hasReserve() {
      reserving ??= ensureReserve(files, log).finally(() => {
        reserving = null;
      });
      return reserving;
    },
    async quarantined() {
      const name = state.header?.quarantined ?? null;
      if (name === null) return null;
      // As long as nobody can tell that it was removed, it counts as still there.
      return (await files.exists(name).catch(() => true)) ? name : null;
    },
    async close() {
      await queue.settled();
      await files.close();
    },
  };
}
