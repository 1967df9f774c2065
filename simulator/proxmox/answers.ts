/**
 * `pvesh get`: what the fake cluster answers to each path, in the shapes of PVE 9. Looks only.
 * Flags are numbers in some places and strings in others because the real ones are.
 */
import { wantedRatio } from '../world/load.ts';
import { type WorldGuest, type WorldNode, worldTimeMs } from '../world/model.ts';
import { sampleNode } from '../world/sample.ts';
import { configOf, lockIn } from './config.ts';
import { haCurrent, haStateOf, managerStatus, without } from './ha-answers.ts';
import { exported } from './metrics.ts';
import {
  guestsOf,
  isUp,
  nodeOf,
  nodesOf,
  type Pve,
  type PveTask,
  quorumOf,
  ToolFailure,
  typeOf,
} from './pve.ts';

export type Options = Readonly<Record<string, string>>;

const statusOf = ({ state, node }: WorldGuest): string =>
  state === 'running' && isUp(node) ? 'running' : 'stopped';

const uptimeOf = (pve: Pve, guest: WorldGuest): number =>
  statusOf(guest) === 'running'
    ? Math.max(0, Math.floor((pve.live.nowMs() - guest.startedAtMs) / 1000))
    : 0;

/** What pvestatd saw: the share of its own cpus that the guest asks for. */
const demandRatio = (pve: Pve, guest: WorldGuest): number =>
  guest.forcedRatio ?? wantedRatio(guest.spec.load, worldTimeMs(pve.live.world, pve.live.nowMs()));

/** Counters since the start of the guest, in bytes. */
function countersOf(pve: Pve, { startedAtMs, cpuCount }: WorldGuest): Record<string, number> {
  const ranMs = Math.max(0, pve.live.nowMs() - startedAtMs);
  const of = (bytesPerSecond: number) => Math.round((ranMs / 1000) * bytesPerSecond * cpuCount);
  return { netin: of(2_000), netout: of(1_000), diskread: of(500), diskwrite: of(4_000) };
}

const guestRow = (pve: Pve, guest: WorldGuest) =>
  without({
    id: `${typeOf(guest)}/${guest.spec.id}`,
    type: typeOf(guest),
    vmid: Number(guest.spec.id),
    node: guest.node.spec.node,
    status: statusOf(guest),
    name: guest.spec.name,
    tags: guest.spec.tags.join(';'),
    template: 0,
    cpu: statusOf(guest) === 'running' ? demandRatio(pve, guest) : 0,
    ...(statusOf(guest) === 'running' ? countersOf(pve, guest) : {}),
    maxcpu: guest.cpuCount,
    mem: statusOf(guest) === 'running' ? guest.memoryBytes / 2 : 0,
    maxmem: guest.memoryBytes,
    uptime: uptimeOf(pve, guest),
    lock: lockIn(pve, guest),
    hastate: haStateOf(pve, guest),
  });

function figuresOf(pve: Pve, node: WorldNode): Record<string, number> {
  const { cpuRatio, memoryUsedBytes } = sampleNode(pve.live.world, node, pve.live.nowMs()).node;
  const uptime = Math.max(0, Math.floor((pve.live.nowMs() - node.bootedAtMs) / 1000));
  return { cpu: cpuRatio ?? 0, mem: memoryUsedBytes ?? 0, disk: node.spec.diskBytes / 4, uptime };
}

const nodeRow = (pve: Pve, node: WorldNode) => ({
  id: `node/${node.spec.node}`,
  type: 'node',
  node: node.spec.node,
  status: isUp(node) ? 'online' : 'offline',
  maxcpu: node.spec.cpuCount,
  maxmem: node.spec.memoryBytes,
  maxdisk: node.spec.diskBytes,
  ...(isUp(node) ? figuresOf(pve, node) : {}),
  level: '',
  'cgroup-mode': 2,
  ...(pve.maintenance.has(node.spec.node) ? { hastate: 'maintenance' } : {}),
});

const storageRow = ({ spec, ...node }: WorldNode) => ({
  id: `storage/${spec.node}/shared`,
  type: 'storage',
  storage: 'shared',
  node: spec.node,
  status: node.power === 'on' ? 'available' : 'unknown',
  plugintype: 'nfs',
  content: 'images,rootdir',
  shared: 1,
  disk: 2 ** 40,
  maxdisk: 2 ** 44,
});

const resources = (pve: Pve) => [
  ...guestsOf(pve).map((guest) => guestRow(pve, guest)),
  ...nodesOf(pve).map((node) => nodeRow(pve, node)),
  ...nodesOf(pve).map(storageRow),
  { id: '/pool/lab', type: 'pool', pool: 'lab' },
];

