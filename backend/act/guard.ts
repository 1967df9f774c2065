/**
 * The shape of a guard: what it may look at and what it may answer. Facts are plain data, so that
 * a stored verdict can be judged again. Pure.
 */
import type { CommandKind, CommandState } from '../../broker/contract/command.ts';
import type { Driver, GuestFacts, NodeFacts } from '../../broker/contract/facts.ts';
import type { Fact } from '../decide/plan.ts';
import type { Window } from '../decide/windows.ts';
import type { GuestRecord } from '../state/fleet.ts';
import type { Limits } from './guard-limits.ts';
import type { House } from './house.ts';
import type { Proof } from './wake-ways.ts';

export type Phase = 'PLANNED' | 'GRANT';

/** What is known of one node now; null is unknown, never a default. */
export type NodeFact = {
  id: string;
  online: boolean;
  driver: Driver | null;
  protected: boolean;
  protectedReason: string | null;
  journalConfirmed: boolean;
  /** Guests its newest sample shows as not stopped. */
  runningGuests: number | null;
  /** Of them, those tagged kr_park that nothing else holds: they may sleep with their node. */
  parkableGuests?: number | null;
  /** Age of that sample by the server's monotonic clock, and what is still fresh. */
  sampleAgeMs: number | null;
  freshMs: number;
  /** What it said of itself in its newest hello. */
  facts: NodeFacts | null;
  /** Since that hello came, by the store's clock. */
  factsAgeMs: number | null;
  /** Who it sees in its cluster now; null without a cluster. */
  membersOnline: readonly string[] | null;
  /** For how long its word about members and votes has stood; null: none has been heard yet. */
  votesStableForMs?: number | null;
  /** Guests that carry a lock, running or not. */
  lockedGuests: readonly string[] | null;
  uptimeMs: number | null;
  memoryUsedBytes: number | null;
  memoryTotalBytes: number | null;
  cpuRatio: number | null;
  cpuCount: number | null;
  /** Something on its own host stops every command: the HOLD file, its policy, its journal. */
  localHold?: boolean;
  /** By its clock and ours, at its newest sample. */
  clockOffsetMs: number | null;
  desired: 'awake' | 'asleep';
  keepAwakeUntilMs: number | null;
  quarantinedUntilMs: number | null;
  /** Since its session ended, null while it is connected or was never heard. */
  offlineForMs: number | null;
};

/** SAFETY T1: three intervals, and who has nothing new to say says hello every 10 minutes. */
const factsFreshMs = 3 * 600_000;

export const areFactsFresh = ({ factsAgeMs }: NodeFact): boolean =>
  factsAgeMs !== null && factsAgeMs <= factsFreshMs;

/**
 * Fresh means connected, sampled lately enough, and described by a hello that still holds:
 * everything else counts as lost.
 */
export const isFresh = (node: NodeFact): boolean =>
  node.online &&
  node.sampleAgeMs !== null &&
  node.sampleAgeMs <= node.freshMs &&
  areFactsFresh(node);

export type Origin = 'person' | 'token' | 'engine' | 'system';

export type Move = { from: string; to: string; agoMs: number };

/** What only a power-off needs to know of the rest of the cluster. */
export type PowerFacts = {
  neighbours: readonly NodeFact[];
  /** Nodes that commands may have taken or be taking away, apart from the target. */
  inDoubt: readonly string[];
  /** Since the last power command of the cluster ended; null when none did within a day. */
  lastChangeAgoMs: number | null;
  cyclesToday: number;
  /** By each waker: what was shown of it that still counts. */
  proofs: readonly Proof[];
  /** Who, by its newest hello, holds the signed wake table of today with the target in it. */
  wakeTable: {
    /** False under maintenance: then it is off because somebody wants it, and nobody wakes it. */
    isWoken: boolean;
    /** null: the cluster is too large for a table. */
    holders: readonly string[] | null;
  } | null;
  /** Wakes of the cluster whose node did not come. */
  failingWakes: readonly OtherCommand[];
  /** The campaign this power-off belongs to, while it runs. */
  provingCampaign: string | null;
  /** Of the target over the last 40 minutes. */
  load: Load | null;
  /** Memory that every running guest of the cluster may use. */
  guestBytes: number | null;
};

