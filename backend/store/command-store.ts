/**
 * What the command protocol asks of its store, by meaning and without SQL: backend/act runs on
 * SQLite, MariaDB, or the simulation's memory alike, and one contract suite holds all three to it.
 *
 * Every write happens inside `transaction`: all of a work's writes or none. A work may run several
 * times and must touch nothing but its rows. Conditional writes answer whether they found their
 * row; `ConflictError` thrown by a work asks for a fresh attempt.
 */
import type { ControlReads, ControlRows } from './control-rows.ts';

export type { QuotaClaim } from './control-rows.ts';
import type {
  Audit,
  AuditHeads,
  Clusters,
  CommandHistory,
  Commands,
  Leases,
  Limiter,
  Nodes,
  Outbox,
  Settings,
  Targets,
} from './sql/schema.ts';

/** The setting that holds HOLD of everything; its `ver` counts every change of any HOLD. */
export const holdSetting = 'hold';

export type NodeKey = Pick<Nodes, 'cluster' | 'id'>;
export type TargetKey = Pick<Targets, 'cluster' | 'kind' | 'id'>;

/** With the command that has the mutex, if one does. */
export type Target = Targets & { active: Pick<Commands, 'id' | 'kind' | 'state'> | null };

/** An offer that is to be published now. */
export type DueOffer = Pick<Outbox, 'id' | 'cluster' | 'command_id' | 'node' | 'attempts'>;
export type DueCommand = Pick<Commands, 'id' | 'cluster'>;

/** What other commands need to know of a command; its verdicts are long and left out. */
export const briefColumns = [
  'id',
  'kind',
  'target_kind',
  'target_id',
  'executor',
  'args',
  'generation',
  'origin',
  'parent_id',
  'plan_id',
  'state',
  'state_reason',
  'planned_at_ms',
  'granted_at_ms',
  'finished_at_ms',
] as const satisfies (keyof Commands)[];
export type CommandBrief = Pick<Commands, (typeof briefColumns)[number]>;

export type CommandFilter = {
  states: readonly string[];
  kinds?: readonly string[];
  target?: Pick<Targets, 'kind' | 'id'>;
  grantedAfterMs?: number;
  finishedAfterMs?: number;
};

export type LeaseCandidate = {
  cluster: string;
  owner: string | null;
  /** null: nobody ever led it. */
  epoch: number | null;
  expires_at_ms: number | null;
  now_ms: number;
};

/** One chain's entries; who appends takes the head first and moves it last. */
export type AuditRows = {
  /** Locks the head against other writers and reads it; undefined before the first entry. */
  takeAuditHead(chain: string): Promise<Pick<AuditHeads, 'seq' | 'hash'> | undefined>;
  /** Head and entry in one: false when the head is not `seq - 1` with the entry's `prev_hash`. */
  appendAuditRow(row: Audit): Promise<boolean>;
};

export type AuditReads = {
  auditHead(chain: string): Promise<Pick<AuditHeads, 'seq' | 'hash'> | undefined>;
  /** In order, both ends included; a store may give fewer at once, but none only at the end. */
  auditRows(chain: string, fromSeq: number, toSeq: number): Promise<Audit[]>;
};

/** What may be read outside a transaction: hints, looked at again by the step that acts on them. */
export type CommandReads = ControlReads & {
  command(id: string): Promise<Commands | undefined>;
  clusterIds(): Promise<string[]>;
  holds(): Promise<{ setting: Pick<Settings, 'value' | 'ver'> | null; clusters: string[] }>;
  /** The oldest waiting command of each free target; a wake also of a target in doubt. */
  dueOffers(max: number): Promise<DueOffer[]>;
  /** Open commands with something due, those not yet granted in `held` clusters among them. */
  dueCommands(held: readonly string[], max: number): Promise<DueCommand[]>;
};

