/**
 * The words the second implementation of SAFETY section 2 speaks in: what is destructive, what is
 * fresh, what may still be happening. Read from SAFETY alone, so that a wrong reading elsewhere
 * is not repeated here; must import no guard of the product.
 */
import type { GuestFacts } from '../../broker/contract/facts.ts';
import { type CommandKind, isTerminal, repeatableKinds } from '../../broker/contract/command.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { Case, CaseNode, PastCommand } from './case.ts';

export const isKnown = <T>(value: T | null | undefined): value is T =>
  value !== null && value !== undefined;

export const second = 1_000;
export const minute = 60 * second;
export const hour = 60 * minute;
export const day = 24 * hour;
export const mebibyte = 2 ** 20;

export const kindOf = (question: Case): CommandKind => question.proposal.action.kind;

/** The node stops: its votes, guests and services are gone, for a while or for long. */
export const stopsNode = (kind: CommandKind): boolean =>
  kind === 'node.shutdown' || kind === 'node.reboot';

/** What can end a service that runs, as opposed to what only adds or looks. */
const destructive: ReadonlySet<CommandKind> = new Set([
  'node.shutdown',
  'node.reboot',
  'node.drain',
  'guest.stop',
  'guest.restart',
  'guest.delete',
  'guest.migrate',
]);
export const isDestructive = (question: Case): boolean => destructive.has(kindOf(question));

/** What the system itself sends completes something begun, so it is no wish of automation. */
export const isAutomatic = ({ proposal }: Case): boolean => proposal.origin === 'engine';

export const nodeOf = (question: Case, id: string): CaseNode | undefined =>
  question.nodes.find(({ record }) => record.node === id);
export const target = (question: Case): CaseNode | undefined =>
  nodeOf(question, question.proposal.node);

/** T1: an input counts for three intervals, at least 30 s. Ages are relative to now = 0. */
export function isHeard({ record }: CaseNode): boolean {
  if (!record.online || record.sampleAtMs === null) return false;
  return -record.sampleAtMs <= Math.max(3 * record.intervalMs, 30 * second);
}

/** Its hello is an input, too, and said again every 10 min while it holds. */
export const isFresh = (node: CaseNode): boolean =>
  isHeard(node) && node.factsAgeMs !== null && node.factsAgeMs <= 30 * minute;

/** From the grant on; what only waits is judged again when its turn comes. */
const hasNotBegun: readonly string[] = ['PLANNED', 'QUEUED', 'OFFERED'];
export const mayStillHappen = ({ state }: PastCommand): boolean =>
  !isTerminal(state) && !hasNotBegun.includes(state);

/** Under way, and not one that has released its target by being safe to repeat. */
export const holdsTarget = (command: PastCommand): boolean =>
  mayStillHappen(command) &&
  !(command.state === 'INDETERMINATE' && repeatableKinds.has(command.kind));

const isAlive = ({ state }: GuestSample): boolean => state !== 'stopped';
/** A suspended guest has no process but a promise; like an unknown one it counts as alive. */
export const aliveGuests = (guests: readonly GuestSample[]): GuestSample[] =>
  guests.filter(isAlive);

export type GuestView = { sample: GuestSample; facts: GuestFacts };

/** The guest of the proposal as its node describes it; undefined when any part is missing. */
export function guestOf(question: Case): GuestView | undefined {
  const node = target(question);
  const sample = node?.record.guests?.find(({ id }) => id === question.proposal.guest);
  const facts = node?.guestFacts?.find(({ id }) => id === question.proposal.guest);
  return sample && facts && { sample, facts };
}

export const sum = (values: readonly number[]): number =>
  values.reduce((total, value) => total + value, 0);
