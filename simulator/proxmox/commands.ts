/**
 * What the fake tools do: each call answers at once, or names a deed that the world carries out
 * as a task. Locks, missing guests, lost quorum and queued HA requests refuse or delay as the real
 * tools do. Nothing here begins an effect before its line stands in the effect log.
 */
import type { Action } from '../../broker/contract/command.ts';
import type { WorldGuest } from '../world/model.ts';
import { get, guestOn, type Options, requireReachable } from './answers.ts';
import { isLive, lockIn } from './config.ts';
import { ethtool, haManager, pvecmStatus, pvenode } from './host-commands.ts';
import type { Call } from './frames.ts';
import { type Asked, type Job, runTask, stopTask, type Voice } from './jobs.ts';
import {
  beginDeed,
  type Deed,
  nodeOf,
  pause,
  type Pve,
  requireQuorum,
  ToolFailure,
} from './pve.ts';

/** `--key value`, `--key=value` and a bare `--key`, which means 1. */
function split(argv: readonly string[]): { words: string[]; options: Record<string, string> } {
  const words: string[] = [];
  const options: Record<string, string> = {};
  for (let index = 0; index < argv.length; index += 1) {
    const word = argv[index] ?? '';
    if (!word.startsWith('--')) {
      words.push(word);
      continue;
    }
    const [key = '', value] = word.slice(2).split('=', 2);
    const next = argv[index + 1];
    if (value !== undefined) options[key] = value;
    else if (next === undefined || next.startsWith('--')) options[key] = '1';
    else {
      options[key] = next;
      index += 1;
    }
  }
  return { words, options };
}

function requireUnlocked(pve: Pve, guest: WorldGuest): void {
  const lock = lockIn(pve, guest);
  const what = guest.spec.kind === 'vm' ? 'VM' : 'CT';
  if (lock !== null) throw new ToolFailure(`${what} is locked (${lock})`);
}

const argsOf = (wanted: Options): Record<string, number> => {
  const { vcpus, cores, cpulimit, cpuunits, memory } = wanted;
  const cpus = vcpus ?? cores;
  return {
    ...(cpus === undefined ? {} : { cpuCount: Number(cpus) }),
    ...(cpulimit === undefined ? {} : { cpuLimit: Number(cpulimit) }),
    ...(cpuunits === undefined ? {} : { cpuUnits: Number(cpuunits) }),
    ...(memory === undefined ? {} : { memoryBytes: Number(memory) * 2 ** 20 }),
  };
};

/** Values that the guest cannot take over while it runs wait, and the tool still answers 0. */
async function setConfig(asked: Asked, guest: WorldGuest): Promise<void> {
  const { pve, here, voice, options } = asked;
  const id = guest.spec.id;
  const entries = Object.entries(options);
  const live = Object.fromEntries(entries.filter(([key]) => isLive(pve, guest, key)));
  const later = Object.fromEntries(entries.filter(([key]) => !isLive(pve, guest, key)));
  await voice.log({ kind: 'set', id, upid: null });
  if (entries.length > Object.keys(live).length) {
    pve.pending.set(id, { ...pve.pending.get(id), ...later });
  }
  if (Object.keys(live).length > 0) {
    const action: Action = { kind: 'guest.scale', args: argsOf(live) };
    const deed: Deed = { node: here.spec.node, target: { kind: 'guest', id }, action };
    const effect = beginDeed(pve, deed);
    while (effect.outcome === null) {
      await pause(pve, Math.max(1, Math.ceil(effect.endMs - pve.live.nowMs())));
      pve.live.change(() => undefined);
    }
    if (effect.outcome !== 'ok') throw new ToolFailure(effect.outcome);
  }
  pve.onChange();
  voice.out(`update guest ${id}: ${entries.map(([key, value]) => `-${key} ${value}`).join(' ')}\n`);
}

