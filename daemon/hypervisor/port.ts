/**
 * What a hypervisor driver must answer and do. One driver object may speak for many nodes (a
 * cluster API, the twin). A driver reports what it saw; it never decides, retries or forgives.
 */
import type { Action, Target } from '../../broker/contract/command.ts';
import type { Driver, GuestFacts, NodeFacts } from '../../broker/contract/facts.ts';
import type { Waker } from '../waker/port.ts';
import type { GuestSample, NodeValues } from '../../broker/contract/telemetry.ts';

/** What the host itself measures; `host` sampler and drivers both produce parts of it. */
export type HostSample = {
  node: NodeValues;
  /** null: could not be learned; []: there are none. */
  guests: GuestSample[] | null;
  membersOnline: string[] | null;
  versions: { daemon: string; hypervisor: string | null; kernel: string | null };
};

/** What the hypervisor itself kept of some earlier moment (unix ms). */
export type PastSample = {
  atMs: number;
  node: NodeValues;
  guests: GuestSample[] | null;
};
/** Exclusive at both ends, unix ms. */
export type PastSpan = { afterMs: number; beforeMs: number };

export type Description = {
  driver: Driver;
  bootId: string | null;
  facts: NodeFacts;
  guests: GuestFacts[] | null;
  /** For how long the same members have been seen; never on the wire, since it always changes. */
  membersStableForMs?: number;
};

/** One command as the executor hands it to a driver, after every check. */
export type Work = {
  commandId: string;
  node: string;
  target: Target;
  action: Action;
  /** Divides durations inside a simulated world; 1 for real drivers. */
  timeScale: number;
};

/** Why a signal fired: a person calls a running effect back. */
export const cancelled = 'cancelled';

export type WorkContext = {
  /**
   * Aborted when the command times out, and with the reason `cancelled` when a person calls the
   * effect back; the driver then ends what it started.
   */
  signal: AbortSignal;
  /** As soon as the hypervisor named its task, and again for the task that a queued request
   * became; resolves when journaled. */
  onHandle(handle: string): Promise<void>;
  /**
   * What forbids the effect at this very moment, or null: for a driver whose preparations take so
   * long that somebody may have changed their mind, or the world has changed. Of a power-off all
   * guards look again, so it is asked last of all. Absent: nobody is asked again.
   */
  heldBy?(): Promise<string | null>;
};

/** What is left of an effect whose process ended before the hypervisor had named it. */
export type Trace = {
  /** By this host's wall clock, at the latest. */
  startedAtWallMs: number;
  /** Of other commands, which it is not. */
  otherHandles: ReadonlySet<string>;
};

export type Performed = {
  /** The tool's own opinion, null when it has none. Never proof. */
  exitCode: number | null;
  detail: string;
  /** At most 64 KiB, the newest part. */
  output: string;
  /** What a person must still do, because it could not be taken back. */
  left?: string[];
  /** Proof that the effect has not begun and will not, so that nobody need wait to see it. */
  neverBegan?: true;
};

export type Observation = {
  /** true: the post-condition was seen; false: seen not to hold, stably; null: not seen. */
  postcondition: boolean | null;
  detail: string;
};

export type Hypervisor = {
  /** Nodes this driver speaks for. */
  nodes(): readonly string[];
  /** `isFresh`: what a program told earlier does not count, since a power-off is judged by it. */
  describe(node: string, asked?: { isFresh: boolean }): Promise<Description>;
  sample(node: string): Promise<HostSample>;
  /** What the hypervisor kept of that span, in order of time; absent where it keeps nothing. */
  history?(node: string, span: PastSpan): Promise<PastSample[]>;
  /**
   * What the quorum device of a node's cluster says now, as a word that changes with it; null where
   * there is none. Asked every 20 s, since a vote seen 30 s ago counts for nothing (SAFETY Q1).
   */
  deviceVote?(node: string): Promise<string | null>;
  /** Starts the effect and returns when the tool has ended. Never called twice for one id. */
  perform(work: Work, context: WorkContext): Promise<Performed>;
  /**
   * Looks for the task that an earlier process began and did not live to name; begins nothing.
   * null: none is seen, which does not mean that there is none.
   */
  find?(work: Work, trace: Trace, signal: AbortSignal): Promise<string | null>;
  /** Waits for a task started before a restart, by its handle; absent where handles are unknown. */
  attach?(work: Work, handle: string, context: WorkContext): Promise<Performed>;
  /**
   * Takes back, once the host has booted again, what `perform` of a power-off did beside it, by
   * the handle that names it; absent where there is nothing. It may be repeated, and goes on until
   * it is done or given up; the answer says what is left to do by hand, null when nothing. Without
   * a handle nothing was done beside it: then it only looks for what others have left.
   */
  undo?(work: Work, handle: string | null, context: WorkContext): Promise<string | null>;
  /** Looks at the world for the command's post-condition; starts nothing. */
  observe(work: Work): Promise<Observation>;
  /** What it asked to end may take so long to; 10 s where it says nothing. */
  readonly endsWithinMs?: number;
  /** A way to wake that only this driver has; it goes before all others. */
  readonly waker?: Waker;
  close(): Promise<void>;
};
