/**
 * What this host does for others (roles) and what a power-off would cut now (busy), read from its
 * files alone. A role is only ever found, never guessed away: where the place to look cannot be
 * read, the answer is null, and a guard that needs it denies.
 */
import { z } from 'zod';
import type { NodeFacts } from '../../../broker/contract/facts.ts';
import type { Files } from '../../sample/files.ts';
import { cephRoles } from './ceph.ts';
import { nodeIdOf } from './context.ts';
import { Count, readJson } from './scalars.ts';
import type { ListedTask } from './tasks.ts';

type Busy = NonNullable<NodeFacts['busy']>[number];

/** `/proc/<pid>/comm` holds 15 characters. */
const roleOfProcess: Readonly<Record<string, string>> = {
  'ceph-osd': 'ceph-osd',
  'ceph-mon': 'ceph-mon',
  'ceph-mds': 'ceph-mds',
  'ceph-mgr': 'ceph-mgr',
  'corosync-qnetd': 'qnetd',
  'proxmox-backup-': 'backup-server',
  glusterfsd: 'gluster',
  smbd: 'samba',
  tgtd: 'iscsi-target',
  named: 'dns',
  unbound: 'dns',
  dnsmasq: 'dns',
  'kea-dhcp4': 'dhcp',
  dhcpd: 'dhcp',
  mosquitto: 'broker',
  mariadbd: 'database',
  mysqld: 'database',
  influxd: 'database',
};

const workOfProcess: Readonly<Record<string, string>> = {
  apt: 'apt',
  'apt-get': 'apt',
  aptitude: 'apt',
  dpkg: 'dpkg',
  unattended_upg: 'apt',
  'unattended-upgr': 'apt',
  vzdump: 'vzdump',
  'grub-install': 'bootloader',
  'update-initramf': 'bootloader',
  'proxmox-boot-to': 'bootloader',
  fwupdmgr: 'firmware',
  rsync: 'rsync',
};

/** Names of all processes; null where /proc shows none, which no living host does. */
async function processNames(files: Files): Promise<ReadonlySet<string> | null> {
  const pids = ((await files.names('proc')) ?? []).filter((name) => /^\d+$/.test(name));
  if (pids.length === 0) return null;
  const names = await Promise.all(pids.map((pid) => files.line(`proc/${pid}/comm`)));
  return new Set(names.filter((name) => name !== null));
}