function migrationOf({ pve, here, words, options }: Asked, guest: WorldGuest): Job {
  const target = words[2] ?? '';
  const isVm = guest.spec.kind === 'vm';
  requireReachable(here, nodeOf(pve, target));
  if (guest.state === 'running' && isVm && options['online'] !== '1') {
    throw new ToolFailure(`can't migrate running VM without --online`);
  }
  if (!isVm && options['online'] === '1') {
    throw new ToolFailure('lxc live migration is currently not implemented');
  }
  if (!isVm && guest.state === 'running' && options['restart'] !== '1') {
    throw new ToolFailure(`CT is running - use '--restart' to stop, migrate and start it`);
  }
  const args = { targetNode: target, online: isVm, withLocalDisks: false };
  const action: Action = { kind: 'guest.migrate', args };
  return { type: isVm ? 'qmigrate' : 'vzmigrate', haType: 'hamigrate', guest, action };
}

function jobOf(asked: Asked, guest: WorldGuest, tool: 'qm' | 'pct'): Job | undefined {
  const prefix = tool === 'qm' ? 'qm' : 'vz';
  const stop = (type: string, force: boolean): Job => {
    const action: Action = { kind: 'guest.stop', args: { force, timeoutMs: 180_000 } };
    return { type: `${prefix}${type}`, haType: 'hastop', guest, action };
  };
  switch (asked.words[0] ?? '') {
    case 'start': {
      const action: Action = { kind: 'guest.start', args: {} };
      return { type: `${prefix}start`, haType: 'hastart', guest, action };
    }
    case 'stop':
      return stop('stop', true);
    case 'shutdown':
      return stop('shutdown', false);
    case 'reboot':
      return { type: `${prefix}reboot`, guest, action: { kind: 'guest.restart', args: {} } };
    case 'migrate':
      return migrationOf(asked, guest);
    default:
      return undefined;
  }
}

export async function guestTool(asked: Asked, tool: 'qm' | 'pct'): Promise<void> {
  const { pve, here, words } = asked;
  const [command = '', vmid = ''] = words;
  const guest = guestOn(here, tool === 'qm' ? 'qemu' : 'lxc', vmid);
  requireQuorum(pve, here);
  requireUnlocked(pve, guest);
  if (command === 'set') return setConfig(asked, guest);
  const job = jobOf(asked, guest, tool);
  if (job === undefined) throw new ToolFailure(`ERROR: unknown command '${tool} ${command}'`);
  return runTask(asked, job);
}

export async function shutNodeDown({ pve, here, voice, words }: Asked): Promise<void> {
  const name = /^\/nodes\/([^/]+)\/status$/.exec(words[1] ?? '')?.[1] ?? '';
  const node = nodeOf(pve, name);
  requireReachable(here, node);
  await voice.log({ kind: 'shutdown', id: name, upid: null });
  const action: Action = { kind: 'node.shutdown', args: { mode: 'poweroff' } };
  beginDeed(pve, { node: name, target: { kind: 'node', id: name }, action });
}

async function pvesh(asked: Asked): Promise<void> {
  const { pve, here, voice, words, options } = asked;
  const [command = '', path = ''] = words;
  if (command === 'get') {
    voice.out(`${JSON.stringify(get(pve, here, path, options))}\n`);
  } else if (
    command === 'create' &&
    path.endsWith('/status') &&
    options['command'] === 'shutdown'
  ) {
    await shutNodeDown(asked);
  } else if (command === 'delete' && path.includes('/tasks/')) {
    await stopTask(pve, path, () => undefined);
  } else {
    throw new ToolFailure(`No '${command}' handler defined for '${path}'`, 1);
  }
}

/** @throws ToolFailure as the real tool fails. */
export async function runCall(pve: Pve, { node, tool, argv }: Call, voice: Voice): Promise<void> {
  const here = nodeOf(pve, node);
  if (here.power !== 'on' && here.power !== 'stopping') throw new ToolFailure(`${node} is off`);
  const asked: Asked = { pve, here, voice, ...split(argv) };
  switch (tool) {
    case 'qm':
    case 'pct':
      return guestTool(asked, tool);
    case 'pvesh':
      return pvesh(asked);
    case 'pvecm':
    case 'corosync-quorumtool':
      return pvecmStatus(asked);
    case 'ha-manager':
      return haManager(asked);
    case 'pvenode':
      return pvenode(asked);
    case 'ethtool':
      return ethtool(asked);
  }
}
