/**
 * The rows about the guest that a command moves or resizes, from what its own hypervisor says of
 * it at this moment: where it may go, what binds it here, whether it may restart, and which sizes
 * it takes while it runs. What this node cannot know, the policy and history of a guest and the
 * load elsewhere, is judged by the server and the driver. Pure.
 */
import { type CommandArgs, commandArgs } from '../../broker/contract/command.ts';
import type { GuestFacts } from '../../broker/contract/facts.ts';
import type { GuardFact } from '../../broker/contract/report.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { Guard, GuardFacts, Says } from './guards.ts';

type Subject = { facts: GuestFacts; sample: GuestSample; isProxmox: boolean; runs: boolean };

const says = (code: string, reason: string, wayOut: string, rule?: string): Says => ({
  code,
  reason,
  wayOut,
  ...(rule === undefined ? {} : { rule }),
});

const unknown = says(
  'KR_GUEST_FACTS',
  'the hypervisor did not describe this guest in time',
  'see the log of the daemon; check that the hypervisor answers',
);

function subjectOf({ wanted, guests, guestSample, driver }: GuardFacts): Subject | null {
  const facts = guests?.find(({ id }) => id === wanted.target.id);
  if (!facts || !guestSample) return null;
  const isProxmox = driver?.name.startsWith('proxmox') ?? false;
  return { facts, sample: guestSample, isProxmox, runs: guestSample.state !== 'stopped' };
}

type Kind = 'guest.migrate' | 'guest.scale';
type Row<K extends Kind> = {
  id: string;
  rule: string;
  kind: K;
  judge: (args: CommandArgs<K>, subject: Subject) => Says | null;
  inputs: (subject: Subject) => GuardFact[];
};

/** Of arguments that are not the kind's the row `args` has spoken already. */
function ofGuest<K extends Kind>({ id, rule, kind, judge, inputs }: Row<K>): Guard {
  return {
    id,
    rule,
    verdict(facts) {
      if (facts.wanted.kind !== kind) return null;
      const args = commandArgs[kind].safeParse(facts.wanted.args);
      if (!args.success) return null;
      const subject = subjectOf(facts);
      return subject ? judge(args.data as CommandArgs<K>, subject) : unknown;
    },
    inputs(facts) {
      const subject = subjectOf(facts);
      return subject ? inputs(subject) : [];
    },
  };
}

const destination = ofGuest({
  id: 'destination',
  rule: 'V3',
  kind: 'guest.migrate',
  judge({ targetNode }, { facts, sample, isProxmox }) {
    const { allowedNodes, ownedByHypervisorBalancer } = facts;
    if (sample.state === 'unknown') {
      const wayOut = 'wait for a sample that says so; see the log of the daemon';
      return says('KR_GUEST_STATE', 'nobody can tell whether the guest runs', wayOut, 'T1');
    }
    if (ownedByHypervisorBalancer === true) {
      return says(
        'KR_OWNED_BY_HYPERVISOR',
        'the balancer of the hypervisor itself moves this guest',
        'switch its auto-rebalance off, or leave the guest to it',
      );
    }
    if (allowedNodes === null) return isProxmox ? unknown : null;
    return allowedNodes.includes(targetNode)
      ? null
      : says(
          'KR_NODE_NOT_ALLOWED',
          `${targetNode} is none of the nodes this guest may go to`,
          `choose one of ${allowedNodes.join(', ') || 'none: see its disks and resources'}`,
        );
  },
  inputs: ({ facts, sample }) => [
    { name: 'state', value: sample.state },
    { name: 'allowedNodes', value: facts.allowedNodes?.join(', ') ?? null },
  ],
});

const binding = ofGuest({
  id: 'binding',
  rule: 'V4',
  kind: 'guest.migrate',
  judge({ withLocalDisks }, { facts: { localResources, disks } }) {
    if (localResources === null || disks === null) return unknown;
    const [held] = localResources;
    if (held !== undefined) {
      const wayOut = 'detach it, or map it on both nodes';
      return says('KR_LOCAL_RESOURCE', `${held} binds this guest to its host`, wayOut);
    }
    const local = disks.find(({ shared }) => !shared);
    return local && !withLocalDisks
      ? says(
          'KR_LOCAL_DISK',
          `its disk ${local.volume} stands on storage of this host alone`,
          'send args.withLocalDisks true, or move the disk to shared storage',
        )
      : null;
  },
  inputs: ({ facts: { localResources, disks } }) => [
    { name: 'localResources', value: localResources?.join(', ') ?? null },
    { name: 'localDisks', value: disks?.filter(({ shared }) => !shared).length ?? null },
  ],
});

