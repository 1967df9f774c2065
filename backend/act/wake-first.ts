/**
 * A start of a guest whose node sleeps, as a plan of three steps under the id of the start: wake,
 * ready, start. This file holds what is next and what people are shown of it, as data; both are
 * derived from rows and the picture anew each time, so a restart loses nothing. The start stays
 * PLANNED until its node is ready, and is then judged and queued like any other. Pure.
 */
import { type CommandState, isTerminal } from '../../broker/contract/command.ts';
import type { Commands } from '../store/sql/schema.ts';
import { isUnderWay } from './lifecycle.ts';

type Named = Pick<Commands, 'id' | 'plan_id'>;

/** Its plan is its own: it began as a start on a sleeping node. */
export const isPlanned = ({ id, plan_id }: Named): boolean => plan_id === id;

/** PLANNED like what waits for approval, but approved: it waits for its node. */
export const waitsForNode = (row: Named & Pick<Commands, 'state'>): boolean =>
  isPlanned(row) && row.state === 'PLANNED';

/** A wake of the node: its `isOwn` ones were sent for this plan, or again after one of them. */
export type WakeSeen = {
  id: string;
  state: CommandState;
  reason: string | null;
  isOwn: boolean;
};

export type WakeView = {
  node: string;
  /** What is still missing until the node can start guests; null: it is ready. */
  missing: string | null;
  /** Connected and sampled, though perhaps with something missing. */
  isHeard: boolean;
  /** A command that has the node now and is no wake; null where none has. */
  busy: string | null;
  /** Of this plan's time, oldest first. */
  wakes: readonly WakeSeen[];
  /** So many ways are tried to wake a node. */
  wakesMax: number;
};

export type NextStep =
  | { do: 'wait'; why: string }
  | { do: 'wake' }
  | { do: 'start' }
  | { do: 'fail'; why: string };

const wait = (why: string): NextStep => ({ do: 'wait', why });

export function nextStep({ node, missing, isHeard, busy, wakes, wakesMax }: WakeView): NextStep {
  if (missing === null) return { do: 'start' };
  if (isHeard) return wait(`ready: ${missing}`);
  if (busy !== null) return wait(`wake: ${busy} has to end first`);
  const running = wakes.find(({ state }) => isUnderWay(state));
  if (running) return wait(`wake: ${running.id} of node ${node} is ${running.state}`);
  if (wakes.some(({ state }) => state === 'SUCCEEDED')) return wait(`ready: ${missing}`);
  const own = wakes.filter(({ isOwn }) => isOwn);
  const last = own.at(-1);
  if (!last) return { do: 'wake' };
  // While one is in doubt, the next way is tried for it, and the machine may still come.
  if (own.length < wakesMax && own.some(({ state }) => state === 'INDETERMINATE')) {
    return wait(`wake: ${last.id} has not brought node ${node} back yet`);
  }
  const tried = own.length === 1 ? 'its wake' : `${own.length} wakes`;
  const why = last.reason ?? last.state;
  return { do: 'fail', why: `node ${node} did not come by ${tried}: ${last.id}: ${why}` };
}

export type StepState = 'waiting' | 'running' | 'done' | 'failed' | 'in-doubt' | 'skipped';
/** `command` is null for what is no command, or was done by somebody else's. */
export type PlanStep = {
  step: 'wake' | 'ready' | 'start';
  node: string;
  command: string | null;
  state: StepState;
  reason: string | null;
};

const stateWords: Record<CommandState, StepState> = {
  PLANNED: 'waiting',
  QUEUED: 'waiting',
  OFFERED: 'waiting',
  GRANTED: 'running',
  RUNNING: 'running',
  CANCELLING: 'running',
  VERIFYING: 'running',
  INDETERMINATE: 'in-doubt',
  SUCCEEDED: 'done',
  FAILED: 'failed',
  REJECTED: 'failed',
  CANCELLED: 'failed',
  EXPIRED: 'failed',
};

type Row = Pick<Commands, 'id' | 'plan_id' | 'executor' | 'state' | 'state_reason'>;
type Wake = Pick<Commands, 'id' | 'state' | 'state_reason'>;

/** What a start waits for stands in its row with the step's name before it. */
const waitOf = ({ state_reason }: Row, step: 'wake' | 'ready'): string | null =>
  state_reason?.startsWith(`${step}: `) ? state_reason.slice(step.length + 2) : null;

function wakesOf(row: Row, wakes: readonly Wake[], isReady: boolean): PlanStep[] {
  const node = row.executor;
  if (wakes.length === 0) {
    const state = isReady ? 'done' : isTerminal(row.state as CommandState) ? 'skipped' : 'waiting';
    return [{ step: 'wake', node, command: null, state, reason: waitOf(row, 'wake') }];
  }
  return wakes.map(({ id, state, state_reason: reason }): PlanStep => ({
    step: 'wake',
    node,
    command: id,
    state: stateWords[state as CommandState],
    reason,
  }));
}

/** `wakes`: those of this plan, oldest first; `wasQueued`: the start has left PLANNED for QUEUED. */
export function stepsOf(row: Row, wakes: readonly Wake[], wasQueued: boolean): PlanStep[] {
  const { executor: node, state_reason: reason } = row;
  const state = row.state as CommandState;
  const isOver = isTerminal(state);
  const isAwake = wakes.some((wake) => wake.state === 'SUCCEEDED');
  const begun = isAwake ? 'running' : 'waiting';
  const left = isAwake ? 'failed' : 'skipped';
  const ready: StepState = wasQueued ? 'done' : isOver ? left : begun;
  const notYet: StepState = isOver ? 'skipped' : 'waiting';
  return [
    ...wakesOf(row, wakes, wasQueued),
    { step: 'ready', node, command: null, state: ready, reason: waitOf(row, 'ready') },
    {
      step: 'start',
      node,
      command: row.id,
      state: wasQueued ? stateWords[state] : notYet,
      reason: wasQueued ? reason : null,
    },
  ];
}