function clusterStatus(pve: Pve, here: WorldNode) {
  const quorum = quorumOf(pve, here);
  const rows = nodesOf(pve).map((node, index) => ({
    type: 'node',
    id: `node/${node.spec.node}`,
    name: node.spec.node,
    nodeid: quorum ? index + 1 : 0,
    ip: node.spec.address,
    online: Number(isUp(node)),
    local: Number(node === here),
    level: '',
  }));
  if (quorum === null) return rows.filter(({ local }) => local === 1);
  const quorate = Number(quorum.quorate);
  const name = pve.clusterId;
  return [
    { type: 'cluster', id: 'cluster', name, version: 1, nodes: rows.length, quorate },
    ...rows,
  ];
}

/** A fresh process has no earlier reading, so `cpu` is always 0. */
const nodeStatus = (pve: Pve, { spec, bootedAtMs }: WorldNode) => ({
  cpu: 0,
  uptime: Math.floor((pve.live.nowMs() - bootedAtMs) / 1000),
  loadavg: ['0.10', '0.20', '0.15'],
  memory: { total: spec.memoryBytes, used: spec.memoryBytes / 4, free: spec.memoryBytes / 2 },
  cpuinfo: { cpus: spec.cpuCount, mhz: '2400.000', hvm: '1', model: spec.cpuModel },
  kversion: 'Linux 6.14.0-2-pve',
  pveversion: 'pve-manager/9.2.2/0123456789abcdef',
});

/** A VM's pressure are numbers, a container's strings, a stopped guest has none. */
function guestList(pve: Pve, node: WorldNode, type: 'qemu' | 'lxc') {
  return node.guests
    .filter((guest) => typeOf(guest) === type)
    .map((guest) => {
      const { vmid, name, status, uptime, mem, maxmem, lock, tags } = guestRow(pve, guest);
      const pressure = type === 'qemu' ? 0 : '0.00';
      const pressures =
        status === 'running'
          ? { pressurecpusome: pressure, pressureiosome: pressure, pressurememorysome: pressure }
          : {};
      return { vmid, name, status, uptime, mem, maxmem, lock, tags, cpu: 0, ...pressures };
    });
}

function currentStatus(pve: Pve, guest: WorldGuest) {
  const state = haStateOf(pve, guest);
  return {
    ...guestRow(pve, guest),
    cpus: guest.cpuCount,
    ha: state === null ? { managed: 0 } : { managed: 1, state },
    ...(typeOf(guest) === 'qemu' ? { qmpstatus: statusOf(guest) } : {}),
  };
}

function pendingOf(pve: Pve, guest: WorldGuest) {
  const waiting = pve.pending.get(guest.spec.id) ?? {};
  const config = configOf(pve, guest);
  return [...new Set([...Object.keys(config), ...Object.keys(waiting)])].map((key) =>
    without({
      key,
      // As in the real answer, `cores` is a number and the rest is text.
      value: key === 'cores' ? Number(config[key]) : (config[key] ?? null),
      pending: waiting[key] ?? null,
    }),
  );
}

/** A VM and a container spell the same answer differently. */
function migrateCheck(pve: Pve, guest: WorldGuest) {
  const others = nodesOf(pve).filter((node) => node !== guest.node);
  const allowed = others.filter(isUp).map(({ spec }) => spec.node);
  const running = Number(statusOf(guest) === 'running');
  if (typeOf(guest) === 'lxc') {
    return { running, 'allowed-nodes': allowed, 'not-allowed-nodes': {} };
  }
  const local = Object.keys(configOf(pve, guest)).filter((key) => /^hostpci\d/.test(key));
  return {
    running,
    allowed_nodes: allowed,
    not_allowed_nodes: {},
    local_disks: [],
    local_resources: local,
    'mapped-resources': [],
    'mapped-resource-info': {},
    'has-dbus-vmstate': 1,
  };
}

/** A token is told apart from its user. */
function ownerOf({ user }: PveTask): { user: string; tokenid?: string } {
  const [name = '', token] = user.split('!');
  return { user: name, ...(token === undefined ? {} : { tokenid: token }) };
}

const taskRow = (task: PveTask) =>
  without({
    upid: task.upid,
    node: task.node,
    type: task.type,
    id: task.id,
    ...ownerOf(task),
    starttime: task.startedAtSeconds,
    endtime: task.endedAtSeconds,
    status: task.exitStatus,
  });

function taskStatus(pve: Pve, upid: string) {
  const task = pve.tasks.find((other) => other.upid === upid);
  if (task === undefined) throw new ToolFailure(`unable to parse worker upid '${upid}'`);
  const { exitStatus } = task;
  const head = { upid, node: task.node, type: task.type, id: task.id, ...ownerOf(task) };
  return exitStatus === null
    ? { ...head, status: 'running' }
    : { ...head, status: 'stopped', exitstatus: exitStatus };
}

