import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  isAtRest,
  isInMaintenance,
  isOwnedByBalancer,
  serviceOf,
  servicesLeft,
} from '../../../../daemon/hypervisor/proxmox/ha.ts';
import { readHa } from '../../../../daemon/hypervisor/proxmox/ha-files.ts';
import { filesBelow } from '../../../../daemon/sample/files.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'kr-ha-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
}

const place = { node: 'b', type: 'qemu', version: 1 } as const;
const read = () => readHa(filesBelow(root), ['a', 'b'], new Map([['102', place]]));

const resources = `vm: 100
\tgroup prefer-a
\tstate started
\tauto-rebalance 0

ct: 101
\tmax_relocate 2

vm: 102
\tstate started

vm: 103
\tstate ignored
`;
const status = {
  master_node: 'a',
  node_status: { a: 'online', b: 'maintenance' },
  node_request: { b: { maintenance: 1 } },
  service_status: {
    'vm:100': { node: 'a', state: 'started', uid: 'x', running: 1 },
    'ct:101': { node: 'a', state: 'stopped', uid: 'y' },
  },
  timestamp: 1_789_062_561,
};
const agent = (state: string, mode = 'active') =>
  JSON.stringify({ mode, state, results: {}, timestamp: 1 });

async function cluster(): Promise<void> {
  await put('etc/pve/ha/resources.cfg', resources);
  await put('etc/pve/ha/manager_status', JSON.stringify(status));
  await put('etc/pve/nodes/a/lrm_status', agent('active'));
  await put('etc/pve/nodes/b/lrm_status', agent('maintenance', 'maintenance'));
  await put('etc/pve/datacenter.cfg', 'keyboard: de\ncrs: ha=static,ha-auto-rebalance=1\n');
}

it('reads services with what the manager decided, and those it has not taken up yet', async () => {
  await cluster();
  const ha = await read();
  expect(ha?.services.map(({ sid, node, state }) => `${sid} ${node} ${state}`)).toEqual([
    'vm:100 a started',
    'ct:101 a stopped',
    'vm:102 b queued',
    'vm:103 unknown ignored',
  ]);
  if (!ha) throw new Error('HA was not read');
  expect(servicesLeft(ha, 'a')).toEqual(['vm:100']);
  const owned = ['100', '101', '102', '104'].map((vmid) =>
    isOwnedByBalancer(ha.options, serviceOf(ha.services, vmid)),
  );
  expect(owned).toEqual([false, true, true, false]);
});

it('knows maintenance, and when nothing of HA is left on the node', async () => {
  await cluster();
  const ha = await read();
  if (!ha) throw new Error('HA was not read');
  expect(isInMaintenance(ha.manager, 'b')).toBe(true);
  // A service that is still on its way there keeps the node from being at rest.
  expect(isAtRest(ha, 'b')).toBe(false);
  await put('etc/pve/ha/resources.cfg', resources.replace(/vm: 102\n\tstate started\n/, ''));
  const later = await read();
  expect(later && isAtRest(later, 'b')).toBe(true);
  await put('etc/pve/nodes/b/lrm_status', agent('active', 'maintenance'));
  const active = await read();
  expect(active && isAtRest(active, 'b')).toBe(false);
});

it('takes missing files for no HA, and files that make no sense for unknown', async () => {
  expect(await read()).toMatchObject({ services: [], options: { crs: {} } });
  for (const path of ['etc/pve/ha/manager_status', 'etc/pve/nodes/a/lrm_status']) {
    await cluster();
    await put(path, '{"mode":');
    expect(await read()).toBeNull();
  }
  await cluster();
  await rm(join(root, 'etc/pve/ha/resources.cfg'));
  await mkdir(join(root, 'etc/pve/ha/resources.cfg'));
  expect(await read()).toBeNull();
});