export type CommandRows = CommandReads &
  ControlRows &
  AuditRows & {
    nowMs(): Promise<number>;
    /** Checks and locks in one write: false when owner or epoch is no longer this one. */
    passFence(lease: Pick<Leases, 'cluster' | 'owner' | 'epoch'>): Promise<boolean>;
    openCluster(
      id: string,
    ): Promise<{ cluster: Clusters; hold: string | null; nowMs: number } | undefined>;
    updateCluster(id: string, patch: Partial<Clusters>): Promise<boolean>;
    /** null leaves the value, or begins with `first`, and counts all the same. */
    countHold(value: string | null, first: string): Promise<void>;

    /** One cluster or all of this owner's. */
    renewLeases(owner: string, forMs: number, cluster?: string): Promise<void>;
    leaseCandidates(cluster?: string): Promise<LeaseCandidate[]>;
    /** False when it is another's and not run out, or the epoch has moved. */
    takeLease(candidate: LeaseCandidate, owner: string, forMs: number): Promise<boolean>;
    expireLeases(owner: string, held: readonly Pick<Leases, 'cluster' | 'epoch'>[]): Promise<void>;

    node(key: NodeKey): Promise<Nodes | undefined>;
    /** Those that said hello once, by id, without this one. */
    neighbours(key: NodeKey): Promise<Nodes[]>;
    countNodes(cluster: string): Promise<number>;
    ensureNode(key: NodeKey, nowMs: number): Promise<void>;
    updateNode(key: NodeKey, patch: Partial<Nodes>, expected?: { ver: number }): Promise<boolean>;

    target(key: TargetKey): Promise<Target | undefined>;
    /** Makes the target with its first command. */
    nextGeneration(key: TargetKey): Promise<number>;
    updateTarget(
      key: TargetKey,
      patch: Partial<Targets>,
      expected?: { ver: number } | { active_command: string },
    ): Promise<boolean>;

    commandByKey(idempotencyKey: string): Promise<Commands | undefined>;
    /** By age. */
    commandsByIds(cluster: string, ids: readonly string[]): Promise<Commands[]>;
    /** What the node executes and what is done to it, by age. */
    commandsAt(key: NodeKey, states: readonly string[]): Promise<Commands[]>;
    /** By age. */
    commandsOf(cluster: string, filter: CommandFilter): Promise<CommandBrief[]>;
    /** Throws UniqueViolation for a known id, idempotency key, or generation of its target. */
    insertCommand(row: Commands): Promise<void>;
    /** False when state or version is no longer this one. */
    updateCommand(
      seen: Pick<Commands, 'id' | 'state' | 'ver'>,
      patch: Partial<Commands>,
    ): Promise<boolean>;
    /** No deadline of these states comes before `untilMs`. */
    postponeDeadlines(
      clusters: readonly string[],
      states: readonly string[],
      untilMs: number,
    ): Promise<void>;
    /** The next probe of what is uncertain, everywhere or of one executor, comes at `nowMs`. */
    probeSoon(clusters: readonly string[], nowMs: number, executor?: string): Promise<void>;
    insertHistory(line: CommandHistory): Promise<void>;
    history(commandId: string, ver: number): Promise<CommandHistory | undefined>;

    insertOutbox(line: Outbox): Promise<void>;
    noteOffered(id: string, at: { dueAtMs: number; publishedAtMs: number }): Promise<void>;
    dropOutbox(commandId: string): Promise<void>;
    offerSoon(key: NodeKey, nowMs: number): Promise<void>;

    limiterSlots(cluster: string, buckets: readonly string[]): Promise<Limiter[]>;
    /** `ver` null: a slot nobody took yet. False when another took it meanwhile. */
    takeSlot(
      slot: Pick<Limiter, 'cluster' | 'bucket'> & { ver: number | null },
      atMs: number,
    ): Promise<boolean>;
    forgetSlots(cluster: string, beforeMs: number): Promise<void>;
  };

export type CommandStore = {
  reads: CommandReads;
  transaction<T>(work: (rows: CommandRows) => Promise<T>): Promise<T>;
};
