/**
 * Second implementation of SAFETY 2.4, T1 to B1, of the mutex I7 and of what DESIGN 4.1 fixes for
 * simulated clusters, written from the text alone.
 */
import type { Case, Rule } from './case.ts';
import {
  holdsTarget,
  isAutomatic,
  isDestructive,
  isFresh,
  isHeard,
  kindOf,
  minute,
  nodeOf,
  second,
  stopsNode,
  target,
} from './second-words.ts';

/** A guest seen on two hosts is nowhere. */
function isTwice(question: Case): boolean {
  const { guest } = question.proposal;
  // What a silent node said last is no claim of today.
  const homes = question.nodes.filter(
    (node) =>
      isHeard(node) &&
      node.record.guests?.some(({ id, state }) => id === guest && state !== 'stopped'),
  );
  return homes.length > 1;
}

export const t1: Rule = (question) => {
  const kind = kindOf(question);
  if (kind === 'node.wake') return null;
  const node = target(question);
  // What takes nothing away waits for nobody's sample.
  const takes = isDestructive(question) || kind === 'guest.scale';
  if (takes && (!node || !isFresh(node))) return 'the node is stale';
  if (takes && !node?.record.facts) return 'no facts of the node';
  const { action, guest } = question.proposal;
  if (action.kind === 'guest.migrate') {
    const to = nodeOf(question, action.args.targetNode);
    if (!to || !isFresh(to)) return 'the destination is stale';
  }
  if (guest === null || kind === 'guest.create') return null;
  if (isTwice(question)) return 'the guest is seen on two nodes';
  const view = node?.record.guests?.find(({ id }) => id === guest);
  // What these two do depends on whether it runs.
  if (kind !== 'guest.migrate' && kind !== 'guest.scale') return null;
  if (!view || view.state === 'unknown') return 'the guest is not known';
  return null;
};

/** Many nodes silent at once say more about the network than about the nodes. */
export const t1Storm: Rule = (question) => {
  const kind = kindOf(question);
  // Observe only: nothing by automation, and nobody switches anything off.
  if (kind === 'node.wake' || (!isAutomatic(question) && !stopsNode(kind))) return null;
  const { frozenForMs, stormAgoMs } = question.cluster;
  if (frozenForMs !== null && frozenForMs > 0) return 'the cluster is frozen';
  if (stormAgoMs !== null && stormAgoMs < 5 * minute) return 'nodes were silent just now';
  const wanted = question.nodes.filter(
    ({ record }) => record.desired === 'awake' && !record.maintenance,
  );
  const stale = wanted.filter((node) => !isHeard(node)).length;
  return stale >= Math.max(2, wanted.length * 0.2) ? `${stale} nodes are silent` : null;
};

export const t2: Rule = (question) => {
  if (!isDestructive(question)) return null;
  const offset = target(question)?.record.facts?.clockOffsetMs ?? null;
  return offset !== null && Math.abs(offset) <= 2 * second ? null : 'its clock is off';
};

export const t3: Rule = (question) => {
  if (!isDestructive(question)) return null;
  if (question.cluster.backendUpMs < 5 * minute) return 'the backend has just started';
  return question.cluster.snapshotComplete ? null : 'the picture is not complete yet';
};

export const l1: Rule = ({ cluster }) => (cluster.leader ? null : 'not the leader');

export const k1: Rule = (question) => {
  if (question.cluster.hold || question.cluster.holdAll) return 'HOLD';
  return target(question)?.record.localHold ? 'HOLD on the node' : null;
};

export const a1: Rule = (question) => {
  const { proposal, cluster } = question;
  // S-2: nobody switches anything off outside of the window.
  if (stopsNode(kindOf(question)) && !cluster.insideWindow) return 'outside the change window';
  if (!isAutomatic(question)) return null;
  if (proposal.action.kind === 'guest.delete') return 'never automatic';
  if (question.pausedForMs !== null && question.pausedForMs > 0) return 'a person touched it';
  if (!cluster.insideWindow && kindOf(question) !== 'node.wake') return 'outside the change window';
  if (cluster.mode === 'observe' || cluster.mode === 'recommend') return `mode ${cluster.mode}`;
  if (cluster.mode === 'approve') return proposal.approved ? null : 'nobody approved it';
  return null;
};

/** One active command per target; a power-off in doubt never bars the wake of its own node. */
export const i7: Rule = (question) => {
  const { node, guest } = question.proposal;
  const isWake = kindOf(question) === 'node.wake';
  const holder = question.commands.find(
    (command) =>
      holdsTarget(command) &&
      (guest === null
        ? command.guest === null && command.node === node
        : command.guest === guest) &&
      !(isWake && command.state === 'INDETERMINATE'),
  );
  return holder ? `${holder.kind} still holds the target` : null;
};

export const driver: Rule = (question) => {
  const kind = kindOf(question);
  const node = target(question);
  if (!node) return 'the node is not known';
  if (kind === 'node.wake') return null;
  const own = node.record.driver;
  if (!own?.capabilities.includes(kind)) return 'its hypervisor cannot do it';
  if (own.simulated !== question.cluster.simulated) return 'real and simulated do not mix';
  return isDestructive(question) && !node.journalConfirmed ? 'its journal is new' : null;
};
