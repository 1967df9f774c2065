/**
 * The wake table a node is to keep, from what all others of its cluster last said, and who holds
 * the one of today. It reads and never judges.
 */
import type { WakeTable } from '../../broker/contract/server.ts';
import type { Nodes } from '../store/sql/schema.ts';
import type { PowerFacts } from './guard.ts';
import { limitsOf } from './guard-limits.ts';
import { parseFacts } from './guard-node.ts';
import type { Step } from './step.ts';
import { tableNodesMax, wakeTableOf } from './wake-table.ts';

function tableFrom({ cluster }: Step, others: readonly Nodes[]): WakeTable | null {
  const { wakeAfterMs } = limitsOf(cluster);
  return wakeTableOf(
    others.map((row) => ({
      id: row.id,
      maintenance: row.maintenance === 1,
      facts: parseFacts(row),
    })),
    wakeAfterMs === 0 ? null : Math.max(1, Math.round(wakeAfterMs)),
  );
}

const isTooLarge = async ({ cluster, rows }: Step): Promise<boolean> =>
  (await rows.countNodes(cluster.id)) > tableNodesMax;

export async function readWakeTable(step: Step, node: string): Promise<WakeTable | null> {
  if (await isTooLarge(step)) return null;
  return tableFrom(step, await step.rows.neighbours({ cluster: step.cluster.id, id: node }));
}

/** Which of its neighbours hold, by their newest hello, the table of today with the target in it. */
export async function readTableHolders(
  step: Step,
  target: Nodes,
  neighbours: readonly Nodes[],
): Promise<NonNullable<PowerFacts['wakeTable']>> {
  const isWoken = target.maintenance === 0;
  if (await isTooLarge(step)) return { isWoken, holders: null };
  const holders = neighbours.filter((row) => {
    const others = neighbours.filter(({ id }) => id !== row.id);
    const table = tableFrom(step, [...others, target]);
    const isListed = table?.entries.some(({ node }) => node === target.id) ?? false;
    return isListed && row.wake_table_version === table?.version;
  });
  return { isWoken, holders: holders.map(({ id }) => id) };
}
