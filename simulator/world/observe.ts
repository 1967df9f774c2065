/**
 * Does the post-condition of a command hold? Looks only; starts nothing. null while something is
 * still under way, since only a stable "no" is a no.
 */
import type { CommandArgs } from '../../broker/contract/command.ts';
import type { Request } from './advance.ts';
import { isGuestAction } from './guest-effects.ts';
import { findGuest, findNode, type World, type WorldGuest, type WorldNode } from './model.ts';
import { done } from './tasks.ts';

export type Seen = { postcondition: boolean | null; detail: string };

const seen = (postcondition: boolean | null, detail: string): Seen => ({ postcondition, detail });

/** A guest whose host has no power does not run, whatever it did before. */
const isRunning = (guest: WorldGuest): boolean =>
  guest.state === 'running' && guest.node.power !== 'off';

function observeNode(node: WorldNode, kind: 'node.shutdown' | 'node.wake'): Seen {
  const wanted = kind === 'node.shutdown' ? 'off' : 'on';
  const moving = node.power === 'stopping' || node.power === 'booting';
  return seen(moving ? null : node.power === wanted, `node ${node.spec.node} is ${node.power}`);
}

function hasSize(guest: WorldGuest, args: CommandArgs<'guest.scale'>): boolean {
  const wanted = Object.entries(args) as [keyof typeof args, number][];
  return wanted.every(([name, value]) => guest[name] === value);
}

/** The hypervisor's task list knows whether this very command restarted the guest. */
const hasEndedWell = (world: World, commandId: string | null): boolean =>
  world.log.some(
    (entry) => entry.commandId === commandId && entry.effect === 'end' && entry.outcome === done,
  );

function observeGuest(world: World, guest: WorldGuest, { action, commandId }: Request): Seen {
  const where = `guest ${guest.spec.id} is ${guest.state} on ${guest.node.spec.node}`;
  if (guest.lock !== null) return seen(null, `${where}, locked (${guest.lock})`);
  if (!isGuestAction(action)) return seen(null, `${action.kind} cannot be observed here`);
  if (action.kind === 'guest.start') return seen(isRunning(guest), where);
  if (action.kind === 'guest.stop') return seen(guest.state === 'stopped', where);
  if (action.kind === 'guest.restart') {
    return seen(isRunning(guest) && hasEndedWell(world, commandId), where);
  }
  if (action.kind === 'guest.migrate') {
    return seen(guest.node.spec.node === action.args.targetNode, where);
  }
  const size = `${guest.cpuCount} cpus, ${Math.round(guest.memoryBytes / 2 ** 20)} MiB`;
  return seen(hasSize(guest, action.args), `${where} with ${size}`);
}

export function observe(world: World, request: Request): Seen {
  const { cluster, target, action } = request;
  if (action.kind === 'node.shutdown' || action.kind === 'node.wake') {
    const node = findNode(world, cluster, target.id);
    return node ? observeNode(node, action.kind) : seen(null, `no node ${target.id}`);
  }
  const guest = findGuest(world, cluster, target.id);
  return guest ? observeGuest(world, guest, request) : seen(null, `no guest ${target.id}`);
}
