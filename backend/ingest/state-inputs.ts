/**
 * What waits for the fold: of telemetry the newest sample per node, of everything else all of it,
 * in order of arrival. Bounded; it is only ever full when the pipeline stands still. Pure.
 */
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import type { StateInput } from '../state/inputs.ts';

/** A sample, a birth and a hello of each of 4 096 nodes, five times over. */
export const inputsMax = 65_536;

type MessageInput = Extract<StateInput, { message: unknown }>;

export type StateInputs = {
  /** Superseded samples leave an empty slot, so that order is kept without moving anything. */
  slots: (MessageInput | undefined)[];
  newest: Map<NodeKey, number>;
};

export const createStateInputs = (): StateInputs => ({ slots: [], newest: new Map() });

function compact(inputs: StateInputs): void {
  inputs.slots = inputs.slots.filter((slot) => slot !== undefined);
  inputs.newest.clear();
  inputs.slots.forEach((slot, index) => {
    if (slot?.kind !== 'telemetry') return;
    inputs.newest.set(nodeKey(slot.message.cluster, slot.message.node), index);
  });
}

const isOlder = (input: MessageInput, than: MessageInput | undefined): boolean => {
  if (input.kind !== 'telemetry' || than?.kind !== 'telemetry') return false;
  const [a, b] = [input.message, than.message];
  return a.body.incarnation === b.body.incarnation
    ? a.seq < b.seq
    : a.body.incarnation < b.body.incarnation;
};

/** What became of it: `superseded` means that one sample, this or the one before, is skipped. */
export function offer(inputs: StateInputs, input: MessageInput): 'taken' | 'superseded' | 'full' {
  if (inputs.slots.length >= inputsMax) compact(inputs);
  if (input.kind !== 'telemetry') {
    if (inputs.slots.length >= inputsMax) return 'full';
    inputs.slots.push(input);
    return 'taken';
  }
  const key = nodeKey(input.message.cluster, input.message.node);
  const before = inputs.newest.get(key);
  if (before !== undefined && isOlder(input, inputs.slots[before])) return 'superseded';
  if (before !== undefined) inputs.slots[before] = undefined;
  else if (inputs.slots.length >= inputsMax) return 'full';
  inputs.newest.set(key, inputs.slots.push(input) - 1);
  return before === undefined ? 'taken' : 'superseded';
}

export function drain(inputs: StateInputs): StateInput[] {
  const drained = inputs.slots.filter((slot) => slot !== undefined);
  inputs.slots = [];
  inputs.newest.clear();
  return drained;
}
