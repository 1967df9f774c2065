/**
 * A second reader of the journal's bytes, written from the format's description alone, so that
 * what the executor makes of them can be judged. It reads whole frames and stops at the first
 * that is not.
 */
export type Kept = {
  phase: 'received' | 'started' | 'finished' | 'refused';
  grant: { epoch: number } | null;
  outcome: object | null;
  unconfirmed: unknown[];
  /** The highest epoch on this disk when its start was written. */
  highestEpoch: number;
};
export type View = {
  frames: string[];
  bytes: number;
  journalId: string | null;
  incarnation: number;
  maxEpoch: number;
  commands: Map<string, Kept>;
};

type Entry =
  | { type: 'header'; journalId: string }
  | { type: 'opened'; incarnation: number }
  | { type: 'epoch'; epoch: number }
  | { type: 'command'; command: Omit<Kept, 'highestEpoch'> & { commandId: string } };

const magic = 'kernreaktor-journal 1\n';
/** Length and checksum, each 8 digits and a space. */
const headLength = 18;

export const emptyView = (): View => ({
  frames: [],
  bytes: 0,
  journalId: null,
  incarnation: 0,
  maxEpoch: 0,
  commands: new Map(),
});

function take(view: View, entry: Entry): void {
  if (entry.type === 'header') view.journalId = entry.journalId;
  if (entry.type === 'opened') view.incarnation = Math.max(view.incarnation, entry.incarnation);
  if (entry.type === 'epoch') view.maxEpoch = Math.max(view.maxEpoch, entry.epoch);
  if (entry.type !== 'command') return;
  const { commandId } = entry.command;
  const known = view.commands.get(commandId);
  const hasStarted = known !== undefined && known.phase !== 'received';
  const highestEpoch = hasStarted ? known.highestEpoch : view.maxEpoch;
  view.commands.set(commandId, { ...entry.command, highestEpoch });
}

function entriesOf(line: string): Entry[] | null {
  const declared = Number.parseInt(line.slice(0, 8), 16);
  const payload = line.slice(headLength);
  if (Buffer.byteLength(payload) !== declared) return null;
  try {
    return JSON.parse(payload) as Entry[];
  } catch {
    return null;
  }
}

/** Goes on where `view` ended; the bytes before that are the same as they were. */
export function readOn(view: View, bytes: Buffer): View {
  if (view.bytes === 0) {
    if (bytes.subarray(0, magic.length).toString('latin1') !== magic) return view;
    view.bytes = magic.length;
  }
  for (let end = bytes.indexOf(10, view.bytes); end >= 0; end = bytes.indexOf(10, view.bytes)) {
    const line = bytes.subarray(view.bytes, end).toString('utf8');
    const entries = entriesOf(line);
    if (!entries) return view;
    for (const entry of entries) take(view, entry);
    view.frames.push(line);
    view.bytes = end + 1;
  }
  return view;
}

export const viewOf = (bytes: Buffer): View => readOn(emptyView(), bytes);
