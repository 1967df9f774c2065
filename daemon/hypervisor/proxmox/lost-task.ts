/**
 * The task of a command whose daemon ended after its start was written down and before its UPID
 * was: sought in the hypervisor's own list by kind, guest, time, and where it tells, by who began
 * it. A task that another command named is never taken for it, nor one that began later than ours
 * can have: whoever holds a person's task for his own may end it. Looks only.
 */
import type { Clock } from '../../../broker/contract/ports.ts';
import type { CommandKind } from '../../../broker/contract/command.ts';
import type { Trace, Work } from '../port.ts';
import { pause } from '../runs.ts';
import type { Upid } from './tasks.ts';

const typesOf: Partial<Record<CommandKind, readonly string[]>> = {
  'guest.start': ['qmstart', 'vzstart', 'hastart'],
  'guest.stop': ['qmstop', 'qmshutdown', 'vzstop', 'vzshutdown', 'hastop'],
  'guest.restart': ['qmreboot', 'vzreboot'],
  'guest.migrate': ['qmigrate', 'vzmigrate', 'hamigrate'],
};

const lookEveryMs = 200;
/** A tool that outlived its daemon opens its task within this, or waits for something else. */
const lookForMs = 5_000;
/** One that came later was begun by somebody else: what is ours was asked for at once. */
const openedWithinMs = 60_000;

export type Seeking = {
  clock: Clock;
  /** null: not to be had now. */
  tasks: () => Promise<readonly Upid[] | null>;
  /** How much earlier than the trace a task may seem to have begun. */
  skewMs: number;
  /** Only tasks that this user or token began. */
  user?: string;
};

export async function findTask(
  { clock, tasks, skewMs, user }: Seeking,
  { action, target }: Work,
  { trace, signal }: { trace: Trace; signal: AbortSignal },
): Promise<string | null> {
  const types = typesOf[action.kind];
  if (types === undefined) return null;
  const { startedAtWallMs, otherHandles } = trace;
  const isSought = (task: Upid): boolean =>
    types.includes(task.type) &&
    task.id === target.id &&
    (user === undefined || task.user === user) &&
    task.startedAtSeconds * 1_000 > startedAtWallMs - skewMs &&
    task.startedAtSeconds * 1_000 < startedAtWallMs + openedWithinMs + skewMs &&
    !otherHandles.has(task.upid);
  const untilMs = clock.monotonicMs() + lookForMs;
  for (;;) {
    const found = (await tasks())?.filter(isSought) ?? [];
    const [first] = found.toSorted((a, b) => a.startedAtSeconds - b.startedAtSeconds);
    if (first) return first.upid;
    if (signal.aborted || clock.monotonicMs() >= untilMs) return null;
    await pause(clock, lookEveryMs, signal);
  }
}
