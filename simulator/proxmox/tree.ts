/**
 * The files of one node that a host daemon reads instead of asking: /etc/pve as pmxcfs shows it,
 * the list of latest tasks, and the cgroups of the guests that run here. Written whole and then
 * renamed, so that no reader sees half a file.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { WorldGuest, WorldNode } from '../world/model.ts';
import { configOf } from './config.ts';
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
  return `nodelist {\n${blocks.join('')}}\n`;
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

export const cgroupOf = (guest: WorldGuest): string =>
  typeOf(guest) === 'qemu'
    ? `sys/fs/cgroup/qemu.slice/${guest.spec.id}.scope`
    : `sys/fs/cgroup/lxc/${guest.spec.id}`;

/** A guest that used a tenth of its cpus since it started. */
function cgroupFiles(pve: Pve, guest: WorldGuest): Record<string, string> {
  const ranMs = Math.max(0, pve.live.nowMs() - guest.startedAtMs);
  const usageMicroseconds = Math.round(ranMs * 1_000 * guest.cpuCount * 0.1);
  const calm = 'some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n';
  const full = calm.replace('some', 'full');
  return {
    'cgroup.events': 'populated 1\nfrozen 0\n',
    'cpu.stat': `usage_usec ${usageMicroseconds}\nuser_usec 0\nsystem_usec 0\n`,
    'memory.current': `${guest.memoryBytes / 2}\n`,
    'memory.swap.current': '0\n',
    'memory.stat': 'anon 1\ninactive_file 0\n',
    'io.stat': `8:0 rbytes=${Math.round(ranMs)} wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n`,
    'cpu.pressure': calm + full,
    'io.pressure': calm + full,
    'memory.pressure': calm + full,
  };
}

function filesOf(pve: Pve, node: WorldNode): Map<string, string> {
  const files = new Map([
    ['etc/pve/.members', membersFile(pve, node)],
    ['etc/pve/.vmlist', vmlistFile(pve)],
    ['var/log/pve/tasks/active', activeFile(pve, node.spec.node)],
    ['sys/fs/cgroup/cgroup.controllers', 'cpu io memory pids\n'],
  ]);
  if (node.spec.votes > 0) files.set('etc/pve/corosync.conf', corosyncFile(pve));
  for (const guest of node.guests) {
    const folder = typeOf(guest) === 'qemu' ? 'qemu-server' : 'lxc';
    files.set(`etc/pve/${folder}/${guest.spec.id}.conf`, configFile(pve, guest));
    if (guest.state !== 'running' || !isUp(node)) continue;
    for (const [name, text] of Object.entries(cgroupFiles(pve, guest))) {
      files.set(`${cgroupOf(guest)}/${name}`, text);
    }
  }
  return files;
}

export type Tree = { readonly root: string; refresh(): void };

/** `refresh` writes what changed and removes what has gone. */
export function nodeTree(pve: Pve, nodeName: string, root: string): Tree {
  const written = new Map<string, string>();
  const refresh = (): void => {
    const files = filesOf(pve, nodeOf(pve, nodeName));
    for (const [path, text] of files) {
      if (written.get(path) === text) continue;
      const target = join(root, path);
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(`${target}.new`, text);
      renameSync(`${target}.new`, target);
      written.set(path, text);
    }
    for (const path of written.keys()) {
      if (files.has(path)) continue;
      const target = join(root, path);
      rmSync(target, { force: true });
      if (readdirSync(dirname(target)).length === 0) rmSync(dirname(target), { recursive: true });
      written.delete(path);
    }
  };
  refresh();
  return { root, refresh };
}
