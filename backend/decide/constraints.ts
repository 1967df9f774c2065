/**
 * Who may stand where and beside whom, by tags, descriptions and what moved lately:
 *
 *   kr_ignore           is never moved                    (first that applies wins, in this order)
 *   kr_pin_<node>       only on the nodes that such tags name; one that names none binds it here
 *   kr_anti_affinity_g  never shares a node with its group
 *   kr_affinity_g       stays on one node with its group
 *
 * ProxLB's `plb_*` spellings mean the same and are read where a guest has no `kr_` tag of that
 * kind. A constraint that is already broken is not repaired here; no plan of ours ever breaks one.
 */
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { NodeRecord } from '../state/fleet.ts';
import { barredFrom, type GuestRule } from './guest-rules.ts';
import type { Model } from './model.ts';

const groupTag = /^(kr|plb)_(anti_affinity|affinity)_(.+)$/;
const pinTag = /^(kr|plb)_pin(?:_(.+))?$/;
const ignoreTag = /^(kr|plb)_ignore/;

/** Tags of one kind: ours where there is any, else ProxLB's. */
function preferred<T extends { by: string }>(found: readonly T[]): T[] {
  const own = found.filter(({ by }) => by === 'kr');
  return own.length > 0 ? own : [...found];
}

export const isIgnored = ({ tags }: GuestSample): boolean =>
  tags.some((tag) => ignoreTag.test(tag));

/** Nodes that a guest is pinned to, null without a pin. */
export function pinsOf({ tags }: GuestSample): ReadonlySet<string> | null {
  const found = tags.flatMap((tag) => {
    const [, by, node = ''] = pinTag.exec(tag) ?? [];
    return by === undefined ? [] : [{ by, node }];
  });
  return found.length === 0 ? null : new Set(preferred(found).map(({ node }) => node));
}

/** What keeps a guest where it is whatever the moment, null when nothing does; pins aside. */
export function boundReason(guest: GuestSample, rule: GuestRule | null): string | null {
  if (guest.state !== 'running') return `is ${guest.state}`;
  if (guest.lock !== null) return `is locked (${guest.lock})`;
  if (guest.haState !== null) return 'is HA-managed';
  if (guest.tags.length > 0 && isIgnored(guest)) return 'is tagged to stay';
  if (guest.cpuRatio === null || guest.cpuCount === null || guest.memoryTotalBytes === null) {
    return 'has no known load';
  }
  return rule?.bound ?? null;
}

/** Tagged so that no other node is left for it. */
export function isPinnedTo(guest: GuestSample, node: string): boolean {
  const pins = guest.tags.length > 0 ? pinsOf(guest) : null;
  return pins !== null && ![...pins].some((name) => name !== '' && name !== node);
}

/** Members of each group, and the groups of each guest; guests without tags cost nothing. */
export type Groups = Map<number, { isApart: boolean; members: number[] }[]>;

export function groupsOf(model: Pick<Model, 'guests'>): Groups {
  const byTag = new Map<string, { isApart: boolean; members: number[] }>();
  const groups: Groups = new Map();
  model.guests.forEach(({ tags }, guest) => {
    if (tags.length === 0) return;
    const found = tags.flatMap((tag) => {
      const [, by, kind, name] = groupTag.exec(tag) ?? [];
      return by === undefined ? [] : [{ by, kind, name }];
    });
    for (const { kind, name } of ['affinity', 'anti_affinity'].flatMap((one) =>
      preferred(found.filter((tag) => tag.kind === one)),
    )) {
      const key = `${kind} ${name}`;
      const group = byTag.get(key) ?? { isApart: kind === 'anti_affinity', members: [] };
      byTag.set(key, group);
      group.members.push(guest);
      groups.set(guest, [...(groups.get(guest) ?? []), group]);
    }
  });
  return groups;
}

/** A person wants its guests away: for a maintenance, or for its proof. */
export const isEmptied = ({ evacuation }: NodeRecord): boolean =>
  evacuation !== null && evacuation !== undefined && evacuation.phase !== 'return';

/** What binds a guest to a node or keeps it from one, groups aside. */
function mayRun(model: Model, guest: number, place: number): boolean {
  const from = model.nodes[model.nodeOf[guest]!]!;
  const to = model.nodes[place]!;
  if (model.pins.get(guest)?.has(to.node) === false) return false;
  // A person's order outweighs that it left there lately.
  const isOrdered = isEmptied(from) || model.homeward.get(guest) === place;
  const leftAgoMs = model.recent.leftAgoMs(model.guests[guest]!.id, to.node);
  if (!isOrdered && leftAgoMs !== null && leftAgoMs < model.returnAfterMs) return false;
  const rule = model.rules[guest];
  return rule === undefined || rule === null || barredFrom(rule, from, to) === null;
}

/**
 * Whether a guest may stand on a node as far as tags, its description and its past go.
 * @param isWholeNode true when all guests of its node leave together, so that a group may follow
 */
export function mayStand(
  model: Model,
  guest: number,
  place: number,
  isWholeNode: boolean,
): boolean {
  if (!mayRun(model, guest, place)) return false;
  const groups = model.groups.get(guest);
  if (groups === undefined) return true;
  const from = model.nodeOf[guest]!;
  return groups.every(({ isApart, members }) =>
    members.every((other) => {
      if (other === guest) return true;
      const where = model.nodeOf[other]!;
      if (isApart) return where !== place;
      return where === place || (isWholeNode && where === from);
    }),
  );
}
