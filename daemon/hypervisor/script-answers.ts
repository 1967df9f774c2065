/**
 * What the administrator's programs print, checked, and what it proves of a command. An answer
 * that fails the check proves nothing. `false` is only said of a command whose program has ended
 * here: while something may still be under way, "not yet" and "never" look the same. Pure.
 */
import { z } from 'zod';
import { firstIssue } from '../../broker/contract/codec.ts';
import { GuestFacts } from '../../broker/contract/facts.ts';
import { GuestId } from '../../broker/contract/ids.ts';
import {
  guestsPerNodeMax,
  nameLengthMax,
  tagLengthMax,
  tagsPerGuestMax,
  textLengthMax,
} from '../../broker/contract/limits.ts';
import { guestMetrics } from '../../broker/contract/metrics.ts';
import { GuestKind, GuestSample, GuestState } from '../../broker/contract/telemetry.ts';
import { seen, unseen } from './observation.ts';
import type { Observation, Work } from './port.ts';
import { isDownForGood, type Run } from './runs.ts';

const metric = (min: number, max: number) => z.number().min(min).max(max).nullable().optional();

/** What the guards of a move or a new size ask; what the program leaves out is unknown. */
const { cpuType, hotplug, disks, localResources, allowedNodes } = GuestFacts.shape;
const ToldFacts = z.strictObject({ cpuType, hotplug, disks, localResources, allowedNodes });

/** As on Proxmox: its owner consents to a restart on the way. */
const restartTag = 'kr_restart';

/** Strict: a metric misspelt is an error the administrator sees, not a value silently missing. */
const Guest = z.strictObject({
  id: GuestId,
  kind: GuestKind,
  name: z.string().max(nameLengthMax),
  state: GuestState,
  tags: z.array(z.string().max(tagLengthMax)).max(tagsPerGuestMax).default([]),
  lock: z.string().max(textLengthMax).nullable().default(null),
  haState: z.string().max(textLengthMax).nullable().default(null),
  metrics: z
    .strictObject(
      Object.fromEntries(guestMetrics.map(({ name, min, max }) => [name, metric(min, max)])),
    )
    .default({}),
  facts: ToldFacts.prefault({}),
});

const Guests = z
  .array(Guest)
  .max(guestsPerNodeMax)
  .refine((guests) => new Set(guests.map(({ id }) => id)).size === guests.length, {
    message: 'every guest id may stand in the list once',
  });

const ProbeAnswer = z.strictObject({
  postcondition: z.boolean().nullable(),
  detail: z.string().max(textLengthMax).default(''),
});

export type Answer<T> = { ok: true; value: T } | { ok: false; problem: string };

function checked<T>(schema: z.ZodType<T>, stdout: string): Answer<T> {
  let json: unknown;
  try {
    json = JSON.parse(stdout);
  } catch {
    return { ok: false, problem: 'standard output is no JSON: print the answer and nothing else' };
  }
  const result = schema.safeParse(json);
  if (result.success) return { ok: true, value: result.data };
  const { field, hint } = firstIssue(result.error, '');
  return { ok: false, problem: field === '' ? hint : `${field}: ${hint}` };
}

/** One guest of the list, as telemetry takes it and as the guards ask about it. */
export type Listed = { sample: GuestSample; facts: GuestFacts };

function listedOf({ metrics, facts, ...guest }: z.infer<typeof Guest>): Listed {
  const sample = GuestSample.parse({ ...guest, ...metrics }) as GuestSample;
  const { id, kind, name, tags, lock, haState, cpuCount, memoryTotalBytes } = sample;
  return {
    sample,
    facts: GuestFacts.parse({
      ...facts,
      id,
      kind,
      name,
      tags,
      lock,
      haState,
      cpuCount: cpuCount === null ? null : Math.round(cpuCount),
      memoryMaxBytes: memoryTotalBytes,
      mayRestart: tags.includes(restartTag),
    }),
  };
}

