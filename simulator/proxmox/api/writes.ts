/**
 * POST, PUT and DELETE on the fake API: the same jobs as those of the tools, begun by a worker. The
 * answer is the worker's name, or null where there is none; what becomes of it stands in the tasks.
 * Each effect is written to the effect log before it begins.
 */
import type { WorldNode } from '../../world/model.ts';
import { wakeByMac } from '../../world/node-effects.ts';
import { guestOn, type Options } from '../answers.ts';
import { guestTool, shutNodeDown } from '../commands.ts';
import { stopTask, type Voice } from '../jobs.ts';
import { isUp, nodeOf, type Pve, ToolFailure } from '../pve.ts';
import { ApiFailure, require, type Token } from './rights.ts';

export type Wish = { here: WorldNode; method: string; path: string; options: Options };
type LogEffect = Voice['log'];

/** Resolves with the worker's name as soon as its line stands in the log. */
function begin(run: (voice: Voice) => Promise<void>, log: LogEffect): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const voice: Voice = {
      hasGone: () => false,
      out: () => undefined,
      async log(effect) {
        await log(effect);
        // Without a worker the answer comes with the end.
        if (effect.upid !== null) resolve(effect.upid);
      },
    };
    run(voice).then(
      () => resolve(null),
      // Of a worker that has a name already this changes nothing: its end stands in the tasks.
      (error: unknown) => reject(error as Error),
    );
  });
}

const configRights = (options: Options): string[] => [
  ...(['vcpus', 'cores', 'cpulimit', 'cpuunits'].some((key) => key in options)
    ? ['VM.Config.CPU']
    : []),
  ...(['memory', 'balloon', 'swap'].some((key) => key in options) ? ['VM.Config.Memory'] : []),
];

async function ofGuest(
  pve: Pve,
  token: Token,
  { path, options }: Wish,
  log: LogEffect,
): Promise<string | null> {
  const [, name = '', type = '', vmid = '', rest = ''] =
    /^\/nodes\/([^/]+)\/(qemu|lxc)\/(\d+)\/(.+)$/.exec(path) ?? [];
  const where = `/vms/${vmid}`;
  const command = rest === 'config' ? 'set' : rest.replace(/^status\//, '');
  if (command === 'set') require(token, where, ...configRights(options));
  else require(token, where, command === 'migrate' ? 'VM.Migrate' : 'VM.PowerMgmt');
  const node = nodeOf(pve, name);
  if (!isUp(node)) throw new ApiFailure(595, 'No route to host');
  guestOn(node, type, vmid);
  const { target = '', ...others } = options;
  const words = [command, vmid, ...(command === 'migrate' ? [target] : [])];
  const tool = type === 'qemu' ? 'qm' : 'pct';
  const user = token.id;
  return begin(
    (voice) => guestTool({ pve, here: node, voice, words, options: others, user }, tool),
    log,
  );
}

async function wake(pve: Pve, here: WorldNode, node: WorldNode, log: LogEffect): Promise<string> {
  const { mac, node: id } = node.spec;
  if (node === here) throw new ToolFailure(`'${id}' is local node, cannot wake my self!`);
  await log({ kind: 'wakeonlan', id, upid: null });
  pve.live.change((world) => wakeByMac(world, [mac], null));
  return mac;
}

export async function write(
  pve: Pve,
  token: Token,
  wish: Wish,
  log: LogEffect,
): Promise<string | null> {
  const { here, method, path, options } = wish;
  if (method === 'DELETE') {
    await stopTask(pve, path, (task) => {
      if (task.user !== token.id) require(token, `/nodes/${task.node}`, 'Sys.Modify');
    });
    return null;
  }
  if (/^\/nodes\/[^/]+\/(qemu|lxc)\//.test(path)) return ofGuest(pve, token, wish, log);
  const [, name = '', what = ''] = /^\/nodes\/([^/]+)\/(.+)$/.exec(path) ?? [];
  if (what !== 'status' && what !== 'wakeonlan') {
    throw new ApiFailure(501, `Method 'POST ${path}' not implemented`);
  }
  require(token, `/nodes/${name}`, 'Sys.PowerMgmt');
  const node = nodeOf(pve, name);
  if (what === 'wakeonlan') return wake(pve, here, node, log);
  if (!isUp(node)) throw new ApiFailure(595, 'No route to host');
  if (options['command'] !== 'shutdown') throw new ApiFailure(501, 'not implemented here');
  const words = ['create', path];
  await shutNodeDown({
    pve,
    here: node,
    voice: { out: () => undefined, hasGone: () => false, log },
    words,
    options: {},
  });
  return null;
}
