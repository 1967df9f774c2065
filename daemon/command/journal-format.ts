/**
 * The journal's format, version 1, and the pure state it folds to. FINAL: a later version reads
 * this one. Invariant: folding any prefix of frames gives the state that prefix acknowledged.
 *
 *   file    = magic frame*          magic = "kernreaktor-journal 1\n"
 *   frame   = length " " crc " " payload "\n"
 *   length  = bytes of payload, 8 lower-case hex digits
 *   crc     = CRC-32C over the 8 length digits and the payload, 8 lower-case hex digits
 *   payload = JSON array of entries (UTF-8): what one fsync made durable, all or nothing
 *
 * JSON escapes line feeds and NUL, so a raw line feed only ends a frame, and a NUL can only be a
 * page that never reached the disk. The first entry is the header; of a command the last entry
 * counts. A frame without its line feed, or a last frame with NULs, is a torn tail: the crash came
 * before its fsync, nobody was told, it is cut off. Any other bad frame is corruption.
 */
import { z } from 'zod';
import { GrantContent, Offer } from '../../broker/contract/command.ts';
import { GuestId, NodeId, Uuid } from '../../broker/contract/ids.ts';
import { guestsPerNodeMax } from '../../broker/contract/limits.ts';
import { Report } from '../../broker/contract/report.ts';
import { crc32c } from './crc32c.ts';

const count = z.int().min(0);

/** A command as it is kept: the phases between offer and start need not survive a crash. */
export const CommandRecord = z.object({
  commandId: Uuid,
  node: NodeId,
  phase: z.enum(['received', 'started', 'finished', 'refused']),
  /** The start of the daemon in which the id was first seen; base of the report numbers. */
  seenIncarnation: z.int().min(1),
  /** Highest report number known to be used. */
  n: count,
  /** Wall clock of the last change; only forgetting looks at it. */
  atMs: count,
  offer: Offer.nullable(),
  grant: GrantContent.nullable(),
  handle: z.string().nullable(),
  /** The host's boot id when the command started: another one later proves a reboot. */
  bootId: z.string().nullable(),
  /** What ended it: `finished` or `refused`. */
  outcome: Report.nullable(),
  /** Durable reports whose verdict has not come. */
  unconfirmed: z.array(Report),
});
export type CommandRecord = z.infer<typeof CommandRecord>;

const Header = z.object({
  type: z.literal('header'),
  journalId: Uuid,
  createdAtMs: count,
  /** The corrupt predecessor, kept aside under this name until somebody removes it. */
  quarantined: z.string().nullable(),
});

/** Guests that were shut down for a power-off and wait for their start; none: it is over. */
const ParkedRecord = z.object({
  commandId: Uuid,
  node: NodeId,
  guests: z.array(GuestId).max(guestsPerNodeMax),
  /** All are down, and the power-off itself may have begun. */
  isGoing: z.literal(true).optional(),
});
export type ParkedRecord = z.infer<typeof ParkedRecord>;

export const Entry = z.discriminatedUnion('type', [
  Header,
  z.object({ type: z.literal('opened'), incarnation: z.int().min(1), atMs: count }),
  z.object({ type: z.literal('epoch'), epoch: count }),
  z.object({ type: z.literal('command'), command: CommandRecord }),
  z.object({ type: z.literal('parked'), record: ParkedRecord }),
]);
export type Entry = z.infer<typeof Entry>;

export type JournalState = {
  header: z.infer<typeof Header> | null;
  incarnation: number;
  maxEpoch: number;
  commands: Map<string, CommandRecord>;
  /** By the power-off they were parked for. */
  parked: Map<string, ParkedRecord>;
};

export const emptyState = (): JournalState => ({
  header: null,
  incarnation: 0,
  maxEpoch: 0,
  commands: new Map(),
  parked: new Map(),
});

/** Changes `state` in place. Counters never go down, whatever order the entries have. */
export function fold(state: JournalState, entry: Entry): void {
  switch (entry.type) {
    case 'header':
      state.header = entry;
      return;
    case 'opened':
      state.incarnation = Math.max(state.incarnation, entry.incarnation);
      return;
    case 'epoch':
      state.maxEpoch = Math.max(state.maxEpoch, entry.epoch);
      return;
    case 'command':
      state.commands.set(entry.command.commandId, entry.command);
      return;
    case 'parked':
    default:
      if (entry.record.guests.length > 0) state.parked.set(entry.record.commandId, entry.record);
      else state.parked.delete(entry.record.commandId);
  }
}

const dayMs = 24 * 3_600_000;
const keptMs = 7 * dayMs;
const keptTtls = 10;