const consent = ofGuest({
  id: 'consent',
  rule: 'V6',
  kind: 'guest.migrate',
  judge({ online }, { facts, sample, runs }) {
    const isRestarted = runs && (sample.kind !== 'vm' || !online);
    return isRestarted && facts.mayRestart !== true
      ? says(
          'KR_NO_CONSENT',
          'this move restarts the guest, to which nobody has agreed',
          'tag it as one that may restart, or stop it first',
        )
      : null;
  },
  inputs: ({ facts, sample }) => [
    { name: 'state', value: sample.state },
    { name: 'mayRestart', value: facts.mayRestart },
  ],
});

const mebibyte = 2 ** 20;
/** Proxmox plugs modules of 512 MiB above 1 GiB, to 4 TiB at most. */
const isPluggable = (bytes: number): boolean =>
  bytes % (512 * mebibyte) === 0 && bytes >= 1_024 * mebibyte && bytes <= 2 ** 42;
/** What is taken away is freed first, so as much as this of what is used must stay. */
const usedMargin = 1.25;

function judgeShrink(wanted: number, { sample }: Subject, rule: string): Says | null {
  const { memoryUsedBytes: used, memoryTotalBytes: now } = sample;
  if (now !== null && wanted >= now) return null;
  return used !== null && wanted >= used * usedMargin
    ? null
    : says(
        'KR_MEMORY_IN_USE',
        `it uses ${used ?? 'an unknown number of'} bytes at this moment`,
        'leave it 1.25 times what it uses',
        rule,
      );
}

const noHotplug = (what: string, rule: string): Says =>
  says(
    'KR_NO_HOTPLUG',
    `its hotplug setting has no ${what}, so the change would wait for a restart`,
    `add ${what} to it and restart the guest, or stop it first`,
    rule,
  );

/** A container's limit is a line of its cgroup; a VM's memory is a board with modules. */
function judgeMemory(wanted: number, subject: Subject): Says | null {
  const { facts, sample, isProxmox } = subject;
  if (sample.kind !== 'vm') return judgeShrink(wanted, subject, 'S2');
  if (!facts.hotplug?.includes('memory')) return noHotplug('memory', 'S1');
  if (isProxmox && !isPluggable(wanted)) {
    const wayOut = 'name 1 GiB to 4 TiB in steps of 512 MiB';
    return says('KR_MEMORY_STEP', `${wanted} bytes are no whole modules`, wayOut, 'S1');
  }
  if (facts.localResources?.some((name) => name.includes('virtiofs')) !== false) {
    return says('KR_VIRTIOFS', 'it shares a folder by virtiofs, or may', 'stop the guest first');
  }
  return judgeShrink(wanted, subject, 'S1');
}

const size = ofGuest({
  id: 'size',
  rule: 'S1',
  kind: 'guest.scale',
  judge({ memoryBytes, balloonBytes, cpuCount }, subject) {
    const { facts, sample, runs } = subject;
    if (!runs) return null;
    const memory = memoryBytes === undefined ? null : judgeMemory(memoryBytes, subject);
    if (memory) return memory;
    const balloon = balloonBytes === undefined ? null : judgeShrink(balloonBytes, subject, 'S1');
    if (balloon) return balloon;
    const isPlugged = cpuCount !== undefined && sample.kind === 'vm';
    return isPlugged && !facts.hotplug?.includes('cpu') ? noHotplug('cpu', 'S2') : null;
  },
  inputs: ({ facts, sample }) => [
    { name: 'state', value: sample.state },
    { name: 'hotplug', value: facts.hotplug?.join(', ') ?? null },
    { name: 'usedBytes', value: sample.memoryUsedBytes, unit: 'bytes' },
    { name: 'totalBytes', value: sample.memoryTotalBytes, unit: 'bytes' },
  ],
});

export const guestGuards: readonly Guard[] = [destination, binding, consent, size];
