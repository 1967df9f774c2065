/**
 * What this process can tell of the machines that carry Kernreaktor: its own, and those of the
 * stores and the broker it was told to use. Read once at the start; a part that was not told to
 * run elsewhere is part of this process. It judges nothing (act/house.ts does).
 */
import { lookup } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import type { HousePart, Identity } from './act/house.ts';
import type { Settings } from './config.ts';

/** Bridges of container engines have the same address on every host. */
const isEverywhere = (name: string): boolean =>
  /^(lo|docker|br-|veth|virbr|cni|flannel|podman)/.test(name);

const readOrNull = (path: string): Promise<string | null> =>
  readFile(path, 'utf8').catch(() => null);

async function ownIdentity(): Promise<Identity> {
  const cards = Object.entries(networkInterfaces())
    .filter(([name]) => !isEverywhere(name))
    .flatMap(([, addresses]) => addresses ?? [])
    .filter(({ internal }) => !internal);
  // Only root may read it, and some boards have none.
  const board = await readOrNull('/sys/class/dmi/id/product_uuid');
  return {
    part: 'backend',
    macs: [...new Set(cards.map(({ mac }) => mac.toLowerCase()))],
    systemUuid: board?.trim().toLowerCase() ?? null,
    addresses: cards.filter(({ family }) => family === 'IPv4').map(({ address }) => address),
  };
}

const isLoopback = (address: string): boolean => address.startsWith('127.') || address === '::1';

/** `IP address  HW type  Flags  HW address ...`: the card a neighbour answered with. */
const cardOf = (arp: string, address: string): string[] =>
  arp
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([ip, , , mac]) => ip === address && mac !== '00:00:00:00:00:00')
    .flatMap(([, , , mac]) => mac?.toLowerCase() ?? []);

/** A store on this machine shares its fate; one elsewhere has a place of its own. */
async function remoteIdentity(part: HousePart, url: string | undefined): Promise<Identity[]> {
  if (url === undefined) return [];
  const { hostname } = new URL(url);
  const found = await lookup(hostname, { all: true }).catch(() => []);
  const addresses = found.map(({ address }) => address).filter((address) => !isLoopback(address));
  if (found.length > 0 && addresses.length === 0) return [];
  const arp = (await readOrNull('/proc/net/arp')) ?? '';
  return [
    { part, macs: addresses.flatMap((one) => cardOf(arp, one)), systemUuid: null, addresses },
  ];
}

export async function readIdentities(settings: Settings): Promise<Identity[]> {
  const remote = await Promise.all([
    remoteIdentity('mariadb', settings.KR_SQL_URL),
    remoteIdentity('influxdb', settings.KR_INFLUX_URL),
    remoteIdentity('broker', settings.KR_MQTT_URL),
  ]);
  return [await ownIdentity(), ...remote.flat()];
}
