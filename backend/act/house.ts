/**
 * Where Kernreaktor itself lives: which node, and which guest on it, carries the backend, its
 * stores, the broker and the gateway. Three sources, any of which may only add: what daemons found
 * on their nodes, what this process knows of its own machine, and what an administrator answered.
 * Invariant: until the backend's own place is known, or said to be elsewhere, it is unknown, and
 * unknown bars power-offs. Pure.
 */
import type { NodeFacts } from '../../broker/contract/facts.ts';

export const houseParts = ['backend', 'mariadb', 'influxdb', 'broker', 'gateway'] as const;
export type HousePart = (typeof houseParts)[number];

/** The machine one part runs on, as this process can tell without asking anybody. */
export type Identity = {
  part: HousePart;
  macs: readonly string[];
  /** DMI product UUID, lower case. */
  systemUuid: string | null;
  addresses: readonly string[];
};

/** Where an administrator's answer about the own house is kept. */
export const houseSetting = 'own-house';

export type Place = { cluster: string; node: string; guest: string | null };
export type Resident = Place & { part: HousePart; by: string };

/** An administrator's word: these places, or `[]` for "on no machine of these clusters". */
export type HouseAnswer = readonly (Place & { part: HousePart })[];

export type SeenGuest = {
  id: string;
  macs: readonly string[] | null;
  systemUuid: string | null;
  addresses: readonly string[] | null;
};
export type SeenNode = {
  cluster: string;
  node: string;
  facts: NodeFacts | null;
  guests: readonly SeenGuest[];
};

const shares = (one: readonly string[] | null, other: readonly string[]): boolean =>
  one?.some((value) => other.includes(value)) ?? false;

const withoutPrefix = (address: string): string => address.split('/')[0] ?? address;

function isGuest(identity: Identity, guest: SeenGuest): boolean {
  const { macs, systemUuid, addresses } = identity;
  const isSameBoard = systemUuid !== null && guest.systemUuid === systemUuid;
  return isSameBoard || shares(guest.macs, macs) || shares(guest.addresses, addresses);
}

function isHost(identity: Identity, facts: NodeFacts | null): boolean {
  const { macs, systemUuid, addresses } = identity;
  const isSameBoard = systemUuid !== null && facts?.systemUuid === systemUuid;
  const links = facts?.links ?? [];
  const own = links.flatMap(({ address }) => (address === null ? [] : [withoutPrefix(address)]));
  const hasMac = links.some(({ mac }) => macs.includes(mac));
  return isSameBoard || hasMac || shares(own, addresses);
}

/** A guest bridged through its host shows both their cards: the guest is the nearer place. */
function placeOn(identity: Identity, { cluster, node, facts, guests }: SeenNode): Place[] {
  const guest = guests.find((one) => isGuest(identity, one));
  if (guest) return [{ cluster, node, guest: guest.id }];
  return isHost(identity, facts) ? [{ cluster, node, guest: null }] : [];
}

const keyOf = ({ cluster, node, guest, part }: Place & { part: HousePart }): string =>
  `${cluster}/${node}/${guest ?? ''}/${part}`;

export type House = {
  residents: readonly Resident[];
  /** Parts whose place nobody knows; the gateway may well be a box of its own. */
  unknown: readonly HousePart[];
};

export function locateHouse(
  nodes: readonly SeenNode[],
  identities: readonly Identity[],
  answer: HouseAnswer | null,
): House {
  const found: Resident[] = [
    ...(answer ?? []).map((place) => ({ ...place, by: 'answer' })),
    ...identities.flatMap((identity) =>
      nodes.flatMap((seen) =>
        placeOn(identity, seen).map((place) => ({ ...place, part: identity.part, by: 'machine' })),
      ),
    ),
    ...nodes.flatMap(({ cluster, node, facts }) =>
      (facts?.house ?? []).map(({ part, guest, by }) => ({ cluster, node, guest, part, by })),
    ),
  ];
  const residents = [...new Map(found.toReversed().map((one) => [keyOf(one), one])).values()];
  const wanted = new Set(identities.map(({ part }) => part));
  const isKnown = (part: HousePart): boolean =>
    answer !== null || residents.some((resident) => resident.part === part);
  return { residents, unknown: [...wanted].filter((part) => !isKnown(part)) };
}

export const residentsOf = (house: House, place: Omit<Place, 'guest'>): Resident[] =>
  house.residents.filter(({ cluster, node }) => cluster === place.cluster && node === place.node);

const partList = houseParts.join('|');

/**
 * `elsewhere`, or places separated by commas: `home/pve1` is a node, `home/pve1/100` a guest on
 * it, `mariadb@home/pve2` another part than the backend.
 */
export function parseHouseAnswer(text: string): HouseAnswer | { problem: string } {
  if (text.trim() === 'elsewhere') return [];
  const places: (Place & { part: HousePart })[] = [];
  for (const word of text.split(',').map((part) => part.trim())) {
    const match = new RegExp(`^(?:(${partList})@)?([^/@]+)/([^/@]+)(?:/([^/@]+))?$`).exec(word);
    const [, part = 'backend', cluster, node, guest] = match ?? [];
    if (cluster === undefined || node === undefined) {
      return {
        problem: `${word || 'an empty word'} is no place: write elsewhere, <cluster>/<node> or <cluster>/<node>/<guest>, with mariadb@ and so on in front for other parts than the backend`,
      };
    }
    places.push({ cluster, node, guest: guest ?? null, part: part as HousePart });
  }
  return places;
}
