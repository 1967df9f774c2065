/**
 * One question to the guards: a proposed action and everything that is known when it is judged.
 * Made of the wire's and the store's own types; ages are relative to the moment of judgement.
 * Null always means "not known", never "none".
 */
import type { GuestFacts, NodeFacts } from '../../broker/contract/facts.ts';
import type { Action, CommandKind, CommandState } from '../../broker/contract/command.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { NodeRecord } from '../../backend/state/fleet.ts';

export type Origin = 'person' | 'token' | 'engine' | 'system';
export type Mode = 'observe' | 'recommend' | 'approve' | 'auto';

export type Proposal = {
  action: Action;
  /** The node that acts; of a wake the node to be woken. */
  node: string;
  guest: string | null;
  origin: Origin;
  /** A person said yes to exactly this command. */
  approved: boolean;
  /** One cycle of `prove-wake`, asked for by a person who is present. */
  proving: boolean;
};

/** What a node carries or asked for over the last hour, at the 95th percentile. */
export type Usage = { cpuRatioP95: number; memoryP95Bytes: number };

export type CaseNode = {
  record: NodeRecord;
  factsAgeMs: number | null;
  guestFacts: GuestFacts[] | null;
  quarantinedForMs: number | null;
  journalConfirmed: boolean;
  keepAwakeForMs: number | null;
  usage: Usage | null;
  /** By its newest hello, the signed wake table of today, with all others in it. */
  holdsWakeTable: boolean;
  /** A second way to switch it on: IPMI, Redfish, a plug. */
  managementWaker: boolean;
};

/** A command of this cluster that is under way, or ended within the last 30 days. */
export type PastCommand = {
  kind: CommandKind;
  state: CommandState;
  node: string;
  guest: string | null;
  /** Of a migration. */
  targetNode: string | null;
  startedAgoMs: number;
  finishedAgoMs: number | null;
  automatic: boolean;
};

export type WakeBinding = {
  mac: string | null;
  nicDriver: string | null;
  kernel: string | null;
  biosVersion: string | null;
  waker: string | null;
  wakeOnMagic: boolean | null;
};

export type WakeProof = {
  node: string;
  agoMs: number;
  succeeded: boolean;
  bootMs: number | null;
  binding: WakeBinding;
};

export type GuestPolicy = {
  cpuMin: number;
  cpuMax: number;
  memoryMinBytes: number;
  memoryMaxBytes: number;
};

export type CaseCluster = {
  simulated: boolean;
  hold: boolean;
  holdAll: boolean;
  frozenForMs: number | null;
  leader: boolean;
  mode: Mode;
  shadowMs: number;
  insideWindow: boolean;
  backendUpMs: number;
  snapshotComplete: boolean;
  /** How long no vote of the membership has changed. */
  votesStableMs: number | null;
  /** When the last storm of stale nodes was seen. */
  stormAgoMs: number | null;
  /** An administrator's typed word that no spare vote is needed. */
  spareVotes: 0 | 1;
  wakeProof: 'required' | 'assumed';
  wakersMin: number;
  reserve: 'awake' | 'wakeable' | 'none';
  reserveRatio: number;
  movesPerDay: number;
  /** Nodes that carry Kernreaktor's own parts, and their guests; null = not found yet. */
  house: { nodes: string[]; guests: string[] } | null;
  /** Any power-off in any cluster. */
  powerOffAnywhereAgoMs: number | null;
};

/** What the executor reads on its own node directly before it acts. */
export type LocalView = {
  ageMs: number;
  hold: boolean;
  facts: NodeFacts | null;
  guests: GuestSample[] | null;
  guestFacts: GuestFacts[] | null;
};

export type Case = {
  proposal: Proposal;
  cluster: CaseCluster;
  nodes: CaseNode[];
  commands: PastCommand[];
  proofs: WakeProof[];
  /** Memory the guest uses at the 99th percentile. */
  guestMemoryP99Bytes: number | null;
  guestPolicy: GuestPolicy | null;
  /** A person touched the target; automation leaves it alone for so long. */
  pausedForMs: number | null;
  local: LocalView;
};

/** Null allows; a text denies and says why. */
export type Rule = (question: Case) => string | null;
