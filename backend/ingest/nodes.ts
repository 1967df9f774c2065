/**
 * What ingest remembers of each node that ever spoke: its sequence numbers, whom to address
 * receipts to, and when its daemon last replayed something. Pure.
 */
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import { newSequence, type NodeSequence } from './sequence.ts';

/** Shared by the nodes of a daemon, whose disk outbox replays one node after the other. */
export type Replayer = { replayedAtMs: number };

export type NodeEntry = {
  readonly cluster: string;
  readonly node: string;
  readonly sequence: NodeSequence;
  replayer: Replayer;
  /** Of its newest telemetry; null until it spoke to this process. */
  session: string | null;
  /** Of its newest sample: the same list for all its samples, until its guests change. */
  guestIds: readonly string[];
  /** Not before this are receipts published; null until the first. */
  receiptDueMs: number | null;
};

export type Nodes = {
  get(cluster: string, node: string): NodeEntry | undefined;
  of(cluster: string, node: string): NodeEntry;
  replayerOf(client: string): Replayer;
};

export function createNodes(): Nodes {
  const nodes = new Map<NodeKey, NodeEntry>();
  const replayers = new Map<string, Replayer>();
  const replayerOf = (client: string): Replayer => {
    const known = replayers.get(client) ?? { replayedAtMs: 0 };
    replayers.set(client, known);
    return known;
  };
  return {
    get: (cluster, node) => nodes.get(nodeKey(cluster, node)),
    of(cluster, node) {
      const key = nodeKey(cluster, node);
      const known = nodes.get(key);
      if (known) return known;
      const replayer = { replayedAtMs: 0 };
      const rest = { replayer, session: null, guestIds: [], receiptDueMs: null };
      const entry: NodeEntry = { cluster, node, sequence: newSequence(), ...rest };
      nodes.set(key, entry);
      return entry;
    },
    replayerOf,
  };
}
