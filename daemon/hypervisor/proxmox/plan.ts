/**
 * A command -> the one tool call that does it, or why it must not be tried. Only what a running
 * guest takes over at once is scaled, and all of it or nothing; a container moves by a restart
 * only with its owner's consent. Pure.
 */
import type { Action, CommandArgs } from '../../../broker/contract/command.ts';
import { type Config, cpuCountMax, guestFacts, hotplugOf, mebibyte } from './guest-config.ts';
import type { GuestType } from './pmxcfs.ts';
import type { ToolName } from './toolbox.ts';

export type PlannedGuest = { vmid: string; type: GuestType; config: Config; isRunning: boolean };

export type Call = {
  tool: ToolName;
  argv: string[];
  /** Types of the task that the call starts; empty when it starts none. */
  taskTypes: readonly string[];
};
export type Plan = { ok: true; call: Call } | { ok: false; why: string };

const refused = (why: string): Plan => ({ ok: false, why });

const toolOf = (type: GuestType): 'qm' | 'pct' => (type === 'qemu' ? 'qm' : 'pct');
/** `qmstart` and `vzstart`, but `qmigrate` with one m. */
const taskTypeOf = (type: GuestType, command: string): string =>
  `${type === 'lxc' ? 'vz' : command === 'migrate' ? 'q' : 'qm'}${command}`;

function taskCall(
  { vmid, type }: PlannedGuest,
  [command, ...rest]: readonly [string, ...string[]],
  queuedType?: string,
): Plan {
  const own = taskTypeOf(type, command);
  const taskTypes = queuedType === undefined ? [own] : [own, queuedType];
  return { ok: true, call: { tool: toolOf(type), argv: [command, vmid, ...rest], taskTypes } };
}

const kibibytes = (bytesPerSecond: number): string =>
  String(Math.max(1, Math.floor(bytesPerSecond / 1024)));

/** Seconds that a container may take to stop before it is moved. */
const restartTimeoutSeconds = '180';

export type MigrationTerms = {
  /** The target as Proxmox spells it. */
  targetName: string;
  /** For a command without a limit of its own; null: what datacenter.cfg says. */
  migrationBytesPerSecond: number | null;
};

function migrate(
  guest: PlannedGuest,
  args: CommandArgs<'guest.migrate'>,
  { targetName, migrationBytesPerSecond }: MigrationTerms,
): Plan {
  const bytesPerSecond = args.bandwidthBytesPerSecond ?? migrationBytesPerSecond;
  const limit = bytesPerSecond === null ? [] : ['--bwlimit', kibibytes(bytesPerSecond)];
  if (guest.type === 'qemu') {
    const disks = args.withLocalDisks ? ['--with-local-disks', '1'] : [];
    const live = guest.isRunning ? ['--online', '1'] : [];
    return taskCall(guest, ['migrate', targetName, ...live, ...disks, ...limit], 'hamigrate');
  }
  if (!guest.isRunning) return taskCall(guest, ['migrate', targetName, ...limit], 'hamigrate');
  if (args.online) {
    return refused('a running container cannot move live: ask with online false');
  }
  const context = { isShared: () => false, haState: null, isOwnedByBalancer: null };
  if (guestFacts(guest, context).mayRestart !== true) {
    return refused('a move restarts this container: its owner consents by the tag kr_restart');
  }
  const restart = ['--restart', '1', '--timeout', restartTimeoutSeconds];
  return taskCall(guest, ['migrate', targetName, ...restart, ...limit], 'hamigrate');
}

function cpuOption(guest: PlannedGuest, count: number): string[] | string {
  if (guest.type === 'lxc') return ['--cores', String(count)];
  const most = cpuCountMax(guest.config);
  if (count > most) {
    return `${count} cpus exceed its ${most} (sockets * cores), which only change at a restart`;
  }
  return hotplugOf(guest.config, guest.type).includes('cpu')
    ? ['--vcpus', String(count)]
    : 'its hotplug option has no cpu';
}

const vmMemoryMinMebibytes = 1024;

function memoryOption(guest: PlannedGuest, bytes: number): string[] | string {
  const mebibytes = bytes / mebibyte;
  if (!Number.isInteger(mebibytes)) return 'memory must be whole MiB';
  if (guest.type === 'qemu') {
    if (!hotplugOf(guest.config, guest.type).includes('memory')) {
      return 'its memory is not hot-pluggable (hotplug memory with numa 1)';
    }
    if (mebibytes < vmMemoryMinMebibytes) return `a VM needs ${vmMemoryMinMebibytes} MiB to plug`;
    if ([...guest.config.keys()].some((key) => key.startsWith('virtiofs'))) {
      return 'virtiofs forbids memory hotplug';
    }
  }
  return ['--memory', String(mebibytes)];
}

function scale(guest: PlannedGuest, args: CommandArgs<'guest.scale'>): Plan {
  const { cpuCount, cpuLimit, cpuUnits, memoryBytes, balloonBytes } = args;
  if (balloonBytes !== undefined) {
    return refused('the balloon is steered by pvestatd here: scale memoryBytes instead');
  }
  const options = [
    cpuCount === undefined ? [] : cpuOption(guest, cpuCount),
    memoryBytes === undefined ? [] : memoryOption(guest, memoryBytes),
    cpuLimit === undefined ? [] : ['--cpulimit', String(cpuLimit)],
    cpuUnits === undefined ? [] : ['--cpuunits', String(cpuUnits)],
  ];
  const why = options.find((option) => typeof option === 'string');
  if (typeof why === 'string') return refused(`not live: ${why}`);
  const argv = ['set', guest.vmid, ...options.flat()];
  return { ok: true, call: { tool: toolOf(guest.type), argv, taskTypes: [] } };
}

function stop(guest: PlannedGuest, { force, timeoutMs }: CommandArgs<'guest.stop'>): Plan {
  if (force) return taskCall(guest, ['stop'], 'hastop');
  const seconds = String(Math.ceil(timeoutMs / 1000));
  return taskCall(guest, ['shutdown', '--timeout', seconds], 'hastop');
}

export function planGuest(guest: PlannedGuest, action: Action, terms: MigrationTerms): Plan {
  if (action.kind === 'guest.start') return taskCall(guest, ['start'], 'hastart');
  if (action.kind === 'guest.stop') return stop(guest, action.args);
  if (action.kind === 'guest.restart') {
    return guest.isRunning ? taskCall(guest, ['reboot']) : refused('it does not run: start it');
  }
  if (action.kind === 'guest.migrate') return migrate(guest, action.args, terms);
  if (action.kind === 'guest.scale') return scale(guest, action.args);
  return refused(`this driver does not perform ${action.kind}`);
}

export function planNode(action: Action, pveNode: string): Plan {
  if (action.kind !== 'node.shutdown') {
    return refused(`this driver does not perform ${action.kind}`);
  }
  if (action.args.mode !== 'poweroff') return refused('only mode poweroff is possible here');
  const argv = ['create', `/nodes/${pveNode}/status`, '--command', 'shutdown'];
  return { ok: true, call: { tool: 'pvesh', argv, taskTypes: [] } };
}
