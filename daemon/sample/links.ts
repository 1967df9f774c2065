/**
 * Which network links carry traffic of the real world, and with which addresses. On a
 * virtualisation host the address usually stands on a bridge or bond above the card, so a
 * physical link answers with the address of the master it belongs to.
 */
import { isIPv4 } from 'node:net';
import type { NetworkInterfaceInfo } from 'node:os';
import { MacAddress } from '../../broker/contract/facts.ts';
import type { Files } from './files.ts';

export type Link = {
  name: string;
  mac: string;
  driver: string | null;
  /** IPv4 with prefix length. */
  address: string | null;
  broadcast: string | null;
};

/** What `os.networkInterfaces` answers. */
export type Addresses = NodeJS.Dict<NetworkInterfaceInfo[]>;

const classNet = 'sys/class/net';
/** Names the kernel and the usual tools give to links that end inside the host. */
const virtualName =
  /^(lo|veth|docker|br-|virbr|vmbr|lxcbr|lxdbr|incusbr|cni|flannel|cali|tap|tun|wg|dummy|ifb|fw(br|ln|pr)|bond\d|team\d|sit\d|gre)|[.:]/;
const mastersMax = 4;

/**
 * Of `names`, those with hardware behind them. Inside a container no link has any; there
 * everything that does not look virtual counts, since it is all the host shows.
 */
export async function physicalLinks(files: Files, names: readonly string[]): Promise<Set<string>> {
  const found = new Set<string>();
  for (const name of names) {
    if (await files.exists(`${classNet}/${name}/device`)) found.add(name);
  }
  return found.size > 0 ? found : new Set(names.filter((name) => !virtualName.test(name)));
}

const toNumber = (address: string): number =>
  address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);

const toAddress = (value: number): string =>
  [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');

/** All host bits set; null where a link has no broadcast (point to point). */
export function broadcastOf(cidr: string): string | null {
  const [address = '', length = ''] = cidr.split('/');
  const prefix = Number(length);
  if (!isIPv4(address) || !/^\d{1,2}$/.test(length) || prefix < 1 || prefix > 30) return null;
  const size = 2 ** (32 - prefix);
  return toAddress(Math.floor(toNumber(address) / size) * size + size - 1);
}

/** Whether this address lies in the network of that one, `192.168.7.11/24`. */
export function isWithin(cidr: string | null, address: string): boolean {
  const [own = '', length = ''] = (cidr ?? '').split('/');
  const prefix = Number(length);
  if (!isIPv4(own) || !isIPv4(address) || !/^\d{1,2}$/.test(length) || prefix > 32) return false;
  const size = 2 ** (32 - prefix);
  return Math.floor(toNumber(own) / size) === Math.floor(toNumber(address) / size);
}

const firstIPv4 = (addresses: Addresses, name: string): string | null =>
  addresses[name]?.find((entry) => entry.family === 'IPv4' && !entry.internal)?.cidr ?? null;

/** The link's own address, else that of the bridge or bond above it. */
async function addressOf(files: Files, addresses: Addresses, link: string): Promise<string | null> {
  let name: string | null = link;
  for (let level = 0; name !== null && level < mastersMax; level += 1) {
    const address = firstIPv4(addresses, name);
    if (address !== null) return address;
    name = await files.linkName(`${classNet}/${name}/master`);
  }
  return null;
}

/** All physical links, or null when neither /sys nor the kernel's address list names any. */
export async function readLinks(files: Files, addresses: Addresses): Promise<Link[] | null> {
  const names = (await files.names(classNet)) ?? Object.keys(addresses);
  if (names.length === 0) return null;
  const links: Link[] = [];
  for (const name of [...(await physicalLinks(files, names))].sort()) {
    const mac = (await files.line(`${classNet}/${name}/address`)) ?? addresses[name]?.[0]?.mac;
    if (!MacAddress.safeParse(mac).success || mac === undefined) continue;
    const address = await addressOf(files, addresses, name);
    links.push({
      name,
      mac,
      driver: await files.linkName(`${classNet}/${name}/device/driver`),
      address,
      broadcast: address === null ? null : broadcastOf(address),
    });
  }
  return links;
}
