/**
 * The judge at the end of a fault run. It believes two things: the rows of the SQL store, and the
 * effect log, which only the simulated world or the fake tools write. SAFETY 3.3 from those alone:
 * nothing lost, nothing begun twice, no effect without a grant, every command ended or told to a
 * person as uncertain, histories and audit chains whole, no grant under an epoch already deposed.
 */
import type { Kysely } from 'kysely';
import { mayFollow } from '../../backend/act/lifecycle.ts';
import { verifyChain } from '../../backend/audit/chain.ts';
import { type Database, openDatabase, StoreUnavailable } from '../../backend/store/sql/database.ts';
import type { CommandHistory, Commands, Schema } from '../../backend/store/sql/schema.ts';
import { type CommandState, isTerminal } from '../../broker/contract/command.ts';
import { realClock } from '../broker/wire.ts';
import { pauseMs } from './experiment.ts';
import { memoryLog } from './log.ts';

/** One line of an effect log that is about a command. */
export type Began = { commandId: string | null; effect: string };

export type Verdict = {
  violations: string[];
  figures: {
    commands: number;
    states: Record<string, number>;
    /** Why what ended without an effect did so; numbers and names left out. */
    reasons: Record<string, number>;
    effects: number;
    lost: number;
    twice: number;
    phantom: number;
    undecided: number;
    indeterminate: number;
  };
};

export const openStore = (url: string): Promise<Database> =>
  openDatabase({
    url,
    file: '',
    nowMs: () => Date.now(),
    clock: realClock,
    log: memoryLog(),
  });

const neverBegan: readonly string[] = ['CANCELLED', 'EXPIRED', 'REJECTED'];

function judgeRow(row: Commands, lines: readonly CommandHistory[], starts: number): string[] {
  const broken: string[] = [];
  const hold = (rule: string, holds: boolean): void => {
    if (!holds) broken.push(`${rule}: ${row.kind} ${row.id} ${row.state}, begun ${starts} times`);
  };
  const state = row.state as CommandState;
  hold('I1 at most once', starts <= 1);
  hold('I2 granted before', starts === 0 || row.granted_at_ms !== null);
  hold('I3 never began', !neverBegan.includes(state) || starts === 0);
  hold('I5 succeeded means once', state !== 'SUCCEEDED' || starts === 1);
  hold('I4 history', lines[0]?.state === 'PLANNED' && lines.at(-1)?.state === state);
  lines.slice(1).forEach((line, index) => {
    const from = lines[index]?.state as CommandState;
    hold('I4 step', mayFollow(from, line.state as CommandState) && !isTerminal(from));
  });
  return broken;
}

type Granted = { chain: string; seq: number; subject: string; detail: string };

/** I6: in the order of a cluster's audit chain no grant comes from an epoch below an earlier one. */
function judgeEpochs(granted: readonly Granted[]): string[] {
  const highest = new Map<string, number>();
  return granted.flatMap(({ chain, subject, detail }) => {
    const { epoch } = JSON.parse(detail) as { epoch: number };
    const before = highest.get(chain) ?? 0;
    highest.set(chain, Math.max(before, epoch));
    return epoch < before ? [`I6: ${subject} granted under ${epoch} after ${before}`] : [];
  });
}

async function judgeChains(db: Kysely<Schema>): Promise<string[]> {
  const clusters = await db.selectFrom('clusters').select('id').execute();
  const broken: string[] = [];
  for (const { id } of clusters) {
    const verified = await verifyChain(db, id);
    if (!verified.ok) broken.push(`I8: audit chain of ${id} broken at ${verified.brokenAtSeq}`);
  }
  return broken;
}

const isDecided = ({ state, alarmed_at_ms }: Pick<Commands, 'state' | 'alarmed_at_ms'>): boolean =>
  isTerminal(state as CommandState) || (state === 'INDETERMINATE' && alarmed_at_ms !== null);

/**
 * Waits until nothing is under way; INDETERMINATE counts, since its alarm comes after 5 min. Gives
 * up when no command has ended for `withinMs`: a long queue is no fault, one that stands still is.
 * What has not ended by then is the judge's to find. A store that does not answer is asked again.
 */
