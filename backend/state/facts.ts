/**
 * What of a node or guest is worth keeping for ever: placement, capacity, tags, locks, HA; the
 * rest of a sample is a metric. Answers changes only, so that `facts_history` grows with events
 * and not with time. A guest that vanished is a fact too: its placement becomes null.
 */
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { NodeRecord } from './fleet.ts';
import type { StateInput } from './inputs.ts';

export type FactsChange = {
  cluster: string;
  entity: 'node' | 'guest';
  entityId: string;
  facts: object;
};

/** entity key -> the text last recorded. */
export type FactsSeen = Map<string, string>;

const guestFacts = (node: string, guest: GuestSample) => ({
  node,
  kind: guest.kind,
  name: guest.name,
  state: guest.state,
  tags: guest.tags,
  lock: guest.lock,
  haState: guest.haState,
  cpuCount: guest.cpuCount,
  memoryTotalBytes: guest.memoryTotalBytes,
});

function note(seen: FactsSeen, change: FactsChange): FactsChange[] {
  const key = `${change.cluster}/${change.entity}/${change.entityId}`;
  const text = JSON.stringify(change.facts);
  if (seen.get(key) === text) return [];
  seen.set(key, text);
  return [change];
}

/**
 * Changes that `input` brings, judged against the record as it was before `reduce`; `seen` is
 * updated in place.
 */
export function factsChanges(
  seen: FactsSeen,
  before: NodeRecord | undefined,
  input: StateInput,
): FactsChange[] {
  if (input.kind === 'hello') {
    const { cluster, node, body } = input.message;
    const { clockOffsetMs: _, runningGuests: __, ...lasting } = body.facts;
    const facts = { ...lasting, bootId: body.bootId, driver: body.driver };
    return note(seen, { cluster, entity: 'node', entityId: node, facts });
  }
  if (input.kind !== 'telemetry' || input.message.body.guests === null) return [];
  const { cluster, node, body } = input.message;
  const guests = body.guests ?? [];
  const present = new Set(guests.map((guest) => guest.id));
  const changed = guests.flatMap((guest) =>
    note(seen, {
      cluster,
      entity: 'guest',
      entityId: guest.id,
      facts: guestFacts(node, guest),
    }),
  );
  const gone = (before?.guests ?? []).filter(
    (guest) => !present.has(guest.id) && placedOn(seen, `${cluster}/guest/${guest.id}`) === node,
  );
  return [
    ...changed,
    ...gone.flatMap((guest) =>
      note(seen, { cluster, entity: 'guest', entityId: guest.id, facts: { node: null } }),
    ),
  ];
}

const placedOn = (seen: FactsSeen, key: string): string | null => {
  const text = seen.get(key);
  return text === undefined ? null : (JSON.parse(text) as { node: string | null }).node;
};
