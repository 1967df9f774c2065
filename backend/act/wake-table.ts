/**
 * Whom a daemon shall wake when this server is gone: every other node of its cluster that says by
 * which cards it is woken, whether it sleeps now or not, since the table must be on disks before
 * anyone sleeps. Its version is a fingerprint of what it says, so that the same table has the same
 * version whoever signed it. Pure.
 */
import { hash } from 'node:crypto';
import type { NodeFacts } from '../../broker/contract/facts.ts';
import type { WakeTable } from '../../broker/contract/server.ts';
import { broadcastsOf, macsOf } from './wake-ways.ts';

/** In a cluster this large somebody is always awake, and its table would not fit a message. */
export const tableNodesMax = 128;

export type Sleeper = { id: string; maintenance: boolean; facts: NodeFacts | null };

const entriesMax = 1_024;
const broadcastsMax = 16;

/** What fits the column and the wire: 31 bits. */
const versionOf = (content: object): number =>
  hash('sha256', JSON.stringify(content), 'buffer').readUInt32BE() >>> 1;

/** null when there is nobody to wake. A node under maintenance is off because somebody wants it. */
export function wakeTableOf(
  others: readonly Sleeper[],
  wakeAfterMs: number | null,
): WakeTable | null {
  const entries = others
    .filter(({ maintenance, facts }) => !maintenance && macsOf(facts).length > 0)
    .toSorted((a, b) => (a.id < b.id ? -1 : 1))
    .slice(0, entriesMax)
    .map(({ id, facts }) => ({
      node: id,
      macs: macsOf(facts),
      broadcasts: broadcastsOf(facts).slice(0, broadcastsMax),
    }));
  if (entries.length === 0) return null;
  return { version: versionOf({ wakeAfterMs, entries }), wakeAfterMs, entries };
}
