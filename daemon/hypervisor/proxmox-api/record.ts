/**
 * What the API of a Proxmox VE cluster answers to everything that the daemon asks, for somebody who
 * mends Kernreaktor and has no such cluster. It asks only. Invariant: of a text a word stays only
 * where it is one of Proxmox's own; every other word, name, address and digest stands under a
 * pseudonym that is the same throughout, so that what belongs together is still seen.
 */
import { z } from 'zod';
import { type Params, type PveApi, PveApiError } from './client.ts';

type Answer = { path: string; params?: Params; data?: unknown; refused?: string };
export type Recording = { format: 1; version: string; answers: Answer[] };

/** Fields whose text is Proxmox's, the kernel's or the machine's word, never the owner's. */
const plainFields = new Set(
  (
    'arch bios cmode content cpu crm_state crm-state flags hastate kversion level lock machine ' +
    'metric mode model ostype plugintype pveversion quorum release repoid request_state ' +
    'request-state scsihw secureboot shutdown_policy state status sysname type version vga'
  ).split(' '),
);
const ownWords = new Set(
  (
    '4m access acl active aio any auto backup balloon basic bind-interface bridge ' +
    'broadcast-address bwlimit cache cdrom cluster conditional config content cores crs ct ' +
    'data dead dhcp direct disabled discard disk down e1000 e1000e efitype enabled error ' +
    'excl export failover fencing file firewall format freeze fuse group gw gw6 ha ' +
    'ha-auto-rebalance ha-rebalance-on-start host hostpci hwaddr ide ignore ignored images ' +
    'import insecure io_uring iothread ip ip6 iso journal keyctl link_down local local-lvm ' +
    'local-zfs localdomain localnetwork lrm lxc mac maintenance manager_status manual ' +
    'mapping master max_workers mbps_rd mbps_wr media memory metrics migrate migration mknod ' +
    'model mount mp name native nesting network node node_status nodes none off offline on ' +
    'online only options order ok pci pcie permissions pool poweroff pre-enrolled-keys pve ' +
    'qcow2 qdevice qemu queued quorate quorum quota raw reboot realm relocate replicate ' +
    'resources ro rombar root rootdir rootfs running rw sata scsi sdn secure serial service ' +
    'service_status shared size snippets socket spice ssd standby start started static ' +
    'status stop stopped storage sys tag tasks threads type unprivileged unsafe up usb usb3 ' +
    'user vendor veth version virtio vlan vm vms vmdk vnets vztmpl wait_for_agent_lock ' +
    'wakeonlan writeback writethrough x-vga yes no zone zones '
  )
    .trim()
    .split(' '),
);
/** Fields in which names stand that may be keys elsewhere. */
const nameFields = new Set('group name node pool poolid sid storage tokenid userid'.split(' '));

const isOwn: readonly RegExp[] = [
  /^-?\d+(?:\.\d+)*(?:[kmgt](?:i?b)?)?$/i,
  /^(?:vm|base|subvol)-\d+-(?:disk|cloudinit|state)(?:-\d+)?$/,
  /^(?:scsi|ide|sata|virtio|net|mp|unused|usb|hostpci|serial|efidisk|tpmstate|vmbr|nvme|eth|eno)\d+$/,
  /^(?:VM|Sys|Datastore|Pool|Realm|User|Group|Permissions|SDN|Mapping)\.[A-Za-z.]+$/,
  /^(?:kr_|KR_PVE_|[a-z]$)/,
];
const parts = new RegExp(
  [
    String.raw`(?<mac>\b(?:[0-9a-f]{2}:){5,}[0-9a-f]{2}\b)`,
    String.raw`(?<user>[\w.+-]+@[\w.-]+(?:![\w.-]+)?)`,
    String.raw`(?<ip>\b(?:\d{1,3}\.){3}\d{1,3}\b)`,
    String.raw`(?<ip6>(?<![\w:])(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}(?![\w:]))`,
    String.raw`(?<word>[a-z0-9_][\w.-]*|\P{ASCII}+)`,
  ].join('|'),
  'giu',
);

/** Everything nested in an answer, with the field it stands in. */
function* within(value: unknown, field = ''): Generator<{ field: string; text: string }> {
  if (typeof value === 'string') yield { field, text: value };
  if (Array.isArray(value)) for (const one of value) yield* within(one, field);
  else if (typeof value === 'object' && value !== null) {
    for (const [key, one] of Object.entries(value)) yield* within(one, key);
  }
}

const hexOf = (index: number, length: number): string => index.toString(16).padStart(length, '0');

/** A stand-in has the form of what it hides, so that whoever reads it as Proxmox's still can. */
const forms: Readonly<Record<string, (index: number, value: string) => string>> = {
  name: (index) => `name${index}`,
  hex: (index, { length }) => hexOf(index, length),
  mac: (index, { length }) =>
    `02${hexOf(index, ((length + 1) / 3) * 2 - 2).replaceAll(/../g, ':$&')}`,
  user: (index) => `user${index}@pam`,
  ip: (index) => `192.0.${2 + Math.floor(index / 250)}.${1 + (index % 250)}`,
  ip6: (index) => `2001:db8::${index.toString(16)}`,
};

