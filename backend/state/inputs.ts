/**
 * Everything that can change the fleet picture, as data. Ingest and the SQL refresh produce
 * these; `reduce` consumes them in order. `atMs` is monotonic arrival time at this server.
 */
import type { Message } from '../../broker/contract/messages.ts';
import type { ClusterRecord, Evacuation } from './fleet.ts';

/** What SQL knows of a node: people's wishes and running commands. */
export type NodeAdministration = {
  cluster: string;
  node: string;
  desired: 'awake' | 'asleep';
  maintenance: boolean;
  protected: boolean;
  evacuation?: Evacuation | null;
  activeKind: string | null;
  /** It has said hello once, to this server or an earlier one. */
  hasSaidHello?: boolean;
};

export type StateInput =
  | { kind: 'telemetry'; atMs: number; message: Message<'telemetry'> }
  | { kind: 'presence'; atMs: number; message: Message<'presence'> }
  | { kind: 'hello'; atMs: number; message: Message<'hello'> }
  | { kind: 'administration'; clusters: ClusterRecord[]; nodes: NodeAdministration[] };
