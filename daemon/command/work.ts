/**
 * Carrying one granted command out: the tool runs once, within its time, and then the world is
 * looked at until it shows the post-condition, stably denies it, or the time is over. Invariant:
 * the answer about the world comes from observing it, never from the tool. It must never begin an
 * effect in `resume`, which follows one that began before a restart.
 */
import type { Action, GrantContent, Probe } from '../../broker/contract/command.ts';
import type { Clock, Log } from '../../broker/contract/ports.ts';
import type { Hypervisor, Observation, Performed, Work, WorkContext } from '../hypervisor/port.ts';
import { type WakeRequest, type Waker, wakersFor } from '../waker/port.ts';
import type { Outcome } from './command-state.ts';
import { actionOf, isPowerOff } from './guards.ts';

export type WorkDeps = {
  hypervisor: Hypervisor;
  wakers: readonly Waker[];
  clock: Clock;
  log: Log;
};

export type WorkHooks = {
  /** Resolves when journaled. */
  onHandle: (handle: string) => Promise<void>;
  /** Says goodbye to the server, since this host is about to go. */
  goodbye: () => Promise<void>;
};

const goodbyeMaxMs = 2_000;
/** A driver that does not end its tool after the abort is left behind. */
const abortGraceMs = 10_000;
const observeMaxMs = 30_000;
const observeEveryMs = 2_000;
const observeEveryMinMs = 100;
/** So often in a row the world must deny the post-condition before we believe it. */
const denialsNeeded = 3;

const wait = (clock: Clock, delayMs: number): Promise<undefined> =>
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

const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

async function limited(
  deps: WorkDeps,
  timeoutMs: number,
  begin: (signal: AbortSignal) => Promise<Performed>,
): Promise<Performed> {
  const stop = new AbortController();
  const ended = (async () => begin(stop.signal))().catch((error: unknown): Performed => {
    deps.log.warn({ error }, 'tool failed');
    return { exitCode: null, detail: messageOf(error), output: '' };
  });
  const inTime = await within(deps.clock, timeoutMs, ended);
  if (inTime) return inTime;
  stop.abort();
  const killed = await within(deps.clock, abortGraceMs, ended);
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

async function watch(deps: WorkDeps, work: Work, untilMs: number): Promise<Observation> {
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

async function wakeBy(
  wakers: readonly Waker[],
  request: WakeRequest,
  signal: AbortSignal,
): Promise<Performed> {
  const failures: string[] = [];
  for (const waker of wakers) {
    try {
      const { detail } = await waker.wake(request, signal);
      return { exitCode: 0, detail: `${waker.name}: ${detail}`, output: failures.join('\n') };
    } catch (error) {
      failures.push(`${waker.name}: ${messageOf(error)}`);
    }
  }
  const detail = failures.join('; ');
  return { exitCode: 1, detail: detail === '' ? 'no waker of that name' : detail, output: '' };
}

/** Only the target's own hello proves that it woke, so nothing is observed here. */
async function wake(deps: WorkDeps, grant: GrantContent, action: Action): Promise<Outcome> {
  const args = action.kind === 'node.wake' ? action.args : {};
  const wakers = wakersFor(deps.wakers, grant.target.id, args.waker);
  const { macs = [], broadcasts = [] } = args;
  const { commandId } = grant;
  const request = { node: grant.target.id, macs, broadcasts, commandId };
  const sent = await limited(deps, grant.timeoutMs, (signal) => wakeBy(wakers, request, signal));
  return { ...sent, postcondition: null };
}

type Asked = Pick<Probe, 'commandId' | 'kind' | 'target' | 'args'>;

/** undefined when the arguments are not the kind's: such a thing is not even looked at. */
export function workOf(asked: Asked, node: string, timeScale: number): Work | undefined {
  const action = actionOf(asked);
  if (typeof action === 'string') return undefined;
  const { commandId, target } = asked;
  return { commandId, node, target, action, timeScale };
}

const unusable: Outcome = {
  exitCode: null,
  postcondition: null,
  detail: 'the arguments are not those of this kind',
  output: '',
};

async function followed(
  deps: WorkDeps,
  grant: GrantContent,
  { work, begin }: { work: Work; begin: (signal: AbortSignal) => Promise<Performed> },
): Promise<Outcome> {
  const untilMs = deps.clock.monotonicMs() + grant.timeoutMs;
  const performed = await limited(deps, grant.timeoutMs, begin);
  const { postcondition, detail } = await watch(deps, work, untilMs);
  const details = [performed.detail, detail].filter((text) => text !== '');
  return { ...performed, postcondition, detail: details.join('; ') };
}

export async function perform(
  deps: WorkDeps,
  grant: GrantContent,
  hooks: WorkHooks,
): Promise<Outcome> {
  const work = workOf(grant, grant.node, grant.timeScale);
  if (!work) return unusable;
  if (grant.kind === 'node.wake') return wake(deps, grant, work.action);
  if (isPowerOff(grant.kind)) {
    // A server that misses it learns of the power-off from the started report, or from the will.
    const said = hooks.goodbye().catch((error: unknown) => {
      deps.log.warn({ error }, 'goodbye failed');
    });
    await within(deps.clock, goodbyeMaxMs, said);
  }
  const begin = (signal: AbortSignal): Promise<Performed> => {
    const context: WorkContext = { signal, onHandle: hooks.onHandle };
    return deps.hypervisor.perform(work, context);
  };
  return followed(deps, grant, { work, begin });
}

type Begun = { grant: GrantContent; handle: string | null; bootId: string | null };

async function hasBootedSince(deps: WorkDeps, { grant, bootId }: Begun): Promise<boolean> {
  const described = async () => deps.hypervisor.describe(grant.node);
  const description = described().catch(() => undefined);
  const now = await within(deps.clock, observeMaxMs, description);
  return bootId !== null && now !== undefined && now.bootId !== null && now.bootId !== bootId;
}

/** Takes back what the power-off did beside it; what is left of that, for the person who reads. */
async function undo(
  { hypervisor, ...deps }: WorkDeps,
  { grant, handle, work }: { grant: GrantContent; handle: string | null; work: Work },
  hooks: WorkHooks,
): Promise<string> {
  const undoing = hypervisor.undo?.bind(hypervisor);
  if (handle === null || !undoing) return '';
  const { detail } = await limited({ hypervisor, ...deps }, grant.timeoutMs, async (signal) => {
    const left = await undoing(work, handle, { signal, onHandle: hooks.onHandle });
    return { exitCode: left === null ? 0 : 1, detail: left ?? '', output: '' };
  });
  return detail === '' ? '' : `; ${detail}`;
}

/** After a restart: joins the tool again by its handle, or only looks at the world. */
export async function resume(deps: WorkDeps, begun: Begun, hooks: WorkHooks): Promise<Outcome> {
  const { grant, handle } = begun;
  const work = workOf(grant, grant.node, grant.timeScale);
  if (!work) return unusable;
  const unknown: Performed = { exitCode: null, detail: 'the executor restarted', output: '' };
  if (grant.kind === 'node.wake') return { ...unknown, postcondition: null };
  if (isPowerOff(grant.kind) && (await hasBootedSince(deps, begun))) {
    const left = await undo(deps, { grant, handle, work }, hooks);
    return { ...unknown, postcondition: true, detail: `the host has booted again since${left}` };
  }
  const { hypervisor } = deps;
  const begin = (signal: AbortSignal): Promise<Performed> =>
    handle !== null && hypervisor.attach
      ? hypervisor.attach(work, handle, { signal, onHandle: hooks.onHandle })
      : Promise.resolve(unknown);
  return followed(deps, grant, { work, begin });
}
