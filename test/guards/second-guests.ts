/**
 * Second implementation of SAFETY 2.2, V1 to V10, written from its text alone. V9 is what is
 * looked at afterwards and no guard beforehand.
 */
import type { NodeFacts } from '../../broker/contract/facts.ts';
import type { CommandArgs } from '../../broker/contract/command.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { Case, CaseNode, Rule } from './case.ts';
import {
  aliveGuests,
  day,
  guestOf,
  type GuestView,
  hour,
  isAutomatic,
  isFresh,
  isKnown,
  kindOf,
  mayStillHappen,
  minute,
  nodeOf,
  stopsNode,
  sum,
  target,
} from './second-words.ts';

type Migration = { args: CommandArgs<'guest.migrate'>; from: CaseNode; to: CaseNode } & GuestView;

/** The migration asked for, null when it is none, a text when it cannot be described. */
function migration(question: Case): Migration | string | null {
  const { action } = question.proposal;
  if (action.kind !== 'guest.migrate') return null;
  const from = target(question);
  const to = nodeOf(question, action.args.targetNode);
  const guest = guestOf(question);
  if (!from || !to || !guest) return 'source, destination or guest is not known';
  return { args: action.args, from, to, ...guest };
}

const ofMigration =
  (says: (wanted: Migration, question: Case) => string | null): Rule =>
  (question) => {
    const wanted = migration(question);
    return wanted === null || typeof wanted === 'string' ? wanted : says(wanted, question);
  };

const isParked = (guest: GuestSample): boolean => guest.tags.includes('kr_park');

/** Shared with the local view: running by processes and by configuration, parked ones apart. */
export function v1Says(
  facts: NodeFacts,
  guests: readonly GuestSample[] | null,
  mayPark: boolean,
): string | null {
  if (guests === null || facts.runningGuests === null) return 'guests cannot be counted';
  const alive = aliveGuests(guests);
  const bound = alive.find((guest) => !mayPark || guest.state !== 'running' || !isParked(guest));
  if (bound) return `guest ${bound.id} is ${bound.state}`;
  return facts.runningGuests > alive.length ? 'a process runs that no guest explains' : null;
}

export const v1: Rule = (question) => {
  if (!stopsNode(kindOf(question))) return null;
  const node = target(question);
  if (!node?.record.facts) return 'no facts';
  const id = node.record.node;
  const onTheWay = question.commands.some(
    (command) =>
      mayStillHappen(command) &&
      (command.targetNode === id || (command.guest !== null && command.node === id)),
  );
  if (onTheWay) return 'a guest command on the node may still happen';
  return v1Says(node.record.facts, node.record.guests, kindOf(question) === 'node.shutdown');
};

/** Shared with the local view. */
export function v2Node(facts: NodeFacts | null): string | null {
  if (facts === null || facts.busy === null) return 'work under way cannot be read';
  if (facts.busy.length > 0) return `busy with ${facts.busy[0]?.what}`;
  return facts.upsOnBattery === true ? 'UPS on battery' : null;
}

export const lockedGuest = (guests: readonly GuestSample[] | null): string | null => {
  const locked = (guests ?? []).find(({ lock }) => lock !== null);
  return locked ? `guest ${locked.id} is locked by ${locked.lock}` : null;
};

export const v2: Rule = (question) => {
  const kind = kindOf(question);
  const node = target(question);
  if (kind === 'node.wake' || kind === 'node.restore' || kind === 'guest.create') return null;
  if (stopsNode(kind) || kind === 'node.drain') {
    return v2Node(node?.record.facts ?? null) ?? lockedGuest(node?.record.guests ?? null);
  }
  const guest = guestOf(question);
  if (!guest) return 'the guest is not known';
  if (guest.sample.lock !== null || guest.facts.lock !== null) return 'the guest is locked';
  return kind === 'guest.migrate' ? v2Node(node?.record.facts ?? null) : null;
};

export const v3: Rule = ofMigration(({ facts, to }) =>
  facts.allowedNodes?.includes(to.record.node) ? null : 'the hypervisor does not allow the target',
);

export const v4: Rule = ofMigration(({ facts, args, sample }) => {
  if (facts.localResources === null || facts.disks === null) return 'its bindings are not known';
  if (facts.localResources.length > 0) return `bound by ${facts.localResources[0]}`;
  const local = facts.disks.some(({ shared }) => !shared);
  return local && sample.kind === 'vm' && !args.withLocalDisks ? 'local disks stay behind' : null;
});

const versionNumbers = (text: string): number[] | null =>
  /(\d+)\.(\d+)(?:\.(\d+))?/
    .exec(text)
    ?.slice(1)
    .map((part) => Number(part ?? 0)) ?? null;

function isAtLeast(version: string | null, floor: string | null): boolean {
  if (version === null || floor === null) return false;
  const [left, right] = [versionNumbers(version), versionNumbers(floor)];
  if (!left || !right) return false;
  const at = left.findIndex((part, index) => part !== right[index]);
  return at === -1 || (left[at] ?? 0) > (right[at] ?? 0);
}

/** Runs on every x86-64 of the last ten years; all else names features of one host. */
const baseline = ['kvm64', 'qemu64', 'x86-64-v1', 'x86-64-v2', 'x86-64-v2-AES'];

