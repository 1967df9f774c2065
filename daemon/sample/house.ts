/**
 * Which parts of Kernreaktor itself live on this host, by what only the host can see: the
 * backend's process and the guest whose cgroup holds it, and whose card the broker or the default
 * gateway answers with. It only ever adds to what the server finds out by itself, and it guesses
 * nothing: a part that it does not see is left out.
 */
import type { GuestFacts, NodeFacts } from '../../broker/contract/facts.ts';
import type { Clock } from '../../broker/contract/ports.ts';
import type { Files } from './files.ts';
import type { Addresses } from './links.ts';

export type House = NonNullable<NodeFacts['house']>;
type Resident = House[number];

export type HouseSources = {
  files: Files;
  addresses: () => Addresses;
  /** Addresses of the broker by name; empty when nobody can tell. */
  resolveBroker: () => Promise<readonly string[]>;
  clock: Pick<Clock, 'monotonicMs'>;
};

type Guests = readonly Pick<GuestFacts, 'id' | 'macs'>[] | null;

/** `/lxc/105/ns/...` of Proxmox VE, `/lxc.payload.web/...` of LXD and others. */
const guestOfCgroup = (cgroup: string): string | null =>
  /(?:^|[:/])lxc(?:\.payload\.|\/)([A-Za-z0-9][A-Za-z0-9_.-]*?)(?:\/|$)/m.exec(cgroup)?.[1] ?? null;

const serverRoles: ReadonlySet<string> = new Set(['start', 'backend', 'demo']);

/** `node ... kernreaktor.ts start`; the packaged server runs kernreaktor.js. */
export function isBackend(cmdline: string): boolean {
  const words = cmdline.split('\0').filter((word) => word !== '');
  const at = words.findIndex((word) => /(^|\/)kernreaktor\.(ts|js)$/.test(word));
  return at >= 0 && serverRoles.has(words[at + 1] ?? '');
}

/** A guest of another host is none of ours, whatever its cgroup is called. */
const known = (guests: Guests, guest: string | null): string | null =>
  guests?.some(({ id }) => id === guest) ? guest : null;

/** The guest of each backend's process, as its cgroup calls it; null for none. */
async function findBackends(files: Files): Promise<(string | null)[]> {
  const pids = ((await files.names('proc')) ?? []).filter((name) => /^\d+$/.test(name));
  const found: (string | null)[] = [];
  for (const pid of pids) {
    const cmdline = await files.text(`proc/${pid}/cmdline`);
    if (cmdline === null || !isBackend(cmdline)) continue;
    found.push(guestOfCgroup((await files.text(`proc/${pid}/cgroup`)) ?? ''));
  }
  return found;
}

/** `IP address  HW type  Flags  HW address ...` of /proc/net/arp. */
function cardsOf(arp: string, addresses: readonly string[]): string[] {
  const rows = arp.split('\n').map((line) => line.trim().split(/\s+/));
  return rows.flatMap(([ip = '', , , mac]) =>
    addresses.includes(ip) && mac !== undefined ? [mac.toLowerCase()] : [],
  );
}

/** Of /proc/net/route, where addresses are hexadecimal, last byte first. */
export function gatewaysOf(route: string): string[] {
  return route.split('\n').flatMap((line) => {
    const [, destination, gateway] = line.trim().split(/\s+/);
    if (destination !== '00000000' || !/^[0-9A-F]{8}$/.test(gateway ?? '')) return [];
    const bytes = (gateway ?? '').match(/../g)?.toReversed() ?? [];
    const address = bytes.map((byte) => Number.parseInt(byte, 16)).join('.');
    return address === '0.0.0.0' ? [] : [address];
  });
}

const guestWith = (guests: Guests, cards: readonly string[]): string | null =>
  guests?.find(({ macs }) => macs?.some((mac) => cards.includes(mac)))?.id ?? null;

const isLoopback = (address: string): boolean => address.startsWith('127.') || address === '::1';

/** Looking at every process costs; a backend does not move about. */
const backendsAgeMaxMs = 600_000;

export type HouseFinder = (guests: Guests) => Promise<House>;

export function createHouseFinder(sources: HouseSources): HouseFinder {
  const { files, addresses, resolveBroker, clock } = sources;
  let backends: { atMs: number; guests: (string | null)[] } | null = null;
  async function backendGuests(): Promise<(string | null)[]> {
    const nowMs = clock.monotonicMs();
    if (backends === null || nowMs - backends.atMs >= backendsAgeMaxMs) {
      backends = { atMs: nowMs, guests: await findBackends(files) };
    }
    return backends.guests;
  }
  return async (guests) => {
    const arp = (await files.text('proc/net/arp')) ?? '';
    const own = Object.values(addresses()).flatMap((all) => all?.map(({ address }) => address));
    const placeOf = (part: Resident['part'], at: readonly string[]): Resident[] => {
      if (at.some((one) => isLoopback(one) || own.includes(one))) {
        return [{ part, guest: null, by: 'address' }];
      }
      const guest = guestWith(guests, cardsOf(arp, at));
      return guest === null ? [] : [{ part, guest, by: 'mac' }];
    };
    const found = [
      ...(await backendGuests()).map((named): Resident => {
        const guest = known(guests, named);
        return { part: 'backend', guest, by: guest === null ? 'process' : 'cgroup' };
      }),
      ...placeOf('broker', await resolveBroker()),
      ...placeOf('gateway', gatewaysOf((await files.text('proc/net/route')) ?? '')),
    ];
    const keyOf = ({ part, guest }: Resident): string => `${part} ${guest ?? ''}`;
    return [...new Map(found.map((one) => [keyOf(one), one])).values()];
  };
}
