/** SAFETY 3.3 over rows, history, audit and the effect log, whatever happened before. */
import { expect } from 'vitest';
import {
  type CommandKind,
  type CommandState,
  isTerminal,
  repeatableKinds,
} from '../../../broker/contract/command.ts';
import { mayFollow } from '../../../backend/act/lifecycle.ts';
import { verifyChain } from '../../../backend/audit/chain.ts';
import type { CommandHistory, Commands } from '../../../backend/store/sql/schema.ts';
import type { World } from './twin.ts';

export async function checkInvariants(world: World): Promise<void> {
  const { db } = world.database;
  const rows = await db.selectFrom('commands').selectAll().execute();
  const history = await db
    .selectFrom('command_history')
    .selectAll()
    .orderBy('command_id')
    .orderBy('ver')
    .execute();
  const started = new Map<string, number>();
  for (const { commandId } of world.effects) {
    started.set(commandId, (started.get(commandId) ?? 0) + 1);
  }
  expect(world.violations).toEqual([]);
  for (const row of rows) {
    const lines = history.filter((line) => line.command_id === row.id);
    const count = started.get(row.id) ?? 0;
    expect(count, `I1: ${row.id}`).toBeLessThanOrEqual(1);
    if (count > 0) expect(row.granted_at_ms, `I2: ${row.id}`).not.toBeNull();
    if (['CANCELLED', 'EXPIRED', 'REJECTED'].includes(row.state)) {
      expect(count, `I3: ${row.id} ${row.state}`).toBe(0);
    }
    if (row.state === 'SUCCEEDED') expect(count, `I5: ${row.id}`).toBe(1);
    expect(lines[0]?.state).toBe('PLANNED');
    lines.slice(1).forEach((line, index) => {
      const from = lines[index]?.state as CommandState;
      expect(mayFollow(from, line.state as CommandState), `I4: ${from} ${line.state}`).toBe(true);
      expect(isTerminal(from), `I4: ${row.id}`).toBe(false);
    });
    expect(lines.at(-1)?.state, `history of ${row.id} ends in its state`).toBe(row.state);
    if (count > 0) {
      const granted = await db
        .selectFrom('audit')
        .selectAll()
        .where('subject', '=', `command:${row.id}`)
        .where('action', '=', 'command.granted')
        .execute();
      expect(granted.length, `I8: ${row.id}`).toBe(1);
      expect(JSON.parse(row.guards), 'both evaluations are kept').toHaveLength(2);
    }
  }
  checkMutex(rows, history);
  const clusters = await db.selectFrom('clusters').select('id').execute();
  for (const { id } of clusters) {
    expect(await verifyChain(db, id)).toMatchObject({ ok: true });
  }
  const targets = await db.selectFrom('targets').selectAll().execute();
  for (const target of targets) {
    const holder = rows.find((row) => row.id === target.active_command);
    if (!holder) continue;
    expect(isTerminal(holder.state as CommandState), `I7: ${target.id} is freed`).toBe(false);
  }
}

type Span = { id: string; kind: string; fromMs: number; untilMs: number };

/** From the grant until the target was given back, by the lines of history alone. */
function spanOf(row: Commands, history: readonly CommandHistory[], releases: boolean): Span[] {
  if (row.granted_at_ms === null) return [];
  const isEnd = ({ state }: CommandHistory): boolean =>
    isTerminal(state as CommandState) || (releases && state === 'INDETERMINATE');
  const end = history.find((line) => line.command_id === row.id && isEnd(line));
  const untilMs = end?.at_ms ?? Number.MAX_SAFE_INTEGER;
  return [{ id: row.id, kind: row.kind, fromMs: row.granted_at_ms, untilMs }];
}

/** SAFETY I7: one active command per target, one power-off per small cluster. */
function checkMutex(rows: readonly Commands[], history: readonly CommandHistory[]): void {
  const groups = new Map<string, Span[]>();
  const add = (key: string, spans: Span[]) =>
    groups.set(key, [...(groups.get(key) ?? []), ...spans]);
  for (const row of rows) {
    const isRepeatable = repeatableKinds.has(row.kind as CommandKind);
    const target = `${row.cluster} ${row.target_kind} ${row.target_id}`;
    add(target, spanOf(row, history, isRepeatable));
    if (row.kind === 'node.shutdown') add(`${row.cluster} off`, spanOf(row, history, false));
  }
  for (const [key, spans] of groups) {
    spans.sort((a, b) => a.fromMs - b.fromMs);
    for (const [index, span] of spans.entries()) {
      const later = spans.slice(index + 1).filter(({ kind }) => kind !== 'node.wake');
      const clash = later.find(({ fromMs }) => fromMs < span.untilMs);
      expect(clash, `I7: ${key}: ${span.kind} ${span.id}`).toBeUndefined();
    }
  }
}

export const openOf = async (world: World): Promise<string[]> => {
  const rows = await world.database.db.selectFrom('commands').select(['id', 'state']).execute();
  return rows
    .filter(({ state }) => !isTerminal(state as CommandState) && state !== 'INDETERMINATE')
    .map(({ id, state }) => `${id} ${state}`);
};
