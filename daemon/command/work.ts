/**
 * Carrying one granted command out: the tool runs once, within its time, and then the world is
 * looked at until it shows the post-condition, stably denies it, or the time is over. Invariant:
 * the answer about the world comes from observing it, never from the tool. It must never begin an
 * effect in `resume`, which follows one that began before a restart.
 */
import type { Action, GrantContent, Probe } from '../../broker/contract/command.ts';
import type { Performed, Trace, Work, WorkContext } from '../hypervisor/port.ts';
import { wakersFor } from '../waker/port.ts';
import type { Outcome } from './command-state.ts';
import { actionOf, isPowerOff } from './guards.ts';
import { firstBurst, laterBursts } from './wake-series.ts';
import { abortGraceMs, limited, observeMaxMs, watch, within, type WorkDeps } from './work-steps.ts';

export type WorkHooks = {
  /** Who forbids an effect at this very moment, or null. */
  heldBy: () => Promise<string | null>;
  /** What the guards say of a power-off at this very moment, by fresh facts, HOLD included. */
  lastLook: () => Promise<string | null>;
  /** Fires when the server calls the command over while it works. */
  over: AbortSignal;
  /** Fires when somebody calls the effect itself back. */
  back: AbortSignal;
  /** Resolves when journaled. */
  onHandle: (handle: string) => Promise<void>;
  /** Says goodbye to the server, since this host is about to go. */
  goodbye: () => Promise<void>;
  /** Why the node must stay on, null once nothing runs there. */
  park: () => Promise<string | null>;
  /** Resolves when it is durable that the power-off itself begins now. */
  setOut: () => Promise<void>;
  /** Of a power-off that an earlier process began: it ended while it parked guests. */
  hasOnlyParked: () => boolean;
  /** Undoes `park`; what is left of that for a person. */
  unpark: (since: { hasBooted: boolean }) => Promise<string[]>;
};

const goodbyeMaxMs = 2_000;
/**
 * A host on its way down starts no process anew. One in which this process, begun after the
 * power-off, still works after so long is not on its way, whatever was asked of it.
 */
const goingMaxMs = 300_000;
/** Proxmox takes up to three minutes to give a migration up: disks are removed, locks taken off. */
const migrationGraceMs = 200_000;

/** Only the target's own hello proves that it woke, so nothing is observed here. */
async function wake(
  deps: WorkDeps,
  grant: GrantContent,
  { action, hooks }: { action: Action; hooks: WorkHooks },
): Promise<Outcome> {
  const args = action.kind === 'node.wake' ? action.args : {};
  const wakers = wakersFor(deps.wakers, grant.target.id, args.waker);
  const { macs = [], broadcasts = [] } = args;
  const { commandId, timeScale, target } = grant;
  const request = { node: target.id, macs, broadcasts, commandId };
  const isAwake = () => isMember(deps, grant.node, target.id);
  const sent = await limited(deps, grant.timeoutMs, async (limit) => {
    const signal = AbortSignal.any([limit, hooks.over]);
    const { heldBy } = hooks;
    const series = { wakers, request, timeScale, signal, heldBy, isAwake };
    const { performed, waker } = await firstBurst(series);
    const later = await laterBursts(deps, series, waker);
    return { ...performed, detail: `${performed.detail}${later}` };
  });
  return { ...sent, postcondition: null };
}

