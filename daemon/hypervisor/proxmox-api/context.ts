/**
 * What all parts of the API driver share: the API, the cluster's last look, the administrator's
 * word on what the API cannot show, and what it remembers of the effects it ran.
 */
import type { Clock, Log } from '../../../broker/contract/ports.ts';
import { nodeIdOf } from '../proxmox/context.ts';
import type { Run } from '../runs.ts';
import type { PveApi } from './client.ts';
import type { Cluster, Look } from './cluster.ts';

/** What only the administrator can say of a node that nobody looks at from inside. */
export type Declared = {
  /** What it does for others; an empty list says: nothing. */
  roles: readonly string[];
  /** Its network card answers a magic packet (`Wake-on: g`, and the BIOS agrees). */
  wakeOnMagic: boolean;
  /** Nobody logs in and nothing but Proxmox's own tasks works there. */
  nothingElseAtWork: boolean;
};

export type Context = {
  nodes: readonly string[];
  simulated: boolean;
  daemonVersion: string;
  api: PveApi;
  cluster: Cluster;
  declared: Readonly<Record<string, Declared>>;
  migrationBytesPerSecond: number | null;
  clock: Clock;
  log: Log;
  runs: Map<string, Run>;
};

/** The node is off, as it may be: nothing about it can be told. */
export class NodeAsleepError extends Error {
  override readonly name = 'NodeAsleepError';
  readonly code = 'KR_NODE_ASLEEP';
}

export type NodeRow = Look['resources']['nodes'][number];

export const rowOf = ({ resources }: Look, node: string): NodeRow | undefined =>
  resources.nodes.find((row) => nodeIdOf(row.node) === node);

/** @throws NodeAsleepError */
export function awakeRow(look: Look, node: string): NodeRow {
  const row = rowOf(look, node);
  if (row?.status === 'online') return row;
  const why = row === undefined ? 'is no member of the cluster' : `is ${row.status}`;
  throw new NodeAsleepError(`node ${node} ${why}`);
}

/** The guest where the cluster has it now. */
export const guestRowOf = ({ resources }: Look, vmid: string) =>
  resources.guests.find((row) => row.vmid === vmid);