const alike = (left: string | null | undefined, right: string | null | undefined): boolean =>
  isKnown(left) && left === right;

export const v5: Rule = ofMigration(({ facts, args, sample, from, to }) => {
  if (!args.online || sample.kind !== 'vm' || sample.state === 'stopped') return null;
  const [source, destination] = [from.record.facts, to.record.facts];
  if (!alike(source?.cpuVendor, destination?.cpuVendor)) return 'cpu vendors differ';
  if (facts.cpuType === null) return 'the cpu type is not known';
  const sameCpu =
    alike(source?.cpuModel, destination?.cpuModel) &&
    alike(source?.microcode, destination?.microcode);
  if (!baseline.includes(facts.cpuType) && !sameCpu) return `cpu type ${facts.cpuType} is bound`;
  const newer = isAtLeast(
    destination?.hypervisorVersion ?? null,
    source?.hypervisorVersion ?? null,
  );
  return newer ? null : 'the target runs an older hypervisor';
});

export const v6: Rule = ofMigration(({ facts, args, sample }) => {
  if (sample.state === 'stopped') return null;
  const restarts = sample.kind !== 'vm' || !args.online;
  return restarts && facts.mayRestart !== true ? 'nobody agreed to a restart' : null;
});

export const v7: Rule = ofMigration(({ args, from, to }, question) => {
  const under = question.commands.filter(
    (command) => command.kind === 'guest.migrate' && mayStillHappen(command),
  );
  if (under.some(({ node }) => node === from.record.node)) return 'the source already sends one';
  if (under.some(({ targetNode }) => targetNode === to.record.node)) return 'one already arrives';
  const guests = [...(from.record.guests ?? []), ...(to.record.guests ?? [])];
  if (guests.some(({ lock }) => lock === 'migrate')) return 'the hypervisor migrates already';
  return args.bandwidthBytesPerSecond === undefined ? 'no bandwidth limit' : null;
});

const memoryOf = ({ record }: CaseNode): number =>
  record.values?.memoryTotalBytes ?? record.facts?.memoryBytes ?? 0;

/** With the largest awake node lost, the guests of all awake nodes must fit into the others. */
function survivesLoss(nodes: readonly CaseNode[], reserveBytes: number): boolean {
  const largest = Math.max(0, ...nodes.map(memoryOf));
  const demand = sum(
    nodes.flatMap(({ record }) =>
      aliveGuests(record.guests ?? []).map(({ memoryTotalBytes }) => memoryTotalBytes ?? Infinity),
    ),
  );
  return demand <= sum(nodes.map(memoryOf)) - largest + reserveBytes;
}

function reserveOf(question: Case): number {
  if (question.cluster.reserve !== 'wakeable') return 0;
  const asleep = question.nodes.filter(
    (node) => !isFresh(node) && node.record.desired === 'asleep' && hasProof(question, node),
  );
  return Math.max(0, ...asleep.map(memoryOf));
}

const hasProof = (question: Case, { record }: CaseNode): boolean =>
  question.proofs.filter(({ node, succeeded }) => node === record.node && succeeded).length >= 3;

export const v8: Rule = ofMigration(({ sample, to, from }, question) => {
  const { usage } = to;
  const { values } = to.record;
  const memory = sample.memoryTotalBytes;
  const total = values?.memoryTotalBytes;
  if (!usage || !isKnown(total) || !isKnown(values?.cpuCount) || memory === null) {
    return 'load or size of the target is not known';
  }
  const ratio = 1 - question.cluster.reserveRatio;
  if (usage.memoryP95Bytes + memory > total * ratio) return 'memory is short';
  const cpus =
    usage.cpuRatioP95 * values.cpuCount + (sample.cpuRatio ?? 1) * (sample.cpuCount ?? 1);
  if (cpus > values.cpuCount * ratio) return 'cpu is short';
  if (question.cluster.reserve === 'none') return null;
  const nodes = question.nodes.filter((node) => isFresh(node) || node === from);
  return survivesLoss(nodes, reserveOf(question)) ? null : 'the loss of a node cannot be carried';
});

/** Policies may allow more moves a day than two, but never more than twelve. */
const movesPerDayCeiling = 12;

export const v10: Rule = ofMigration(({ sample, from, to }, question) => {
  if (!isAutomatic(question)) return null;
  const moves = question.commands.filter(
    ({ kind, guest, automatic, startedAgoMs, state }) =>
      kind === 'guest.migrate' &&
      guest === sample.id &&
      automatic &&
      startedAgoMs < day &&
      (state === 'SUCCEEDED' || state === 'INDETERMINATE'),
  );
  const most = Math.min(question.cluster.movesPerDay, movesPerDayCeiling);
  if (moves.length >= most) return 'moved too often today';
  if (moves.some(({ startedAgoMs }) => startedAgoMs < 30 * minute)) return 'moved just now';
  const back = moves.some(
    ({ node, targetNode, startedAgoMs }) =>
      startedAgoMs < 24 * hour && node === to.record.node && targetNode === from.record.node,
  );
  return back ? 'back to where it came from' : null;
});