const hasLines = (text: string | null): boolean =>
  (text ?? '').split('\n').some((line) => /^\s*[^#\s]/.test(line));

async function exportsNfs(files: Files): Promise<boolean> {
  if (hasLines(await files.text('etc/exports'))) return true;
  for (const name of (await files.names('etc/exports.d')) ?? []) {
    if (name.endsWith('.exports') && hasLines(await files.text(`etc/exports.d/${name}`))) {
      return true;
    }
  }
  return false;
}

const hasTargets = async (files: Files): Promise<boolean> =>
  ((await files.names('sys/kernel/config/target/iscsi')) ?? []).some((name) =>
    name.startsWith('iqn.'),
  );

/** Services of Ceph keep their state in folders that stay while they are stopped. */
/** `local: 100-0`, then its lines; the file is the cluster's. */
export function replicationTargets(text: string): { guest: string; target: string }[] {
  return text.split(/^(?=local: )/m).flatMap((section) => {
    const [, guest] = /^local: (\d+)-\d+/.exec(section) ?? [];
    const [, target] = /^\s+target (\S+)/m.exec(section) ?? [];
    const isDisabled = /^\s+disable (1|yes|true)?\s*$/m.test(section);
    return guest === undefined || target === undefined || isDisabled ? [] : [{ guest, target }];
  });
}

const ReplicationState = z.record(
  z.string(),
  z.record(z.string(), z.object({ fail_count: Count.default(0), pid: Count.optional() })),
);

/** Jobs whose source is this node, for the guests that are here. */
export async function readReplication(
  files: Files,
  guests: readonly string[] | null,
): Promise<NodeFacts['replication']> {
  if (guests === null) return null;
  const jobs = replicationTargets((await files.text('etc/pve/replication.cfg')) ?? '');
  const own = jobs.filter(({ guest }) => guests.includes(guest));
  if (own.length === 0) return [];
  const text = await files.text('var/lib/pve-manager/pve-replication-state.json');
  const state = readJson(ReplicationState, text ?? '{}');
  if (!state.ok) return null;
  return own.map(({ guest, target }) => {
    const known = state.value[guest]?.[`local/${target}`];
    const [running, failed] = [known?.pid !== undefined, (known?.fail_count ?? 0) > 0];
    return { guest, target: nodeIdOf(target), running, failed };
  });
}

/** Of some guest this node holds the only copy elsewhere. */
async function isOnlyReplica(files: Files, pveNode: string): Promise<boolean> {
  const jobs = replicationTargets((await files.text('etc/pve/replication.cfg')) ?? '');
  return jobs.some(
    ({ guest, target }) =>
      target === pveNode &&
      jobs.filter((job) => job.guest === guest).every((job) => job.target === pveNode),
  );
}

export async function readRoles(files: Files, pveNode: string): Promise<NodeFacts['roles']> {
  const names = await processNames(files);
  if (names === null) return null;
  const found = new Set<string>(await cephRoles(files));
  for (const name of names) {
    const role = roleOfProcess[name];
    if (role !== undefined) found.add(role);
  }
  if (await exportsNfs(files)) found.add('nfs');
  if (await hasTargets(files)) found.add('iscsi-target');
  if (hasLines(await files.text('etc/proxmox-backup/datastore.cfg'))) found.add('backup-server');
  if (await isOnlyReplica(files, pveNode)) found.add('replication-target');
  return [...found].sort();
}

/** `[==>....]  recovery = 12.6%`, also resync, reshape and check. */
export const raidWork = (mdstat: string | null): Busy[] =>
  [...(mdstat ?? '').matchAll(/\b(recovery|resync|reshape|check|repair)\s*=\s*([\d.]+%|\S+)/g)].map(
    ([, what = '', detail = '']) => ({ what: `raid-${what}`, detail }),
  );

/** Somebody is logged in; null where the sessions cannot be listed. */
async function sessions(files: Files): Promise<Busy[] | null> {
  const names = await files.names('run/systemd/sessions');
  if (names === null) return (await files.exists('run/systemd/system')) ? [] : null;
  const found: Busy[] = [];
  for (const name of names.filter((text) => /^\w+$/.test(text))) {
    const text = await files.text(`run/systemd/sessions/${name}`);
    const field = (key: string) => new RegExp(`^${key}=(.*)$`, 'm').exec(text ?? '')?.[1];
    if (text === null || field('CLASS')?.startsWith('user') !== true) continue;
    const who = `${field('USER') ?? field('UID') ?? 'somebody'} ${field('TTY') ?? ''}`.trim();
    if (field('STATE') !== 'closing') found.push({ what: 'session', detail: who });
  }
  return found;
}

const busyMax = 64;

export async function readBusy(
  files: Files,
  tasks: readonly ListedTask[] | null,
  slowWork: readonly Busy[] | null,
): Promise<NodeFacts['busy']> {
  const names = await processNames(files);
  const people = await sessions(files);
  if (names === null || people === null || tasks === null || slowWork === null) return null;
  const programs = new Set([...names].flatMap((name) => workOfProcess[name] ?? []));
  return [
    ...tasks
      .filter(({ isRunning }) => isRunning)
      .map(({ type, upid }) => ({ what: type, detail: upid })),
    ...[...programs].sort().map((what) => ({ what, detail: null })),
    ...raidWork(await files.text('proc/mdstat')),
    ...slowWork,
    ...people,
  ].slice(0, busyMax);
}

/** A program that writes this file every minute is the only one that shows it to everybody. */
export async function readUps(files: Files): Promise<boolean | null> {
  const status = /^STATUS\s*:\s*(.*)$/m.exec((await files.text('var/log/apcupsd.status')) ?? '');
  return status?.[1] === undefined ? null : status[1].includes('ONBATT');
}
