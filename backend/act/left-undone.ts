/**
 * What an executor could not take back and leaves to a person: a parked guest that does not start,
 * a node left in maintenance. It often comes after the command is over, since the node that booted
 * proves the power-off long before its guests run. Invariant: a person is told once per command,
 * and the command's state is not touched.
 */
import type { Report } from '../../broker/contract/report.ts';
import { appendEntry } from '../audit/entry.ts';
import type { Commands } from '../store/sql/schema.ts';
import { addAlarm, subjectOf } from './ledger.ts';
import type { Step } from './step.ts';

type Finished = Extract<Report, { step: 'finished' }>;

const hasLeft = ({ result }: Commands): boolean =>
  result !== null && (JSON.parse(result) as { left?: unknown }).left !== undefined;

/** What the row keeps of an end; `left` is in it only once the alarm is raised. */
export const resultOf = ({ exitCode, postcondition, detail, output }: Finished): string =>
  JSON.stringify({ exitCode, postcondition, detail, output });

export async function tellLeft(step: Step, row: Commands, report: Finished): Promise<Commands> {
  const { left } = report;
  if (left === undefined || hasLeft(row)) return row;
  const result = JSON.stringify({ ...(JSON.parse(resultOf(report)) as object), left });
  const alarmed = await addAlarm(step, row, { result, reason: left.join('; ') });
  await appendEntry(step.rows, {
    chain: row.cluster,
    actor: `node:${row.executor}`,
    action: 'command.left-undone',
    subject: subjectOf(row),
    phase: 'done',
    detail: { kind: row.kind, target: row.target_id, left },
    atMs: step.nowMs,
  });
  const { id: commandId, cluster, kind } = row;
  step.context.log.error({ commandId, cluster, kind, left }, 'a command left work to a person');
  return alarmed;
}
