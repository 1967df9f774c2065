/**
 * GET on the fake API: what `pvesh` answers to the same path, behind the privilege that the real
 * one asks for, and what only the API has.
 */
import type { WorldNode } from '../../world/model.ts';
import { get, type Options } from '../answers.ts';
import { isUp, nodeOf, nodesOf, type Pve, quorumOf } from '../pve.ts';
import { ApiFailure, has, permissions, require, type Token } from './rights.ts';

type Row = Record<string, unknown>;

/** Rows that the token may not see are left out; of a node only the figures are. */
function visible(token: Token, rows: readonly Row[]): Row[] {
  return rows.flatMap((row) => {
    const [type, node] = [String(row['type']), String(row['node'])];
    if (type === 'qemu' || type === 'lxc') {
      return has(token, `/vms/${String(row['vmid'])}`, 'VM.Audit') ? [row] : [];
    }
    if (type === 'storage') {
      return has(token, `/storage/${String(row['storage'])}`, 'Datastore.Audit') ? [row] : [];
    }
    if (type !== 'node' || has(token, `/nodes/${node}`, 'Sys.Audit')) return [row];
    const { id, status, level } = row;
    return [{ id, type, node, status, level }];
  });
}

/** The lines of `mini-journalreader`: the first is a cursor, which names the boot. */
const journal = ({ bootId }: WorldNode): string[] => [
  `s=0123456789abcdef0123456789abcdef;i=1;b=${bootId.replaceAll('-', '')};m=1;t=1;x=1`,
  'Nov 21 12:00:00 host systemd[1]: Started.',
];

function ofCluster(pve: Pve, here: WorldNode, path: string): unknown {
  if (path === '/version') return { version: '9.2.2', release: '9.2', repoid: '0123456789abcdef' };
  if (path === '/cluster/config/nodes') {
    if (quorumOf(pve, here) === null) return [];
    return nodesOf(pve).map(({ spec }, index) => ({
      node: spec.node,
      name: spec.node,
      nodeid: String(index + 1),
      quorum_votes: String(spec.votes),
    }));
  }
  if (path === '/cluster/config/qdevice') {
    if (pve.qdevice === null || pve.qdeviceDown.has(here.spec.node)) return {};
    return { State: pve.qdevice.flags.startsWith('A,V') ? 'Connected' : 'Disconnected' };
  }
  return undefined;
}

/** A bridge on one card, as the installer leaves it. */
const network = ({ spec }: WorldNode): Row[] => [
  {
    iface: 'vmbr0',
    type: 'bridge',
    method: 'static',
    active: 1,
    autostart: 1,
    address: spec.address,
    netmask: '24',
    cidr: `${spec.address}/24`,
    gateway: spec.address.replace(/[^.]+$/, '1'),
    bridge_ports: 'nic0',
    families: ['inet'],
    priority: 4,
  },
  {
    iface: 'nic0',
    type: 'eth',
    method: 'manual',
    active: 1,
    exists: 1,
    altnames: [`enx${spec.mac.replaceAll(':', '')}`],
    families: ['inet'],
    priority: 3,
  },
];

function ofNode(node: WorldNode, what: string): unknown {
  if (what === 'config') return { wakeonlan: `mac=${node.spec.mac},bind-interface=vmbr0` };
  if (what === 'network') return network(node);
  return what === 'journal' ? journal(node) : undefined;
}

/** What the real API asks for, by the shape of the path. */
function check(token: Token, path: string): void {
  const [, node = '', what = ''] = /^\/nodes\/([^/]+)\/(.+)$/.exec(path) ?? [];
  const [, vmid, rest] = /^(?:qemu|lxc)\/(\d+)\/(.+)$/.exec(what) ?? [];
  if (vmid !== undefined)
    require(token, `/vms/${vmid}`, rest === 'migrate' ? 'VM.Migrate' : 'VM.Audit');
  else if (what === 'journal') require(token, `/nodes/${node}`, 'Sys.Syslog');
  else if (!['', 'qemu', 'lxc', 'network'].includes(what)) {
    require(token, `/nodes/${node}`, 'Sys.Audit');
  } else if (/^\/cluster\/(status|config|ha|options|metrics)/.test(path)) {
    require(token, '/', 'Sys.Audit');
  }
}

export type Asked = { here: WorldNode; path: string; options: Options };

export function read(pve: Pve, token: Token, { here, path, options }: Asked): unknown {
  if (path === '/access/permissions') return permissions(token);
  check(token, path);
  const own = ofCluster(pve, here, path);
  if (own !== undefined) return own;
  const [, name, what = ''] = /^\/nodes\/([^/]+)\/(.+)$/.exec(path) ?? [];
  if (name !== undefined) {
    const node = nodeOf(pve, name);
    if (!isUp(node)) throw new ApiFailure(595, 'No route to host');
    const ofThis = ofNode(node, what);
    if (ofThis !== undefined) return ofThis;
  }
  const answer = get(pve, here, path, options);
  return path === '/cluster/resources' ? visible(token, answer as Row[]) : answer;
}