/** Between which sizes automation may change a guest; null: it leaves that size alone. */
export type GuestSizes = {
  cpuMin: number | null;
  cpuMax: number | null;
  memoryMinBytes: number | null;
  memoryMaxBytes: number | null;
};

export type GuestFact = {
  sample: GuestRecord;
  facts: GuestFacts | null;
  /** Other nodes that are heard and say that it runs there too. */
  alsoOn: readonly string[];
  /** What it used over the stored past, p99; null where nobody asked the store. */
  memoryP99Bytes: number | null;
  /** null: no policy names its sizes, so automation leaves them alone. */
  sizes: GuestSizes | null;
  /** Its automatic moves of the last day, newest first. */
  moves: readonly Move[];
};

/** The busiest of the last hour, p95 of the minutes; null where the store has too little of it. */
export type Load = { cpuRatio: number | null; memoryUsedBytes: number | null };

export type OtherCommand = {
  id: string;
  kind: CommandKind;
  state: CommandState;
  target: string;
  executor: string;
  /** Where a migration leads. */
  destination: string | null;
};

export type GuardFacts = {
  kind: CommandKind;
  args: Record<string, unknown>;
  origin: Origin;
  nowMs: number;
  cluster: {
    id: string;
    simulated: boolean;
    hold: boolean;
    frozenUntilMs: number | null;
    frozenReason: string | null;
  };
  limits: Limits;
  /** How long this server has been able to hear anyone. */
  listeningForMs: number;
  /** Nodes that should be awake, those of them nobody hears from, or not once since the start. */
  awake: { expected: number; stale: number; unheard: number };
  /** Change windows of the active policy; null when nobody can read it. */
  windows: readonly Window[] | null;
  /** Where Kernreaktor itself lives, of this cluster. */
  house: House;
  /** Other commands of the cluster that may be at work now, wakes aside. */
  underWay: readonly OtherCommand[];
  /** Automation leaves the target alone until then. */
  pausedUntilMs: number | null;
  power: PowerFacts | null;
  guest: GuestFact | null;
  /** For a migration: others under way, from the source and to the destination. */
  migrations: { outgoing: number; incoming: number } | null;
  epoch: number;
  /** Highest epoch the executor ever accepted; 0 before it said so. */
  executorMaxEpoch: number;
  executor: NodeFact | null;
  target: { kind: 'node' | 'guest'; id: string };
  /** The node itself, for a command on a node. */
  targetNode: NodeFact | null;
  /** Where the guest was last seen, for a command on a guest. */
  guestNode: string | null;
  /** For a migration. */
  destination: { id: string; node: NodeFact | null; load: Load | null } | null;
  /** For a wake: resolved addresses of the target. */
  wake: { macs: number } | null;
  /** Other commands of the cluster that are open and take a node away. */
  powerOffs: readonly OtherCommand[];
  powerOffsMax: number;
  /** The INDETERMINATE command that keeps this target, if one does. */
  unresolved: OtherCommand | null;
};

export type Denial = { rule: string; code: string; reason: string; wayOut: string };
export type Verdict = { facts: Fact[]; denial: Denial | null };

export type Guard = {
  id: string;
  appliesTo(kind: CommandKind): boolean;
  verdict(facts: GuardFacts): Verdict;
};

export type Says = { code: string; reason: string; wayOut: string };
/** A denial under its rule, or a pass; the inputs are kept either way. */
export const judged = (rule: string, facts: Fact[], says: Says | null): Verdict => ({
  facts,
  denial: says && { rule, ...says },
});

export type Evaluation = {
  /** `NODE`: what the node's own guards said against it, as it told. */
  phase: Phase | 'NODE';
  atMs: number;
  verdicts: ({ id: string } & Verdict)[];
};

export const denialOf = (evaluation: Evaluation): Denial | undefined =>
  evaluation.verdicts.find((verdict) => verdict.denial)?.denial ?? undefined;