function pseudonyms(names: ReadonlySet<string>) {
  const known = new Map<string, string>();
  const counts = new Map<string, number>();
  function standIn(kind: string, value: string): string {
    const key = `${kind} ${value.toLowerCase()}`;
    const index = (counts.get(kind) ?? 0) + 1;
    const name = known.get(key) ?? forms[kind]?.(index, value) ?? 'hidden';
    if (!known.has(key)) counts.set(kind, index);
    known.set(key, name);
    return name;
  }
  function word(value: string): string {
    const isPlain = ownWords.has(value.toLowerCase()) || isOwn.some((form) => form.test(value));
    if (isPlain && !names.has(value)) return value;
    return standIn(/^[0-9a-f]{8,}$/i.test(value) ? 'hex' : 'name', value);
  }
  const text = (value: string): string =>
    value.replaceAll(parts, (found: string, ...rest: unknown[]) => {
      const groups = rest.at(-1) as Record<string, string | undefined>;
      const [kind = 'word'] = Object.keys(groups).filter((one) => groups[one] !== undefined);
      return kind === 'word' ? word(found) : standIn(kind, found);
    });
  /** Keys are the API's own, but where they are names or paths. */
  const key = (value: string): string =>
    value.startsWith('/') || names.has(value) || /[@!]/.test(value) ? text(value) : value;
  /** A field of plain words, unless a name has come into it. */
  const plain = (value: string): string =>
    [...value.matchAll(parts)].some(([one]) => names.has(one)) ? text(value) : value;
  return { text, key, plain };
}

function hidden(value: unknown, by: ReturnType<typeof pseudonyms>, field = ''): unknown {
  if (typeof value === 'string') return plainFields.has(field) ? by.plain(value) : by.text(value);
  if (Array.isArray(value)) return value.map((one) => hidden(one, by, field));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [by.key(key), hidden(one, by, key)]),
  );
}

const ofCluster = [
  '/version',
  '/access/permissions',
  '/cluster/status',
  '/cluster/resources',
  '/cluster/config/nodes',
  '/cluster/config/qdevice',
  '/cluster/options',
  '/cluster/ha/status/manager_status',
  '/cluster/ha/status/current',
];
const ofNode = ['/status', '/config', '/network', '/qemu', '/lxc'];
/** Of each kind and node; configurations of more tell little that is new. */
const guestsMax = 3;

const Rows = z.array(z.looseObject({ type: z.string().optional(), name: z.string().optional() }));
const Guests = z.array(z.looseObject({ vmid: z.coerce.number() }));

/** Plain, under the names they have; for `record` alone. */
async function ask(api: PveApi): Promise<Answer[]> {
  const answers: Answer[] = [];
  async function one(path: string, params?: Params): Promise<unknown> {
    const asked = { path, ...(params && { params }) };
    try {
      const data = (await api.get(z.unknown(), path, params ? { params } : {})) ?? null;
      answers.push({ ...asked, data });
      return data;
    } catch (error) {
      if (!(error instanceof PveApiError)) throw error;
      answers.push({ ...asked, refused: `${error.code}: ${error.message}` });
      return null;
    }
  }
  for (const path of ofCluster) await one(path);
  await one('/cluster/metrics/export', { history: '0' });
  const status = answers.find(({ path }) => path === '/cluster/status')?.data;
  const rows = Rows.safeParse(status).data ?? [];
  for (const { name = '' } of rows.filter(({ type }) => type === 'node')) {
    const base = `/nodes/${name}`;
    for (const path of ofNode) {
      const listed = Guests.safeParse(await one(`${base}${path}`)).data ?? [];
      for (const { vmid } of listed.slice(0, guestsMax)) await one(`${base}${path}/${vmid}/config`);
    }
    await one(`${base}/journal`, { lastentries: '1' });
    await one(`${base}/tasks`, { source: 'active' });
  }
  return answers;
}

export async function record(api: PveApi, version: string): Promise<Recording> {
  const answers = await ask(api);
  const names = new Set<string>();
  for (const { field, text } of within(answers.map(({ data }) => data))) {
    // One that is called as Proxmox calls its own things tells nothing of anybody.
    if (nameFields.has(field) && !ownWords.has(text) && !/^\d+$/.test(text)) names.add(text);
  }
  const by = pseudonyms(names);
  return {
    format: 1,
    version,
    answers: answers.map(({ path, params, data, refused }) => ({
      path: by.key(path),
      ...(params && { params }),
      ...(refused === undefined ? { data: hidden(data, by) } : { refused: by.text(refused) }),
    })),
  };
}
