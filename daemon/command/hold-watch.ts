/**
 * The HOLD file of this machine: asked directly before every effect, and looked at twice a second
 * so that the server hears of it within one. A look, not a notification of the kernel: the folder
 * may be missing, be replaced, or lie where nobody is notified, and a look cannot fail to start.
 * Invariant: what cannot be read, or not within 1 s, counts as held.
 */
import type { Cancel } from '../../broker/contract/ports.ts';
import type { FactSources } from './local-facts.ts';
import { within } from './work-steps.ts';

export type HoldSources = Pick<FactSources, 'isHeld' | 'clock' | 'log'>;

const lookMaxMs = 1_000;
const lookEveryMs = 500;

export async function isHeldHere({ isHeld, clock, log }: HoldSources): Promise<boolean> {
  const looked = (async () => isHeld())().catch((error: unknown) => {
    log.warn({ error }, 'nobody can tell whether the HOLD file stands: nothing is begun');
    return true;
  });
  return (await within(clock, lookMaxMs, looked)) ?? true;
}

/** Calls `onChange` with every change from what it saw last, first from "not held". */
export function watchHold(sources: HoldSources, onChange: (isHeld: boolean) => void): Cancel {
  let isClosed = false;
  let last = false;
  let cancel: Cancel = () => undefined;
  async function look(): Promise<void> {
    const isHeld = await isHeldHere(sources);
    if (isClosed) return;
    cancel = sources.clock.after(lookEveryMs, look);
    if (isHeld === last) return;
    last = isHeld;
    sources.log.warn({ isHeld }, 'HOLD of this machine');
    onChange(isHeld);
  }
  void look();
  return () => {
    isClosed = true;
    cancel();
  };
}