export async function settled(
  { db }: Pick<Database, 'db'>,
  withinMs: number,
): Promise<{ settledMs: number }> {
  const startMs = performance.now();
  const countOpen = async (): Promise<number> => {
    const rows = await db.selectFrom('commands').select('state').execute();
    return rows.filter(
      ({ state }) => !isTerminal(state as CommandState) && state !== 'INDETERMINATE',
    ).length;
  };
  let least = Number.POSITIVE_INFINITY;
  let progressMs = startMs;
  while (performance.now() - progressMs < withinMs) {
    const open = await countOpen().catch(() => least);
    if (open === 0) break;
    if (open < least) [least, progressMs] = [open, performance.now()];
    await pauseMs(100);
  }
  return { settledMs: Math.round(performance.now() - startMs) };
}

export type Evidence = {
  /** Ids that the server has said yes to. */
  accepted: Iterable<string>;
  effects: readonly Began[];
  /** Whether INDETERMINATE without an alarm counts as undecided: only after five minutes. */
  alarmsAreDue?: boolean;
};

/** A loaded machine may keep even the judge from the store for a while. */
export async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof StoreUnavailable) || attempt >= 20) throw error;
      await pauseMs(500);
    }
  }
}

export const judge = (store: Pick<Database, 'db'>, evidence: Evidence): Promise<Verdict> =>
  patiently(() => judgeOnce(store, evidence));

async function judgeOnce({ db }: Pick<Database, 'db'>, evidence: Evidence): Promise<Verdict> {
  const rows = await db.selectFrom('commands').selectAll().execute();
  const history = await db.selectFrom('command_history').selectAll().orderBy('ver').execute();
  const granted = await db
    .selectFrom('audit')
    .select(['chain', 'seq', 'subject', 'detail'])
    .where('action', '=', 'command.granted')
    .orderBy('chain')
    .orderBy('seq')
    .execute();
  const byCommand = Map.groupBy(history, (line) => line.command_id);
  const starts = new Map<string, number>();
  for (const { commandId, effect } of evidence.effects) {
    if (commandId === null || effect !== 'start') continue;
    starts.set(commandId, (starts.get(commandId) ?? 0) + 1);
  }
  const known = new Map(rows.map((row) => [row.id, row]));
  const audited = new Set(granted.map(({ subject }) => subject));
  const lost = [...evidence.accepted].filter((id) => !known.has(id));
  const twice = [...starts].filter(([, count]) => count > 1).map(([id]) => id);
  const phantom = [...starts.keys()].filter((id) => !audited.has(`command:${id}`));
  const { alarmsAreDue = false } = evidence;
  const undecided = rows.filter(
    (row) => !isDecided(row) && (alarmsAreDue || row.state !== 'INDETERMINATE'),
  );
  const states: Record<string, number> = {};
  const reasons: Record<string, number> = {};
  for (const { state, state_reason: reason } of rows) {
    states[state] = (states[state] ?? 0) + 1;
    if (reason === null || state === 'SUCCEEDED') continue;
    const kind = `${state}: ${reason.slice(0, 90).replaceAll(/[0-9a-f-]*\d[\w.-]*/g, 'N')}`;
    reasons[kind] = (reasons[kind] ?? 0) + 1;
  }
  return {
    violations: [
      ...lost.map((id) => `lost: ${id} was accepted and has no row`),
      ...phantom.map((id) => `phantom: ${id} began without an audited grant`),
      ...undecided.map(({ id, kind, state }) => `undecided: ${kind} ${id} ${state}`),
      ...rows.flatMap((row) => judgeRow(row, byCommand.get(row.id) ?? [], starts.get(row.id) ?? 0)),
      ...judgeEpochs(granted),
      ...(await judgeChains(db)),
    ],
    figures: {
      commands: rows.length,
      states,
      reasons,
      effects: [...starts.values()].reduce((sum, count) => sum + count, 0),
      lost: lost.length,
      twice: twice.length,
      phantom: phantom.length,
      undecided: undecided.length,
      indeterminate: states['INDETERMINATE'] ?? 0,
    },
  };
}
