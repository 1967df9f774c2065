/**
 * The files of one node that a host daemon reads instead of asking: /etc/pve as pmxcfs shows it,
 * the list of latest tasks, and the cgroups of the guests that run here. Written whole and then
 * renamed, so that no reader sees half a file.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { WorldGuest, WorldNode } from '../world/model.ts';
import { configOf } from './config.ts';
import { createGauges } from './gauges.ts';
import { haCurrent, managerStatus } from './ha-answers.ts';
import { guestsOf, isUp, nodeOf, nodesOf, type Pve, quorumOf, typeOf } from './pve.ts';

/** As long as the real list may grow. */
const listedTasksMax = 25;

function membersFile(pve: Pve, here: WorldNode): string {
  const quorum = quorumOf(pve, here);
  if (quorum === null) return JSON.stringify({ nodename: here.spec.node, version: 1 });
  const nodes = nodesOf(pve).map((node, index) => [
    node.spec.node,
    { id: index + 1, online: Number(isUp(node)), ip: node.spec.address },
  ]);
  const cluster = { name: pve.clusterId, version: 1, nodes: nodes.length };
  return JSON.stringify({
    nodename: here.spec.node,
    version: 3,
    cluster: { ...cluster, quorate: Number(quorum.quorate) },
    nodelist: Object.fromEntries(nodes),
  });
}

/** pmxcfs counts every change of a file; here the file's own length and text stand for it. */
function versionOf(text: string): number {
  let sum = text.length;
  for (let index = 0; index < text.length; index += 1) {
    sum = (sum * 31 + text.charCodeAt(index)) % 1_000_000_007;
  }
  return sum;
}

const configFile = (pve: Pve, guest: WorldGuest): string =>
  Object.entries(configOf(pve, guest))
    .map(([key, value]) => `${key}: ${value}\n`)
    .join('');

const vmlistFile = (pve: Pve): string =>
  JSON.stringify({
    version: 1,
    ids: Object.fromEntries(
      guestsOf(pve).map((guest) => [
        guest.spec.id,
        {
          node: guest.node.spec.node,
          type: typeOf(guest),
          version: versionOf(configFile(pve, guest)),
        },
      ]),
    ),
  });

const corosyncFile = (pve: Pve): string => {
  const blocks = nodesOf(pve).map(
    ({ spec }, index) =>
      `  node {\n    name: ${spec.node}\n    nodeid: ${index + 1}\n    quorum_votes: ${spec.votes}\n` +
      `    ring0_addr: ${spec.address}\n  }\n`,
  );
  const device = pve.qdevice === null ? '' : '  device {\n    model: net\n  }\n';
  return `nodelist {\n${blocks.join('')}}\nquorum {\n  provider: corosync_votequorum\n${device}}\n`;
};

const activeFile = (pve: Pve, node: string): string =>
  pve.tasks
    .filter((task) => task.node === node)
    .slice(-listedTasksMax)
    .toReversed()
    .map(({ upid, endedAtSeconds, exitStatus }) =>
      endedAtSeconds === null
        ? `${upid} 0\n`
        : `${upid} 1 ${endedAtSeconds.toString(16).toUpperCase().padStart(8, '0')} ${exitStatus}\n`,
    )
    .join('');

const optionText = (value: unknown): string =>
  typeof value === 'object' && value !== null
    ? Object.entries(value)
        .map(([key, part]) => `${key}=${String(part)}`)
        .join(',')
    : String(value);

