/** SAFETY 3.3 judged from rows, history, audit and the effect log alone; each broken one named. */
import {
  type CommandKind,
  type CommandState,
  isTerminal,
  repeatableKinds,
} from '../../broker/contract/command.ts';
import { mayFollow } from '../../backend/act/lifecycle.ts';
import { verifyChain } from '../../backend/audit/chain.ts';
import type { Database } from '../../backend/store/sql/database.ts';
import type { CommandHistory, Commands } from '../../backend/store/sql/schema.ts';
import type { World } from './world.ts';

const neverStarted = ['CANCELLED', 'EXPIRED', 'REJECTED'];

function judgeRow(row: Commands, lines: CommandHistory[], world: World): string[] {
  const broken: string[] = [];
  const hold = (id: string, holds: boolean): void => {
    if (!holds) broken.push(`${id}: ${row.kind} ${row.id} ${row.state}`);
  };
  const count = world.effects.filter(({ commandId }) => commandId === row.id).length;
  const state = row.state as CommandState;
  hold('I1', count <= 1);
  hold('I2', count === 0 || row.granted_at_ms !== null);
  hold('I3', !neverStarted.includes(state) || count === 0);
  hold('I4', lines[0]?.state === 'PLANNED' && lines.at(-1)?.state === state);
  lines.slice(1).forEach((line, index) => {
    const from = lines[index] as CommandHistory;
    const isNext = mayFollow(from.state as CommandState, line.state as CommandState);
    hold('I4', isNext && !isTerminal(from.state as CommandState) && line.ver > from.ver);
  });
  hold('I5', state !== 'SUCCEEDED' || (count === 1 && world.ended.has(row.id)));
  hold('I5', state !== 'FAILED' || count === 0 || !world.ended.has(row.id));
  hold('I8', count === 0 || (JSON.parse(row.guards) as unknown[]).length === 2);
  hold('L-1', isTerminal(state) || (state === 'INDETERMINATE' && row.alarmed_at_ms !== null));
  return broken;
}

/** I7: from the grant until the target was given back, nothing else holds it. */
function judgeTargets(rows: readonly Commands[], history: readonly CommandHistory[]): string[] {
  const spans = rows.flatMap((row) => {
    if (row.granted_at_ms === null) return [];
    const frees = (state: string): boolean =>
      isTerminal(state as CommandState) ||
      (state === 'INDETERMINATE' && repeatableKinds.has(row.kind as CommandKind));
    const end = history.find((line) => line.command_id === row.id && frees(line.state));
    const untilMs = end?.at_ms ?? Number.MAX_SAFE_INTEGER;
    return [{ id: row.id, target: row.target_id, fromMs: row.granted_at_ms, untilMs }];
  });
  return spans.flatMap((one) =>
    spans
      .filter(({ id, target }) => id !== one.id && target === one.target)
      .filter(({ fromMs }) => fromMs >= one.fromMs && fromMs < one.untilMs)
      .map(({ id }) => `I7: ${one.id} and ${id} on ${one.target}`),
  );
}

export async function judge({ db }: Database, world: World): Promise<string[]> {
  const rows = await db.selectFrom('commands').selectAll().execute();
  const history = await db.selectFrom('command_history').selectAll().orderBy('ver').execute();
  const granted = await db
    .selectFrom('audit')
    .select('subject')
    .where('action', '=', 'command.granted')
    .execute();
  const broken = rows.flatMap((row) =>
    judgeRow(
      row,
      history.filter((line) => line.command_id === row.id),
      world,
    ),
  );
  for (const { commandId } of world.effects) {
    if (!rows.some(({ id }) => id === commandId)) broken.push(`I8: no row of ${commandId}`);
    const audits = granted.filter(({ subject }) => subject === `command:${commandId}`);
    if (audits.length !== 1) broken.push(`I8: ${audits.length} grants audited of ${commandId}`);
  }
  const chain = await verifyChain(db, 'home');
  if (!chain.ok) broken.push(`I8: audit chain broken at ${chain.brokenAtSeq}`);
  return [...broken, ...judgeTargets(rows, history)];
}
