/**
 * What every effect on a guest has around it, whichever way Proxmox is asked: its run is remembered
 * before anything begins, a plan that does not hold begins nothing, and whatever came of it, what
 * is known of the cluster is old. `joinTask` begins nothing at all.
 */
import type { Clock } from '../../../broker/contract/ports.ts';
import type { Performed, Work } from '../port.ts';
import type { Run } from '../runs.ts';
import { conclude, remember } from './context.ts';
import { notStarted } from './power-off.ts';
import { parseUpid, type Upid } from './tasks.ts';

export type Frame = {
  clock: Clock;
  runs: Map<string, Run>;
  /** Something has happened: the next look asks again. */
  expire: () => void;
};

type Steps<P> = {
  plan: (run: Run) => Promise<P | { ok: false; why: string }>;
  start: (plan: P, run: Run) => Promise<Performed>;
};

export async function carryOut<P extends { ok: true }>(
  frame: Frame,
  { commandId }: Pick<Work, 'commandId'>,
  { plan, start }: Steps<P>,
): Promise<Performed> {
  const run = remember(frame, commandId, frame.clock.monotonicMs());
  const planned = await plan(run);
  if (!planned.ok) {
    conclude(frame, run, false);
    return notStarted(planned.why);
  }
  try {
    return await start(planned, run);
  } finally {
    frame.expire();
  }
}

/** A task that began before a restart of this process. */
export async function joinTask(
  frame: Frame,
  { commandId, handle }: { commandId: string; handle: string },
  follow: (upid: Upid, run: Run) => Promise<Performed>,
): Promise<Performed> {
  const upid = parseUpid(handle);
  if (upid === null) return { exitCode: null, detail: `${handle} names no task`, output: '' };
  // Both times are of this host's own wall clock.
  const ageMs = Math.max(0, frame.clock.wallMs() - upid.startedAtSeconds * 1000);
  const run = remember(frame, commandId, frame.clock.monotonicMs() - ageMs);
  try {
    return await follow(upid, run);
  } finally {
    frame.expire();
  }
}