/** HA by files, which are only there once something was managed. */
function haFiles(pve: Pve, here: WorldNode): [string, string][] {
  const options = Object.entries(pve.options).map(
    ([key, value]) => `${key}: ${optionText(value)}\n`,
  );
  const cluster: [string, string][] = [['etc/pve/datacenter.cfg', options.join('')]];
  if (pve.ha.size === 0 && pve.maintenance.size === 0) return cluster;
  const { manager_status: manager, lrm_status: agents } = managerStatus(pve, here);
  const services = haCurrent(pve, here).filter((row) => 'sid' in row);
  const decided = services.map(({ sid, node, state }) => [sid, { node, state, running: 1 }]);
  const status = { ...manager, service_status: Object.fromEntries(decided) as object };
  const sections = services.map((row) => {
    const rebalance = row['auto-rebalance'];
    const option = rebalance === undefined ? '' : `\tauto-rebalance ${Number(rebalance)}\n`;
    return `${String(row['sid']).replace(':', ': ')}\n\tstate started\n${option}\n`;
  });
  return [
    ...cluster,
    ['etc/pve/ha/resources.cfg', sections.join('')],
    ['etc/pve/ha/manager_status', JSON.stringify(status)],
    ...Object.entries(agents).map(([name, agent]): [string, string] => [
      `etc/pve/nodes/${name}/lrm_status`,
      JSON.stringify(agent),
    ]),
  ];
}

/** What the kernel shows of the machine itself, and of nobody at work on it. */
function machineFiles(pve: Pve, { spec, bootId }: WorldNode): [string, string][] {
  const vendor = spec.cpuModel.startsWith('AMD') ? 'AuthenticAMD' : 'GenuineIntel';
  const link = 'sys/class/net/eno1';
  return [
    ['proc/sys/kernel/random/boot_id', `${bootId}\n`],
    ['proc/sys/kernel/osrelease', '6.14.0-2-pve\n'],
    ['proc/cpuinfo', `vendor_id\t: ${vendor}\nmodel name\t: ${spec.cpuModel}\nmicrocode\t: 0x1\n`],
    ['proc/mdstat', 'Personalities : \nunused devices: <none>\n'],
    ['proc/1/comm', 'systemd\n'],
    ['run/systemd/system/units', ''],
    ['sys/class/dmi/id/bios_version', 'fake-1\n'],
    [`${link}/address`, `${spec.mac}\n`],
    [`${link}/device/power/wakeup`, pve.wakeOn(spec.node) === 'd' ? 'disabled\n' : 'enabled\n'],
  ];
}

function filesOf(pve: Pve, node: WorldNode): Map<string, string> {
  const files = new Map([
    ['etc/pve/.members', membersFile(pve, node)],
    ['etc/pve/.vmlist', vmlistFile(pve)],
    ['var/log/pve/tasks/active', activeFile(pve, node.spec.node)],
    ['sys/fs/cgroup/cgroup.controllers', 'cpu io memory pids\n'],
    ...machineFiles(pve, node),
    ...haFiles(pve, node),
  ]);
  if (node.spec.votes > 0) files.set('etc/pve/corosync.conf', corosyncFile(pve));
  for (const guest of node.guests) {
    const folder = typeOf(guest) === 'qemu' ? 'qemu-server' : 'lxc';
    files.set(`etc/pve/${folder}/${guest.spec.id}.conf`, configFile(pve, guest));
  }
  return files;
}

export type Tree = {
  readonly root: string;
  /** Writes what changed and removes what has gone. */
  refresh(): void;
  /** Writes only the numbers that move. */
  beat(): void;
};

export function nodeTree(pve: Pve, nodeName: string, root: string): Tree {
  const written = new Map<string, string>();
  const node = nodeOf(pve, nodeName);
  const gauges = createGauges(pve, node);
  const write = (path: string, text: string): void => {
    if (written.get(path) === text) return;
    const target = join(root, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(`${target}.new`, text);
    renameSync(`${target}.new`, target);
    written.set(path, text);
  };
  const remove = (path: string): void => {
    const target = join(root, path);
    rmSync(target, { force: true });
    if (readdirSync(dirname(target)).length === 0) rmSync(dirname(target), { recursive: true });
    written.delete(path);
  };
  const refresh = (): void => {
    const files = filesOf(pve, node);
    const moving = gauges();
    for (const [path, text] of [...files, ...Object.entries(moving)]) write(path, text);
    for (const path of written.keys()) {
      if (!files.has(path) && moving[path] === undefined) remove(path);
    }
  };
  refresh();
  return {
    root,
    refresh,
    beat() {
      for (const [path, text] of Object.entries(gauges())) write(path, text);
    },
  };
}