/** Settled long ago: no message about this id can be on its way any more. */
function isForgettable(command: CommandRecord, nowMs: number): boolean {
  const isSettled = command.outcome !== null && command.unconfirmed.length === 0;
  const ttlMs = Math.max(command.offer?.ttlMs ?? 0, command.grant?.timeoutMs ?? 0);
  return isSettled && nowMs - command.atMs > Math.max(keptMs, keptTtls * ttlMs);
}

export function forgetOld(state: JournalState, nowMs: number): void {
  for (const [id, command] of state.commands) {
    if (isForgettable(command, nowMs)) state.commands.delete(id);
  }
}

/** The shortest list of entries that folds to the same state; what compaction writes. */
export function snapshot(state: JournalState): Entry[] {
  const commands = [...state.commands.values()];
  return [
    ...(state.header ? [state.header] : []),
    { type: 'opened', incarnation: Math.max(1, state.incarnation), atMs: 0 },
    { type: 'epoch', epoch: state.maxEpoch },
    ...commands.map((command): Entry => ({ type: 'command', command })),
    ...[...state.parked.values()].map((record): Entry => ({ type: 'parked', record })),
  ];
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });
export const magic: Uint8Array = encoder.encode('kernreaktor-journal 1\n');
const anyMagic = /^kernreaktor-journal (\d+)\n/;
const lineFeed = 0x0a;
/** Two fields of 8 digits, each with its space. */
const headBytes = 18;

const hex8 = (value: number): string => value.toString(16).padStart(8, '0');

export function encodeFrame(entries: readonly Entry[]): Uint8Array {
  const payload = encoder.encode(JSON.stringify(entries));
  const length = hex8(payload.length);
  const crc = hex8(crc32c(Buffer.concat([encoder.encode(length), payload])));
  return Buffer.concat([encoder.encode(`${length} ${crc} `), payload, encoder.encode('\n')]);
}

type Frame = Entry[] | 'torn' | 'bad';

/** A page the disk never took reads as zeros; a single flipped bit cannot make so many. */
const unwritten = Buffer.alloc(8);

/** `line` is without its line feed; `isEnded` says whether one followed. */
function decodeFrame(line: Uint8Array, isEnded: boolean): Frame {
  const head = Buffer.from(line.subarray(0, headBytes)).toString('latin1');
  const fields = /^([0-9a-f]{8}) ([0-9a-f]{8}) $/.exec(head);
  const payload = line.subarray(headBytes);
  const declared = fields ? Number.parseInt(fields[1] ?? '', 16) : -1;
  if (isEnded && fields && payload.length === declared) {
    const sum = crc32c(Buffer.concat([line.subarray(0, 8), payload]));
    const entries = hex8(sum) === fields[2] ? parseEntries(payload) : undefined;
    if (entries) return entries;
  }
  if (Buffer.from(line).includes(unwritten)) return 'torn';
  const isPrefix = line.length < headBytes || (fields !== null && payload.length <= declared);
  return !isEnded && isPrefix ? 'torn' : 'bad';
}

function parseEntries(payload: Uint8Array): Entry[] | undefined {
  try {
    return z.array(Entry).parse(JSON.parse(decoder.decode(payload)));
  } catch {
    return undefined;
  }
}

export type Scan = {
  /** From every good frame, also behind a bad one: what is salvaged of the counters. */
  state: JournalState;
  /** Up to here the file is whole. */
  goodBytes: number;
  problem: null | 'torn' | 'corrupt' | { newerVersion: number };
};

export function scan(bytes: Uint8Array): Scan {
  const state = emptyState();
  const named = anyMagic.exec(Buffer.from(bytes.subarray(0, 40)).toString('latin1'));
  if (named && Number(named[1]) > 1) {
    return { state, goodBytes: 0, problem: { newerVersion: Number(named[1]) } };
  }
  const hasMagic = Buffer.from(bytes.subarray(0, magic.length)).equals(magic);
  let problem: Scan['problem'] = hasMagic ? null : 'corrupt';
  let from = hasMagic ? magic.length : 0;
  let goodBytes = from;
  while (from < bytes.length) {
    const end = bytes.indexOf(lineFeed, from);
    const to = end < 0 ? bytes.length : end;
    const frame = decodeFrame(bytes.subarray(from, to), end >= 0);
    const isLast = to + 1 >= bytes.length;
    from = to + 1;
    if (typeof frame === 'string') {
      problem = frame === 'torn' && isLast && problem === null ? 'torn' : 'corrupt';
    } else {
      for (const entry of frame) fold(state, entry);
      if (problem === null) goodBytes = from;
    }
  }
  if (state.header === null) problem = 'corrupt';
  return { state, goodBytes, problem };
}