function taskList(pve: Pve, node: WorldNode, options: Options) {
  const { vmid, since = '0', typefilter } = options;
  return pve.tasks
    .filter((task) => task.node === node.spec.node && task.startedAtSeconds >= Number(since))
    .filter((task) => vmid === undefined || task.id === vmid)
    .filter((task) => typefilter === undefined || task.type === typefilter)
    .map(taskRow);
}

/** A guest of this node, or the error that its missing file makes. */
export function guestOn(node: WorldNode, type: string, vmid: string): WorldGuest {
  const guest = node.guests.find(({ spec }) => spec.id === vmid);
  if (guest !== undefined && typeOf(guest) === type) return guest;
  const folder = type === 'qemu' ? 'qemu-server' : 'lxc';
  const file = `nodes/${node.spec.node}/${folder}/${vmid}.conf`;
  throw new ToolFailure(`Configuration file '${file}' does not exist`, 2);
}

const noHandler = (path: string): ToolFailure =>
  new ToolFailure(`No 'get' handler defined for '${path}'`, 1);

function requireCeph({ ceph }: Pve): NonNullable<Pve['ceph']> {
  if (ceph === null) throw new ToolFailure('binary not installed: /usr/bin/ceph-mon', 255);
  return ceph;
}

/** As Proxmox answers it: the status of Ceph, with the whole map of its monitors. */
function cephStatus(pve: Pve): object {
  const { health, mons, inQuorum } = requireCeph(pve);
  return {
    fsid: '5f2c1a4e-9a3d-4a62-8f0e-2b1f0c7d9e11',
    health: { status: health, checks: {}, mutes: [] },
    quorum: inQuorum.map((name) => mons.indexOf(name)),
    quorum_names: inQuorum,
    monmap: { epoch: 3, mons: mons.map((name, rank) => ({ rank, name })) },
  };
}

const cephPools = (pve: Pve): object[] =>
  requireCeph(pve).minSizes.map((minSize, index) => ({
    pool: index + 1,
    pool_name: `pool-${index + 1}`,
    type: 'replicated',
    size: minSize + 1,
    min_size: minSize,
  }));

function ofGuest(pve: Pve, guest: WorldGuest, rest: string): unknown {
  if (rest === 'status/current') return currentStatus(pve, guest);
  if (rest === 'config') return configOf(pve, guest);
  if (rest === 'pending') return pendingOf(pve, guest);
  return rest === 'migrate' ? migrateCheck(pve, guest) : undefined;
}

function ofNode(pve: Pve, node: WorldNode, rest: string, options: Options): unknown {
  if (rest === 'status') return nodeStatus(pve, node);
  if (rest === 'qemu' || rest === 'lxc') return guestList(pve, node, rest);
  if (rest === 'ceph/pool') return cephPools(pve);
  if (rest === 'tasks') return taskList(pve, node, options);
  const [, upid] = /^tasks\/([^/]+)\/status$/.exec(rest) ?? [];
  if (upid !== undefined) return taskStatus(pve, upid);
  const [, type = '', vmid = '', what = ''] = /^(qemu|lxc)\/(\d+)\/(.+)$/.exec(rest) ?? [];
  return type === '' ? undefined : ofGuest(pve, guestOn(node, type, vmid), what);
}

function ofCluster(pve: Pve, here: WorldNode, rest: string, options: Options): unknown {
  if (rest === 'metrics/export') return exported(pve, here, options);
  if (rest === 'resources') return resources(pve);
  if (rest === 'status') return clusterStatus(pve, here);
  if (rest === 'options') return pve.options;
  if (rest === 'ceph/status') return cephStatus(pve);
  if (rest === 'ha/status/manager_status') return managerStatus(pve, here);
  return rest === 'ha/status/current' ? haCurrent(pve, here) : undefined;
}

/** `pvesh` reaches another node by ssh, which a sleeping one does not answer. */
export function requireReachable(here: WorldNode, node: WorldNode): void {
  if (node === here || isUp(node)) return;
  const why = `ssh: connect to host ${node.spec.address} port 22: No route to host`;
  throw new ToolFailure(`${why}\nproxy handler failed: exit code 255`);
}

export function get(pve: Pve, here: WorldNode, path: string, options: Options): unknown {
  const [, name, rest = ''] = /^\/nodes\/([^/]+)\/(.+)$/.exec(path) ?? [];
  let answer: unknown;
  if (name === undefined) answer = ofCluster(pve, here, path.replace(/^\/cluster\//, ''), options);
  else {
    const node = name === 'localhost' ? here : nodeOf(pve, name);
    requireReachable(here, node);
    answer = ofNode(pve, node, rest, options);
  }
  if (answer === undefined) throw noHandler(path);
  return answer;
}
