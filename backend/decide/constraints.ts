/**
 * Who may stand beside whom: guests tagged `kr_anti_affinity_<group>` never share a node, guests
 * tagged `kr_affinity_<group>` stay on one. ProxLB's `plb_*` spellings mean the same. A constraint
 * that is already broken is not repaired here; no plan of ours ever breaks one.
 */
import type { Model } from './model.ts';

const groupTag = /^(?:kr|plb)_(anti_affinity|affinity)_(.+)$/;

/** Members of each group, and the groups of each guest; guests without tags cost nothing. */
export type Groups = Map<number, { isApart: boolean; members: number[] }[]>;

export function groupsOf(model: Pick<Model, 'guests'>): Groups {
  const byTag = new Map<string, { isApart: boolean; members: number[] }>();
  const groups: Groups = new Map();
  model.guests.forEach(({ tags }, guest) => {
    for (const tag of tags) {
      const [, kind, name] = groupTag.exec(tag) ?? [];
      if (kind === undefined) continue;
      const key = `${kind} ${name}`;
      const group = byTag.get(key) ?? { isApart: kind === 'anti_affinity', members: [] };
      byTag.set(key, group);
      group.members.push(guest);
      groups.set(guest, [...(groups.get(guest) ?? []), group]);
    }
  });
  return groups;
}

/**
 * Whether a guest may stand on a node as far as its groups go.
 * @param isWholeNode true when all guests of its node leave together, so that a group may follow
 */
export function mayStand(
  model: Model,
  guest: number,
  place: number,
  isWholeNode: boolean,
): boolean {
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
