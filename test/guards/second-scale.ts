/**
 * Second implementation of SAFETY 2.3, C1 to C3 and S1 to S3, written from its text alone. Of
 * Ceph's health no fact exists, so what would need it cannot be opted into.
 */
import type { GuestFacts, NodeFacts } from '../../broker/contract/facts.ts';
import type { CommandArgs } from '../../broker/contract/command.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { Case, Rule } from './case.ts';
import {
  guestOf,
  isAutomatic,
  isDestructive,
  kindOf,
  mebibyte,
  stopsNode,
  target,
} from './second-words.ts';

const isCeph = (role: string): boolean => role.startsWith('ceph');

export const c1: Rule = (question) => {
  if (!stopsNode(kindOf(question)) || !isAutomatic(question)) return null;
  const roles = target(question)?.record.facts?.roles;
  if (!roles) return 'roles cannot be read';
  return roles.some(isCeph) ? 'a node with Ceph is never stopped automatically' : null;
};

export const c2: Rule = (question) => {
  if (!stopsNode(kindOf(question))) return null;
  const facts = target(question)?.record.facts;
  if (!facts?.busy || !facts.roles) return 'replication cannot be seen';
  const under = facts.busy.some(({ what }) => what.includes('replication'));
  const only = facts.roles.some((role) => role.includes('replication'));
  return under || only ? 'it is the target of a replication' : null;
};

/** Shared with the local view: a role makes a node precious, Ceph's are C1's. */
export function c3Says(facts: NodeFacts | null): string | null {
  if (!facts?.roles) return 'roles cannot be read';
  if (facts.protected === true) return 'protected';
  const precious = facts.roles.find((role) => !isCeph(role));
  return precious === undefined ? null : `it is ${precious}`;
}

export const c3: Rule = (question) => {
  const { house } = question.cluster;
  const { guest } = question.proposal;
  if (stopsNode(kindOf(question))) {
    const node = target(question);
    if (!node || node.record.protected) return 'protected';
    if (house === null) return 'where Kernreaktor itself lives is not known';
    if (house.nodes.includes(node.record.node)) return 'Kernreaktor lives here';
    return c3Says(node.record.facts);
  }
  if (guest === null || house === null || !isDestructive(question)) return null;
  if (!house.guests.includes(guest)) return null;
  const { action } = question.proposal;
  const isLive =
    action.kind === 'guest.migrate' &&
    action.args.online &&
    guestOf(question)?.sample.kind === 'vm';
  return isLive ? null : 'it carries Kernreaktor itself';
};

type Scaling = { args: CommandArgs<'guest.scale'>; sample: GuestSample; facts: GuestFacts | null };

const ofScaling =
  (says: (wanted: Scaling, question: Case) => string | null): Rule =>
  (question) => {
    const { action } = question.proposal;
    if (action.kind !== 'guest.scale') return null;
    const node = target(question);
    const same = ({ id }: { id: string }): boolean => id === question.proposal.guest;
    const sample = node?.record.guests?.find(same);
    if (!sample) return 'the guest is not known';
    const facts = node?.guestFacts?.find(same) ?? null;
    return says({ args: action.args, sample, facts }, question);
  };

function hotplugMemory({ args, facts, sample }: Scaling): string | null {
  if (args.memoryBytes === undefined || sample.kind !== 'vm') return null;
  if (sample.state === 'stopped') return null;
  if (!facts?.hotplug?.includes('memory')) return 'its memory cannot be plugged while it runs';
  if (args.memoryBytes < 1_024 * mebibyte) return 'at least 1024 MiB stay';
  if (args.memoryBytes > 2 ** 42) return 'more than 4 TiB';
  if ((args.memoryBytes / mebibyte) % 512 !== 0) return 'memory comes in steps of 512 MiB';
  if (facts.localResources === null) return 'virtiofs cannot be ruled out';
  return facts.localResources.some((name) => name.includes('virtiofs')) ? 'it has virtiofs' : null;
}

export const s1: Rule = ofScaling((wanted, question) => {
  const hotplug = hotplugMemory(wanted);
  if (hotplug !== null) return hotplug;
  const { args, sample } = wanted;
  if (sample.state === 'stopped') return null;
  const wished = [args.memoryBytes, args.balloonBytes].filter((bytes) => bytes !== undefined);
  if (wished.length === 0) return null;
  const smallest = Math.min(...wished);
  if (smallest >= (sample.memoryTotalBytes ?? Infinity)) return null;
  // Automation must know what the guest ever used; a person answers for what it uses now.
  const used = isAutomatic(question) ? question.guestMemoryP99Bytes : sample.memoryUsedBytes;
  if (used === null || sample.memoryUsedBytes === null) return 'what it uses is not known';
  const least = 1.25 * Math.max(used, sample.memoryUsedBytes);
  return smallest >= least ? null : 'less than 1.25 times what it uses';
});

export const s2: Rule = ofScaling(({ args, facts, sample }) => {
  if (sample.state === 'stopped') return null;
  if (args.cpuCount !== undefined && sample.kind === 'vm') {
    if (!facts?.hotplug?.includes('cpu')) return 'its cpus cannot be plugged while it runs';
  }
  if (args.memoryBytes === undefined || sample.kind === 'vm') return null;
  if (args.memoryBytes >= (sample.memoryTotalBytes ?? Infinity)) return null;
  if (sample.memoryUsedBytes === null) return 'what it uses is not known';
  return args.memoryBytes < sample.memoryUsedBytes ? 'it would be killed for memory' : null;
});

const within = (value: number | undefined, low: number, high: number): boolean =>
  value === undefined || (value >= low && value <= high);

const upToTwice = (value: number | undefined, present: number | null): boolean =>
  value === undefined || (present !== null && value <= 2 * present && value >= present / 2);

export const s3: Rule = ofScaling(({ args, sample }, question) => {
  const policy = question.guestPolicy;
  // A person answers for the size they name; automation needs a policy of the guest.
  if (!isAutomatic(question)) return null;
  if (policy === null) return 'no policy, so it is only observed';
  if (!within(args.cpuCount, policy.cpuMin, policy.cpuMax)) return 'outside the policy';
  if (!within(args.cpuLimit, policy.cpuMin, policy.cpuMax)) return 'outside the policy';
  for (const bytes of [args.memoryBytes, args.balloonBytes]) {
    if (!within(bytes, policy.memoryMinBytes, policy.memoryMaxBytes)) return 'outside the policy';
  }
  const small =
    upToTwice(args.cpuCount, sample.cpuCount) &&
    upToTwice(args.memoryBytes, sample.memoryTotalBytes);
  return small ? null : 'more than twice or less than half at once';
});
