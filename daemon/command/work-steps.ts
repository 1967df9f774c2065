/**
 * The steps every effect is made of: a tool within its time, and a look at the world until it shows
 * the post-condition, stably denies it, or the time is over. Invariant: none of them rejects, and
 * none begins an effect by itself.
 */
import type { Clock, Log } from '../../broker/contract/ports.ts';
import type { Hypervisor, Observation, Performed, Work } from '../hypervisor/port.ts';
import type { Waker } from '../waker/port.ts';

export type WorkDeps = {
  hypervisor: Hypervisor;
  wakers: readonly Waker[];
  clock: Clock;
  log: Log;
};

/** A driver that does not end its tool after the abort is left behind. */
export const abortGraceMs = 10_000;
export const observeMaxMs = 30_000;
const observeEveryMs = 2_000;
const observeEveryMinMs = 100;
/** So often in a row the world must deny the post-condition before we believe it. */
const denialsNeeded = 3;

export const wait = (clock: Clock, delayMs: number): Promise<undefined> =>
  new Promise((resolve) => {
    clock.after(delayMs, () => resolve(undefined));
  });

/** undefined when `work` took longer than `maxMs`. */
export async function within<T>(
  clock: Clock,
  maxMs: number,
  work: Promise<T>,
): Promise<T | undefined> {
  let cancel = (): void => undefined;
  const late = new Promise<undefined>((resolve) => {
    cancel = clock.after(maxMs, () => resolve(undefined));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    cancel();
  }
}

export const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

/** `graceMs`: how long what was asked to end may take to put things right. */
export async function limited(
  deps: WorkDeps,
  timeoutMs: number,
  begin: (signal: AbortSignal) => Promise<Performed>,
  graceMs = abortGraceMs,
): Promise<Performed> {
  const stop = new AbortController();
  const ended = (async () => begin(stop.signal))().catch((error: unknown): Performed => {
    deps.log.warn({ error }, 'tool failed');
    return { exitCode: null, detail: messageOf(error), output: '' };
  });
  const inTime = await within(deps.clock, timeoutMs, ended);
  if (inTime) return inTime;
  stop.abort();
  const killed = await within(deps.clock, graceMs, ended);
  const detail = `ended after its time limit of ${timeoutMs} ms`;
  return killed ?? { exitCode: null, detail: `not ${detail}`, output: '' };
}

export async function observe(deps: WorkDeps, work: Work): Promise<Observation> {
  const nothing: Observation = { postcondition: null, detail: 'the hypervisor did not answer' };
  const seen = (async () => deps.hypervisor.observe(work))().catch(
    (error: unknown): Observation => {
      return { postcondition: null, detail: messageOf(error) };
    },
  );
  return (await within(deps.clock, observeMaxMs, seen)) ?? nothing;
}

export async function watch(deps: WorkDeps, work: Work, untilMs: number): Promise<Observation> {
  const everyMs = Math.max(observeEveryMinMs, observeEveryMs / work.timeScale);
  const leastMs = deps.clock.monotonicMs() + denialsNeeded * everyMs;
  for (let denials = 0; ;) {
    const seen = await observe(deps, work);
    denials = seen.postcondition === false ? denials + 1 : 0;
    if (seen.postcondition === true || denials >= denialsNeeded) return seen;
    if (deps.clock.monotonicMs() >= Math.max(untilMs, leastMs)) {
      return { postcondition: null, detail: seen.detail };
    }
    await wait(deps.clock, everyMs);
  }
}
