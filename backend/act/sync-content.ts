/**
 * What a sync tells a node: every open command it is to execute, HOLD, and the wake table it is to
 * keep, all signed. A sync states all there is, so it may be said at any time and any number of
 * times.
 */
import { type CommandKind, isTerminal } from '../../broker/contract/command.ts';
import { openCommandsMax } from '../../broker/contract/limits.ts';
import type { SyncContent } from '../../broker/contract/server.ts';
import type { Commands } from '../store/sql/schema.ts';
import type { Evaluation } from './guard.ts';
import { stateOf } from './ledger.ts';
import { activeStates } from './lifecycle.ts';
import { say, type Step } from './step.ts';
import { readTableHolders, readWakeTable } from './table-holders.ts';

const toldStates = [...activeStates, 'QUEUED', 'OFFERED'];

/** What the node is to execute, and what is happening to the node itself. */
export const readOpen = (step: Step, node: string): Promise<Commands[]> =>
  step.rows.commandsAt({ cluster: step.cluster.id, id: node }, toldStates);

/** What is left out counts as over for the executor: what may have begun comes first. */
export const executedBy = (node: string, open: readonly Commands[]): Commands[] =>
  open
    .filter((row) => row.executor === node && !isTerminal(stateOf(row)))
    .sort(
      (a, b) =>
        Number(activeStates.includes(stateOf(b))) - Number(activeStates.includes(stateOf(a))),
    )
    .slice(0, openCommandsMax);

export async function saySync(
  step: Step,
  to: { node: string; session: string },
  commands: readonly Commands[],
): Promise<void> {
  const { context, cluster, epoch } = step;
  const { node, session } = to;
  const { incarnation, seq } = context.watermark(cluster.id, node);
  const content = {
    v: 1,
    type: 'sync',
    cluster: cluster.id,
    node,
    session,
    epoch,
    hold: step.isHeld,
    simulated: cluster.simulated === 1,
    storedIncarnation: incarnation,
    storedSeq: seq,
    intervalMs: context.intervalMs(cluster.id, node),
    commands: commands.map((row) => ({
      commandId: row.id,
      kind: row.kind as CommandKind,
      state: stateOf(row),
    })),
    wakeTable: await readWakeTable(step, node),
  } satisfies SyncContent;
  say(step, 'sync', { node, session, body: context.signer.sign(content) });
}

/**
 * Tables change with what other nodes say, and a node hears of it with its next hello only: where
 * a guard counted on a newer one, whoever holds an older one is told at once.
 */
export async function renewWakeTables(
  step: Step,
  { verdicts }: Evaluation,
  target: string,
): Promise<void> {
  if (!verdicts.some(({ denial }) => denial?.code === 'KR_WAKE_TABLE')) return;
  const { cluster, rows, context } = step;
  const key = { cluster: cluster.id, id: target };
  const row = await rows.node(key);
  const neighbours = await rows.neighbours(key);
  const holders = row && (await readTableHolders(step, row, neighbours)).holders;
  for (const { id } of holders ? neighbours : []) {
    const { online, session } = context.reach.contact(cluster.id, id);
    if (!online || session === null || holders?.includes(id)) continue;
    await saySync(step, { node: id, session }, executedBy(id, await readOpen(step, id)));
  }
}
