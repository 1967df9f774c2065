/**
 * What of a node or guest is worth keeping for ever: placement, capacity, tags, locks, HA; the
 * rest of a sample is a metric. Answers changes only, so that `facts_history` grows with events
 * and not with time. A guest that vanished is a fact too: its placement becomes null.
 */
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { Driver, NodeFacts } from '../../broker/contract/facts.ts';
import { nodeKey } from '../../broker/contract/ids.ts';
import type { Message } from '../../broker/contract/messages.ts';
import type { Fleet, GuestRecord } from './fleet.ts';
import type { StateInput } from './inputs.ts';
import { outranks } from './reduce.ts';

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

const sameTags = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((tag, index) => tag === b[index]);

const isUnchanged = (known: GuestRecord | undefined, node: string, guest: GuestSample): boolean =>
  known !== undefined &&
  known.node === node &&
  lastingFields.every((name) => known[name] === guest[name]) &&
  sameTags(known.tags, guest.tags);

const guestFacts = (node: string, guest: GuestSample): object => ({
  node,
  ...Object.fromEntries(lastingFields.map((name) => [name, guest[name]])),
  tags: guest.tags,
});

function telemetryChanges(fleet: Fleet, message: Message<'telemetry'>): FactsChange[] {
  const { cluster, node, body } = message;
  if (body.guests === null) return [];
  const known = (id: string) => fleet.guests.get(`${cluster}/${id}`);
  const changed = body.guests.filter(
    (guest) => outranks(guest, node, known(guest.id)) && !isUnchanged(known(guest.id), node, guest),
  );
  const before = fleet.nodes.get(nodeKey(cluster, node))?.guests ?? [];
  const present = new Set(body.guests.map(({ id }) => id));
  const gone = before.filter(({ id }) => !present.has(id) && known(id)?.node === node);
  return [
    ...changed.map((guest) => ({ id: guest.id, facts: guestFacts(node, guest) })),
    ...gone.map(({ id }) => ({ id, facts: { node: null } })),
  ].map(({ id, facts }) => ({ cluster, entity: 'guest' as const, entityId: id, facts }));
}

type Known = {
  facts: NodeFacts;
  bootId: string | null;
  driver: Driver;
  guestFactsJson: string | null;
};

/** Without what changes at every look; with the configuration of the guests it runs. */
function nodeFacts({ facts, bootId, driver, guestFactsJson }: Known): object {
  const { clockOffsetMs: _, runningGuests: __, ...lasting } = facts;
  const guests = guestFactsJson === null ? null : (JSON.parse(guestFactsJson) as unknown);
  return { ...lasting, bootId, driver, guests };
}

function helloChanges(fleet: Fleet, message: Message<'hello'>): FactsChange[] {
  const { cluster, node, body } = message;
  const guestFactsJson = body.guests && JSON.stringify(body.guests);
  const facts = nodeFacts({ ...body, guestFactsJson });
  const known = fleet.nodes.get(nodeKey(cluster, node));
  if (known?.facts && known.driver) {
    const before = nodeFacts({ ...known, facts: known.facts, driver: known.driver });
    if (JSON.stringify(before) === JSON.stringify(facts)) return [];
  }
  return [{ cluster, entity: 'node', entityId: node, facts }];
}

/** Changes that `input` brings to the picture, which must not have folded it yet. */
export function factsChanges(fleet: Fleet, input: StateInput): FactsChange[] {
  if (input.kind === 'telemetry') return telemetryChanges(fleet, input.message);
  return input.kind === 'hello' ? helloChanges(fleet, input.message) : [];
}
