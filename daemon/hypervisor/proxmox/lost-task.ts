/**
 * The task of a command whose daemon ended after its start was written down and before its UPID
 * was: sought in the host's own list by kind, guest and time. A task that another command named is
 * never taken for it. Looks only.
 */
import type { CommandKind } from '../../../broker/contract/command.ts';
import type { Trace, Work } from '../port.ts';
import { pause } from '../runs.ts';
import type { Context } from './context.ts';

const typesOf: Partial<Record<CommandKind, readonly string[]>> = {
  'guest.start': ['qmstart', 'vzstart', 'hastart'],
  'guest.stop': ['qmstop', 'qmshutdown', 'vzstop', 'vzshutdown', 'hastop'],
  'guest.restart': ['qmreboot', 'vzreboot'],
  'guest.migrate': ['qmigrate', 'vzmigrate', 'hamigrate'],
};

const lookEveryMs = 200;
/** A tool that outlived its daemon opens its task within this, or waits for something else. */
const lookForMs = 5_000;
/** UPIDs tell whole seconds. */
const stepMs = 1_000;

export async function findTask(
  { clock, host }: Pick<Context, 'clock' | 'host'>,
  { action, target }: Work,
  { trace, signal }: { trace: Trace; signal: AbortSignal },
): Promise<string | null> {
  const types = typesOf[action.kind];
  if (types === undefined) return null;
  const { startedAtWallMs, otherHandles } = trace;
  const untilMs = clock.monotonicMs() + lookForMs;
  for (;;) {
    const found = (await host.tasks())?.find(
      ({ upid, type, id, startedAtSeconds }) =>
        types.includes(type) &&
        id === target.id &&
        startedAtSeconds * 1_000 > startedAtWallMs - stepMs &&
        !otherHandles.has(upid),
    );
    if (found) return found.upid;
    if (signal.aborted || clock.monotonicMs() >= untilMs) return null;
    await pause(clock, lookEveryMs, signal);
  }
}
