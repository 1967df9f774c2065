/**
 * Whether the post-condition of a command holds, read from the instance as LXD shows it now. "No"
 * is only said of a command whose operation is over: until then "not yet" and "never" look the
 * same. Pure.
 */
import { judged, seen, unseen } from '../observation.ts';
import type { Observation, Work } from '../port.ts';
import type { Instance } from './answers.ts';
import { stateOf } from './guests.ts';
import { commandKey, limitsOf } from './plan.ts';

/** What this process knows of the effect of a command; times are of the wall clock. */
export type Run = {
  startedAtWallMs: number;
  hasEnded: boolean;
  /** LXD was never asked, or said no at once. */
  neverBegan: boolean;
};

/** LXD cuts some of its times to whole seconds. */
const stepMs = 1_000;

function judgeRestart({ status, last_used_at: at }: Instance, run: Run | undefined): Observation {
  const state = stateOf(status);
  if (state !== 'running') return judged(false, `it is ${state}`);
  if (run === undefined || !at) return unseen('it runs, but whether since before is not known');
  return judged(Date.parse(at) >= run.startedAtWallMs - stepMs, `it runs since ${at}`);
}

function judgeSnapshot(instance: Instance, name: string, run: Run | undefined): Observation {
  const snapshot = instance.snapshots?.find((other) => other.name === name);
  if (!snapshot) return judged(false, `it has no snapshot ${name}`);
  if (run === undefined) return unseen(`the snapshot ${name} exists; who made it is not known`);
  const isOurs = Date.parse(snapshot.created_at) >= run.startedAtWallMs - stepMs;
  return judged(isOurs, `the snapshot ${name} was made at ${snapshot.created_at}`);
}

function judgeCreate(instance: Instance, work: Work, start: boolean): Observation {
  const state = stateOf(instance.status);
  if (instance.config[commandKey] !== work.commandId) {
    return judged(false, 'an instance of that name exists, made by something else');
  }
  return judged(!start || state === 'running', `it exists and is ${state}`);
}

function judgeInstance(work: Work, instance: Instance, run: Run | undefined): Observation {
  const { action } = work;
  const state = stateOf(instance.status);
  const where = `${instance.name} is ${state}`;
  if (action.kind === 'guest.start') return judged(state === 'running', where);
  if (action.kind === 'guest.stop') return judged(state === 'stopped', where);
  if (action.kind === 'guest.restart') return judgeRestart(instance, run);
  if (action.kind === 'guest.snapshot') return judgeSnapshot(instance, action.args.name, run);
  if (action.kind === 'guest.create') return judgeCreate(instance, work, action.args.start);
  if (action.kind === 'guest.delete') return judged(false, where);
  if (action.kind === 'guest.migrate') {
    const { location } = instance;
    return judged(location === action.args.targetNode, `${where} on ${location}`);
  }
  if (action.kind !== 'guest.scale') return unseen(`this driver cannot observe ${action.kind}`);
  const wanted = Object.entries(limitsOf(action.args) ?? {});
  const differing = wanted.find(([key, value]) => (instance.config[key] ?? '') !== value);
  if (!differing) return seen('it has the wanted limits');
  const [key, value] = differing;
  return judged(false, `${key} is ${instance.config[key] ?? 'not set'}, not ${value}`);
}

/** `instance`: null when LXD says that there is none. */
export function judge(work: Work, instance: Instance | null, run: Run | undefined): Observation {
  if (run?.neverBegan) return judged(false, 'nothing of it was begun');
  const { kind } = work.action;
  const observation =
    instance !== null
      ? judgeInstance(work, instance, run)
      : kind === 'guest.delete'
        ? seen('there is no such instance any more')
        : kind === 'guest.create'
          ? judged(false, 'there is no such instance')
          : unseen('there is no such instance on this host');
  if (observation.postcondition !== false || run?.hasEnded) return observation;
  return unseen(`${observation.detail}, but its operation may still be at work`);
}
