/**
 * What of a node or guest is worth keeping for ever: placement, capacity, tags, locks, HA; the
 * rest of a sample is a metric. Answers changes only, so that `facts_history` grows with events
 * and not with time. A guest that vanished is a fact too: its placement becomes null.
 */
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import { nodeKey } from '../../broker/contract/ids.ts';
import type { Message } from '../../broker/contract/messages.ts';
import type { Fleet, GuestRecord, NodeRecord } from './fleet.ts';
import type { StateInput } from './inputs.ts';
import { isSameList, outranks } from './reduce.ts';

export type FactsChange = {
  cluster: string;
  entity: 'node' | 'guest';
  entityId: string;
  facts: object;
};

const lastingFields = [
  'kind',
  'name',
  'state',
  'lock',
  'haState',
  'cpuCount',
  'memoryTotalBytes',
] as const satisfies readonly (keyof GuestSample)[];

const isUnchanged = (known: GuestRecord | undefined, node: string, guest: GuestSample): boolean =>
  known !== undefined &&
  known.node === node &&
  lastingFields.every((name) => known[name] === guest[name]) &&
  isSameList(known.tags, guest.tags);

const guestFacts = (node: string, guest: GuestSample): object => ({
  node,
  ...Object.fromEntries(lastingFields.map((name) => [name, guest[name]])),
  tags: guest.tags,
});

const guestChange = (cluster: string, entityId: string, facts: object): FactsChange => ({
  cluster,
  entity: 'guest',
  entityId,
  facts,
});

function telemetryChanges(fleet: Fleet, message: Message<'telemetry'>): FactsChange[] {
  const { cluster, node, body } = message;
  if (body.guests === null) return [];
  const known = (id: string) => fleet.guests.get(`${cluster}/${id}`);
  const changes: FactsChange[] = [];
  for (const guest of body.guests) {
    const placed = known(guest.id);
    if (!outranks(guest, node, placed) || isUnchanged(placed, node, guest)) continue;
    changes.push(guestChange(cluster, guest.id, guestFacts(node, guest)));
  }
  const before = fleet.nodes.get(nodeKey(cluster, node))?.guests ?? [];
  const { guests } = body;
  // The usual case: who was here is here, in the same order.
  if (before.every(({ id }, index) => guests[index]?.id === id)) return changes;
  const present = new Set(guests.map(({ id }) => id));
  for (const { id } of before) {
    if (present.has(id) || known(id)?.node !== node) continue;
    changes.push(guestChange(cluster, id, { node: null }));
  }
  return changes;
}

/** Without what changes at every look. */
function lasting({ facts, bootId, driver }: Pick<NodeRecord, 'bootId' | 'driver' | 'facts'>) {
  const { clockOffsetMs: _, runningGuests: __, ...rest } = facts ?? {};
  return { ...rest, bootId, driver };
}

function helloChanges(fleet: Fleet, message: Message<'hello'>): FactsChange[] {
  const { cluster, node, body } = message;
  const known = fleet.nodes.get(nodeKey(cluster, node));
  const facts = lasting(body);
  const isUnchangedNode =
    known !== undefined &&
    known.facts !== null &&
    known.guestFactsJson === (body.guests && JSON.stringify(body.guests)) &&
    JSON.stringify(lasting(known)) === JSON.stringify(facts);
  if (isUnchangedNode) return [];
  return [{ cluster, entity: 'node', entityId: node, facts: { ...facts, guests: body.guests } }];
}

/** Changes that `input` brings to the picture, which must not have folded it yet. */
export function factsChanges(fleet: Fleet, input: StateInput): FactsChange[] {
  if (input.kind === 'telemetry') return telemetryChanges(fleet, input.message);
  return input.kind === 'hello' ? helloChanges(fleet, input.message) : [];
}
