/** What an executor gives a driver to do, and the context it waits in, for tests of drivers. */
import { type Action, commandArgs } from '../../../broker/contract/command.ts';
import type { Work } from '../../../daemon/hypervisor/port.ts';
import type { Rig } from '../../simulator/proxmox/rig.ts';

/** Arguments are checked as on their way from the server. */
export const workOf =
  (newId: () => string) =>
  (kind: Action['kind'], id: string, args: object = {}, node = 'alpha'): Work => ({
    commandId: newId(),
    node,
    target: kind.startsWith('node.') ? { kind: 'node', id } : { kind: 'guest', id },
    action: { kind, args: commandArgs[kind].parse(args) } as Action,
    timeScale: 1,
  });

/** Remembers every handle that the driver tells. */
export function workContext() {
  const handles: string[] = [];
  const abort = new AbortController();
  const onHandle = async (handle: string): Promise<void> => void handles.push(handle);
  return { handles, abort, signal: abort.signal, onHandle };
}

/** Where a guest really is in the world behind the rig. */
export const placeOf = (rig: Rig, id: string): string | undefined =>
  rig.live.world.guests.get(`lab/${id}`)?.node.spec.node;