export function readGuests(stdout: string): Answer<Listed[]> {
  const answer = checked(Guests, stdout);
  return answer.ok ? { ok: true, value: answer.value.map(listedOf) } : answer;
}

export const readProbe = (stdout: string): Answer<Observation> => checked(ProbeAnswer, stdout);

/** Uptimes are often told in whole seconds. */
const uptimeStepMs = 1_000;

function judgeRestart(guest: GuestSample, run: Run | undefined, nowMs: number): Observation {
  if (guest.state !== 'running') {
    const isOver = guest.state === 'stopped' && run !== undefined && isDownForGood(run, nowMs);
    return { postcondition: isOver ? false : null, detail: `${guest.id} is ${guest.state}` };
  }
  if (guest.uptimeMs === null) return unseen('running, but no uptimeMs tells since when');
  if (!run) return unseen('running, but when its restart began is not known here');
  const isYounger = guest.uptimeMs <= nowMs - run.startedAtMs + uptimeStepMs;
  const since = `${guest.id} runs since ${guest.uptimeMs} ms`;
  return isYounger ? seen(since) : { postcondition: false, detail: `${since}, before the restart` };
}

function judgeScale(guest: GuestSample, args: Readonly<Record<string, unknown>>): Observation {
  const visible: Record<string, number | null> = {
    cpuCount: guest.cpuCount,
    memoryBytes: guest.memoryTotalBytes,
  };
  const wanted = Object.entries(args).filter(([, value]) => value !== undefined);
  const differing = wanted.find(([name, value]) => {
    const now = visible[name] ?? null;
    return now !== null && now !== value;
  });
  if (differing) {
    const [name, value] = differing;
    return { postcondition: false, detail: `${name} is ${visible[name]}, not ${String(value)}` };
  }
  const hidden = wanted.filter(([name]) => (visible[name] ?? null) === null);
  if (hidden.length === 0) return seen('the guest has the wanted size');
  return unseen(`${hidden.map(([name]) => name).join(', ')} cannot be seen in the list of guests`);
}

function judgeState(guest: GuestSample, wanted: 'running' | 'stopped'): Observation {
  const detail = `${guest.id} is ${guest.state}`;
  if (guest.state === wanted) return seen(detail);
  return guest.state === 'unknown' ? unseen(detail) : { postcondition: false, detail };
}

function judgeMigrate(work: Work, guest: GuestSample | undefined, target: string): Observation {
  const here = guest ? `${guest.state} on ${work.node}` : `not on ${work.node}`;
  if (work.node === target) {
    return guest?.state === 'running' ? seen(here) : unseen(here);
  }
  // Gone from here is no proof of having arrived: only the target's own list can show that.
  if (!guest) return unseen(`${here}; only ${target} can tell whether it runs there`);
  return { postcondition: false, detail: here };
}

function judge(work: Work, guests: readonly GuestSample[], run?: Run, nowMs = 0): Observation {
  const { action, target } = work;
  const guest = guests.find(({ id }) => id === target.id);
  if (action.kind === 'guest.migrate') return judgeMigrate(work, guest, action.args.targetNode);
  if (target.kind === 'node') return unseen(`${work.node} still answers`);
  if (!guest) return unseen(`${target.id} is not in the list of guests`);
  if (action.kind === 'guest.start') return judgeState(guest, 'running');
  if (action.kind === 'guest.stop') return judgeState(guest, 'stopped');
  if (action.kind === 'guest.restart') return judgeRestart(guest, run, nowMs);
  if (action.kind === 'guest.scale') return judgeScale(guest, action.args);
  return unseen(`the list of guests says nothing of ${action.kind}`);
}

/** The post-condition of `work` as far as this list of guests shows it. */
export function observeGuests(
  work: Work,
  guests: readonly GuestSample[],
  run: Run | undefined,
  nowMs: number,
): Observation {
  const observation = judge(work, guests, run, nowMs);
  if (observation.postcondition !== false || run?.ended) return observation;
  return unseen(`${observation.detail}, but its program may still be at work`);
}
