/**
 * The one picture of everything, in memory: what each node last said and what is known of it.
 * `reduce` (reduce.ts) alone changes it; decide and HTTP read it. Ages are monotonic server time,
 * so no wall clock of a daemon can make a sample look fresh.
 */
import type { Driver, NodeFacts } from '../../broker/contract/facts.ts';
import type { NodeKey } from '../../broker/contract/ids.ts';
import type { PowerSource } from '../../broker/contract/metrics.ts';
import type { DaemonLoad } from '../../broker/contract/presence.ts';
import type { GuestSample, NodeValues, Telemetry } from '../../broker/contract/telemetry.ts';

/**
 * First that applies wins; see `nodeState` in node-state.ts. In the order of DESIGN 7, which stored
 * figures and boards count by.
 */
export const nodeStates = [
  'maintenance',
  'waking',
  'draining',
  'asleep',
  'lost',
  'stale',
  'awake',
  'unknown',
] as const;
export type NodeState = (typeof nodeStates)[number];

/** `prove`: emptied for its wake proof alone; it does not rest, and fills again when that ends. */
export type EvacuationPhase = 'evacuate' | 'prove' | 'return';

/** `guests`: who ran there when it began, and comes back when it ends. */
export type Evacuation = {
  phase: EvacuationPhase;
  /** It is to be switched off once it is empty. */
  sleeps: boolean;
  guests: readonly string[];
  actor: string;
  startedAtMs: number;
};

export type NodeRecord = {
  cluster: string;
  node: string;
  /** Session of the newest hello, birth or telemetry; null after a restart of the backend. */
  session: string | null;
  online: boolean;
  /** When the current session's will or goodbye arrived, monotonic ms. */
  offlineSinceMs: number | null;
  incarnation: number;
  seq: number;
  /** Arrival of the newest sample, monotonic ms; null before the first. */
  sampleAtMs: number | null;
  sampledAtWallMs: number | null;
  intervalMs: number;
  values: NodeValues | null;
  /** Where the watts among them came from, when the server gave them. */
  powerSource?: PowerSource | null;
  guests: readonly GuestSample[] | null;
  versions: Telemetry['versions'] | null;
  membersOnline: readonly string[] | null;
  driver: Driver | null;
  bootId: string | null;
  journalId: string | null;
  facts: NodeFacts | null;
  /** GuestFacts[] as JSON: rarely read, and a third of the memory of its objects. */
  guestFactsJson: string | null;
  load: DaemonLoad | null;
  localHold: boolean;
  /** From SQL, refreshed each tick: what people and commands made of it. */
  desired: 'awake' | 'asleep';
  maintenance: boolean;
  protected: boolean;
  /** Since when its own word about members, votes and quorum has not changed, monotonic ms. */
  votesSinceMs?: number | null;
  /** A person wants it emptied, or its guests back; absent or null otherwise. */
  evacuation?: Evacuation | null;
  /** Kind of the active command on it, for waking and draining. */
  activeKind: string | null;
  /** It has said hello once, if only before this server started. */
  hasSaidHello?: boolean;
};

export type GuestRecord = GuestSample & { cluster: string; node: string; sampleAtMs: number };

export type ClusterRecord = {
  id: string;
  simulated: boolean;
  timeScale: number;
  hold: boolean;
  autonomy: Record<string, 'observe' | 'recommend' | 'approve' | 'auto'>;
  policyHash: string | null;
  policyYaml: string | null;
  /** What its administrator changed of its guards' limits and settings, as JSON. */
  limits?: string;
  settings?: string;
  /** Only observed until then (SAFETY T1, B1), and why. */
  frozenUntilMs?: number | null;
  frozenReason?: string | null;
};

export type Fleet = {
  clusters: Map<string, ClusterRecord>;
  nodes: Map<NodeKey, NodeRecord>;
  /** Nodes of each cluster, for per-cluster work without a scan of all. */
  nodesByCluster: Map<string, Map<string, NodeRecord>>;
  /** `<cluster>/<guest>` -> where it was last seen. */
  guests: Map<string, GuestRecord>;
  /** Samples that a newer one overtook before the state was read. */
  supersededSamples: number;
};

export const emptyFleet = (): Fleet => ({
  clusters: new Map(),
  nodes: new Map(),
  nodesByCluster: new Map(),
  guests: new Map(),
  supersededSamples: 0,
});