/** As the running cluster sees it from here; nobody else can tell. */
export async function isMember(deps: WorkDeps, from: string, node: string): Promise<boolean> {
  const sampled = (async () => deps.hypervisor.sample(from))().catch(() => undefined);
  const sample = await within(deps.clock, observeMaxMs, sampled);
  return sample?.membersOnline?.includes(node) ?? false;
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

/** Proof enough that nothing happened, whatever the world looks like. */
const notBegun = (why: string): Outcome => ({
  ...unusable,
  postcondition: false,
  detail: `not begun: ${why}`,
});

type Followed = {
  work: Work;
  begin: (signal: AbortSignal) => Promise<Performed>;
  back: AbortSignal;
  /** How long the world is looked at; absent: as long as the command may take. */
  watchMaxMs?: number;
};

async function followed(
  deps: WorkDeps,
  grant: GrantContent,
  { work, begin, back, watchMaxMs = grant.timeoutMs }: Followed,
): Promise<Outcome> {
  const { kind, timeoutMs } = grant;
  const untilMs = deps.clock.monotonicMs() + Math.min(timeoutMs, watchMaxMs);
  const { endsWithinMs = 0 } = deps.hypervisor;
  const usualMs = kind === 'guest.migrate' ? migrationGraceMs : abortGraceMs;
  const graceMs = Math.max(usualMs, endsWithinMs + abortGraceMs);
  const { neverBegan, ...performed } = await limited(
    deps,
    timeoutMs,
    (limit) => begin(AbortSignal.any([limit, back])),
    graceMs,
  );
  // Whether a host went off cannot be seen from itself, and that it was not told to is enough.
  if (neverBegan && isPowerOff(kind)) return { ...performed, postcondition: false };
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
  if (grant.kind === 'node.wake') return wake(deps, grant, { action: work.action, hooks });
  const heldBy = await hooks.heldBy();
  if (heldBy !== null) return notBegun(heldBy);
  if (grant.kind === 'node.shutdown') {
    const why = await hooks.park();
    if (why !== null) {
      const stays = { ...unusable, postcondition: false, detail: `the node stays on: ${why}` };
      return awakeAgain(stays, hooks);
    }
  }
  if (isPowerOff(grant.kind)) {
    // A server that misses it learns of the power-off from the started report, or from the will.
    const said = hooks.goodbye().catch((error: unknown) => {
      deps.log.warn({ error }, 'goodbye failed');
    });
    await within(deps.clock, goodbyeMaxMs, said);
    // Parking takes minutes: long enough for a hand at the switch, and for a neighbour to die.
    const why = await hooks.lastLook();
    if (why !== null) return awakeAgain(notBegun(why), hooks);
    await hooks.setOut();
  }
  const begin = (signal: AbortSignal): Promise<Performed> => {
    const { onHandle, lastLook } = hooks;
    const context: WorkContext = {
      signal,
      onHandle,
      heldBy: isPowerOff(grant.kind) ? lastLook : hooks.heldBy,
    };
    return deps.hypervisor.perform(work, context);
  };
  const outcome = await followed(deps, grant, { work, begin, back: hooks.back });
  return grant.kind === 'node.shutdown' ? awakeAgain(outcome, hooks) : outcome;
}

/** A host that is seen off cannot start its guests; every other end leaves it on. */
async function awakeAgain(outcome: Outcome, hooks: WorkHooks): Promise<Outcome> {
  return outcome.postcondition === true
    ? outcome
    : withLeft(outcome, await hooks.unpark({ hasBooted: false }));
}

/** What a person must do stands in the detail, too, which is all that older servers read. */
const withLeft = (outcome: Outcome, more: readonly string[]): Outcome =>
  more.length === 0
    ? outcome
    : {
        ...outcome,
        detail: [outcome.detail, ...more].join('; '),
        left: [...(outcome.left ?? []), ...more],
      };

type Begun = {
  grant: GrantContent;
  handle: string | null;
  bootId: string | null;
  /** For one that has no handle. */
  trace: Trace;
};

async function hasBootedSince(deps: WorkDeps, { grant, bootId }: Begun): Promise<boolean> {
  const described = async () => deps.hypervisor.describe(grant.node);
  const description = described().catch(() => undefined);
  const now = await within(deps.clock, observeMaxMs, description);
  return bootId !== null && now !== undefined && now.bootId !== null && now.bootId !== bootId;
}

/** Takes back what the power-off did beside it; what is left of that for a person. */
async function undo(
  { hypervisor, ...deps }: WorkDeps,
  { grant, handle, work }: { grant: GrantContent; handle: string | null; work: Work },
  hooks: WorkHooks,
): Promise<string[]> {
  const undoing = hypervisor.undo?.bind(hypervisor);
  if (!undoing) return [];
  const { detail } = await limited({ hypervisor, ...deps }, grant.timeoutMs, async (signal) => {
    const left = await undoing(work, handle, { signal, onHandle: hooks.onHandle });
    return { exitCode: left === null ? 0 : 1, detail: left ?? '', output: '' };
  });
  return detail === '' ? [] : [detail];
}

/** The end came before the name was written down: the hypervisor's own list may still have it. */
async function findName(
  { hypervisor }: WorkDeps,
  { work, trace, signal }: { work: Work; trace: Trace; signal: AbortSignal },
  hooks: WorkHooks,
): Promise<string | null> {
  const found = (await hypervisor.find?.(work, trace, signal)) ?? null;
  if (found !== null) await hooks.onHandle(found);
  return found;
}

/** After a restart: joins the tool again by its handle, or only looks at the world. */
export async function resume(deps: WorkDeps, begun: Begun, hooks: WorkHooks): Promise<Outcome> {
  const { grant, handle } = begun;
  const work = workOf(grant, grant.node, grant.timeScale);
  if (!work) return unusable;
  const unknown: Performed = { exitCode: null, detail: 'the executor restarted', output: '' };
  if (grant.kind === 'node.wake') return { ...unknown, postcondition: null };
  if (isPowerOff(grant.kind) && (await hasBootedSince(deps, begun))) {
    const undone = await undo(deps, { grant, handle, work }, hooks);
    const detail = 'the host has booted again since';
    const booted: Outcome = { ...unknown, postcondition: true, detail };
    return withLeft(booted, [...undone, ...(await hooks.unpark({ hasBooted: true }))]);
  }
  if (hooks.hasOnlyParked()) {
    return awakeAgain(notBegun('the executor ended while it parked guests'), hooks);
  }
  const begin = async (signal: AbortSignal): Promise<Performed> => {
    const name = handle ?? (await findName(deps, { work, trace: begun.trace, signal }, hooks));
    if (name === null || !deps.hypervisor.attach) return unknown;
    return deps.hypervisor.attach(work, name, { signal, onHandle: hooks.onHandle });
  };
  const watchMaxMs = isPowerOff(grant.kind) ? goingMaxMs / grant.timeScale : grant.timeoutMs;
  const outcome = await followed(deps, grant, { work, begin, back: hooks.back, watchMaxMs });
  return grant.kind === 'node.shutdown' ? awakeAgain(outcome, hooks) : outcome;
}
