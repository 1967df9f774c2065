/**
 * Second implementation of SAFETY 2.2, V1 to V10, written from its text alone. V9 is what is
 * looked at afterwards and no guard beforehand.
 */
import type { NodeFacts } from '../../broker/contract/facts.ts';
import type { CommandArgs } from '../../broker/contract/command.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { Case, CaseNode, Rule } from './case.ts';
import { isStandalone } from './second-standalone.ts';
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
  counted: number | null,
  guests: readonly GuestSample[] | null,
  mayPark: boolean,
): string | null {
  if (guests === null) return 'guests cannot be counted';
  const alive = aliveGuests(guests);
  const bound = alive.find((guest) => !mayPark || guest.state !== 'running' || !isParked(guest));
  if (bound) return `guest ${bound.id} is ${bound.state}`;
  const told = counted ?? 0;
  return told > alive.length ? 'a process runs that no guest explains' : null;
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
  // The count of the last hello is older than the sample; the node itself compares both.
  return v1Says(null, node.record.guests, kindOf(question) === 'node.shutdown');
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
  const same = ({ id }: { id: string }): boolean => id === question.proposal.guest;
  const sample = node?.record.guests?.find(same);
  if (!sample) return 'the guest is not known';
  const lock = sample.lock ?? node?.guestFacts?.find(same)?.lock ?? null;
  return lock === null ? null : 'the guest is locked';
};

export const v3: Rule = ofMigration(({ facts, from, to }) => {
  if (from === to) return 'it is there already';
  if (facts.ownedByHypervisorBalancer === true) return 'the hypervisor moves it itself';
  if (facts.allowedNodes?.includes(to.record.node)) return null;
  return 'the hypervisor does not allow the target';
});

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
  if (from.record.guests?.some(({ lock }) => lock === 'migrate'))
    return 'the hypervisor migrates already';
  const measured = from.record.facts?.migrationBytesPerSecond ?? null;
  return (args.bandwidthBytesPerSecond ?? measured) === null ? 'no bandwidth limit' : null;
});

const memoryOf = ({ record }: CaseNode): number =>
  record.values?.memoryTotalBytes ?? record.facts?.memoryBytes ?? 0;

/**
 * With the largest node lost after the power-off, all guests must fit into the others. In mode
 * `wakeable` a node that sleeps as it was told to is such another, the target among them.
 */
function reserveSays(question: Case): string | null {
  const { reserve } = question.cluster;
  const self = target(question);
  if (reserve === 'none' || isStandalone(question)) return null;
  const leaving = (node: CaseNode): boolean =>
    question.commands.some(
      (command) =>
        stopsNode(command.kind) && mayStillHappen(command) && command.node === node.record.node,
    );
  const there = question.nodes.filter((node) => {
    if (node === self) return reserve === 'wakeable';
    if (isFresh(node) && !leaving(node)) return true;
    return reserve === 'wakeable' && node.record.desired === 'asleep';
  });
  const alive = question.nodes.flatMap(({ record }) => aliveGuests(record.guests ?? []));
  const demand = sum(alive.map(({ memoryTotalBytes }) => memoryTotalBytes ?? Infinity));
  const sizes = there.map(memoryOf);
  const left = sum(sizes) - Math.max(0, ...sizes);
  return demand <= left ? null : 'the loss of a node cannot be carried';
}

const destinationSays: Rule = ofMigration(({ sample, to }, question) => {
  const { usage } = to;
  const { values } = to.record;
  const total = values?.memoryTotalBytes;
  const memory = sample.memoryTotalBytes;
  if (!usage || !isKnown(total) || memory === null || !isKnown(values?.memoryUsedBytes)) {
    return 'load or size of the target is not known';
  }
  const ratio = 1 - question.cluster.reserveRatio;
  const used = Math.max(usage.memoryP95Bytes, values.memoryUsedBytes);
  if (used + memory > total * ratio) return 'memory is short';
  if (sample.state === 'stopped') return null;
  const { cpuCount, cpuRatio } = values;
  if (cpuCount === null || cpuRatio === null) return 'load or size of the target is not known';
  if (sample.cpuRatio === null || sample.cpuCount === null) return 'load of the guest is not known';
  const cpus = Math.max(usage.cpuRatioP95, cpuRatio) * cpuCount;
  return cpus + sample.cpuRatio * sample.cpuCount > cpuCount * ratio ? 'cpu is short' : null;
});

export const v8: Rule = (question) =>
  stopsNode(kindOf(question)) ? reserveSays(question) : destinationSays(question);

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
