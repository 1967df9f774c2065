/**
 * Changes that could turn a refusal into an action, made to the inputs of a decision: later, guests
 * freed or smaller, more room or another node. Pure; the situation that is given stays as it is.
 */
import type { GuestSample, NodeValues } from '../../broker/contract/telemetry.ts';
import type { NodeRecord } from '../state/fleet.ts';
import { unmeasuredGuest } from '../state/reduce.ts';
import type { Forecast } from './forecast.ts';
import { factorOf, type Situation } from './model.ts';

export type Change =
  | { what: 'later'; ms: number }
  | { what: 'moves-end' }
  | { what: 'free'; guests: string[] }
  | { what: 'room'; node: string; cpuUnits: number; memoryBytes: number }
  | { what: 'another-node'; like: string }
  | { what: 'smaller'; node: string; share: number; cpuUnits: number; memoryBytes: number }
  | { what: 'unprotected'; node: string };

const replaced = (situation: Situation, node: NodeRecord): Situation => ({
  ...situation,
  nodes: situation.nodes.map((one) => (one.node === node.node ? node : one)),
});

export const find = ({ nodes }: Situation, name: string): NodeRecord | undefined =>
  nodes.find(({ node }) => node === name);

function later(situation: Situation, ms: number): Situation {
  const nodes = situation.nodes.map((node) => ({
    ...node,
    sampleAtMs: node.sampleAtMs === null ? null : node.sampleAtMs + ms,
    values: node.values && {
      ...node.values,
      uptimeMs: node.values.uptimeMs === null ? null : node.values.uptimeMs + ms,
    },
  }));
  return { ...situation, nodes, nowMs: situation.nowMs + ms };
}

/** The guests run, unlocked, untagged, undescribed, and as if they had never moved. */
function freed(situation: Situation, ids: readonly string[]): Situation {
  const { cluster, history } = situation;
  const nodes = situation.nodes.map((node) => {
    if (!node.guests?.some(({ id }) => ids.includes(id))) return node;
    const guests = node.guests.map((guest) =>
      ids.includes(guest.id)
        ? { ...guest, state: 'running' as const, lock: null, haState: null, tags: [] }
        : guest,
    );
    return { ...node, guests, guestFactsJson: null };
  });
  const lastMovedAtMs = new Map(history.lastMovedAtMs);
  for (const id of ids) lastMovedAtMs.delete(`${cluster.id}/${id}`);
  const moves = new Map(history.moves);
  const known = moves.get(cluster.id) ?? [];
  moves.set(
    cluster.id,
    known.filter(({ guest }) => !ids.includes(guest)),
  );
  return { ...situation, nodes, history: { ...history, lastMovedAtMs, moves } };
}

const capacityOf = (record: NodeRecord): number =>
  (record.values?.cpuCount ?? 0) * factorOf(record);

/** What a node uses when so much less runs there; what is unknown stays unknown. */
function lessUsed(
  record: NodeRecord,
  values: NodeValues,
  { cpuUnits, memoryBytes }: { cpuUnits: number; memoryBytes: number },
): NodeValues {
  const { cpuRatio, memoryUsedBytes } = values;
  const less = cpuUnits / capacityOf(record);
  return {
    ...values,
    cpuRatio: cpuRatio === null ? null : Math.max(0, cpuRatio - less),
    memoryUsedBytes: memoryUsedBytes === null ? null : Math.max(0, memoryUsedBytes - memoryBytes),
  };
}

/** The node and its guests use less, each guest its share. */
function roomier(situation: Situation, { node, cpuUnits, memoryBytes }: Room): Situation {
  const record = find(situation, node);
  if (!record?.values) return situation;
  const { cpuRatio, memoryUsedBytes } = record.values;
  if (cpuRatio === null || memoryUsedBytes === null || capacityOf(record) <= 0) return situation;
  const values = lessUsed(record, record.values, { cpuUnits, memoryBytes });
  const kept = cpuRatio > 0 ? (values.cpuRatio ?? 0) / cpuRatio : 1;
  const guests =
    record.guests?.map((guest) => ({
      ...guest,
      cpuRatio: guest.cpuRatio === null ? null : guest.cpuRatio * kept,
    })) ?? null;
  return replaced(situation, { ...record, values, guests });
}

/** A guest's forecast of a share less. */
const lessOf = (forecast: Forecast, kept: number): Forecast => ({
  ...forecast,
  mean: forecast.mean * kept,
  variance: forecast.variance * kept ** 2,
  level: forecast.level * kept,
  trend: forecast.trend * kept,
  offset: forecast.offset * kept,
  shape: null,
});

/** All guests of the node are smaller, and have long been. */
function smaller(situation: Situation, { node, share, cpuUnits, memoryBytes }: Smaller): Situation {
  const record = find(situation, node);
  if (!record?.values) return situation;
  const kept = 1 - share;
  const by = (value: number | null): number | null => (value === null ? null : value * kept);
  const guests = (record.guests ?? []).map((guest) => ({
    ...guest,
    cpuRatio: by(guest.cpuRatio),
    memoryUsedBytes: by(guest.memoryUsedBytes),
    memoryTotalBytes: by(guest.memoryTotalBytes),
  }));
  const values = lessUsed(record, record.values, { cpuUnits, memoryBytes });
  const { cluster, history } = situation;
  const known = new Map(history.forecasts.get(cluster.id));
  for (const { id } of guests) {
    const forecast = known.get(id);
    if (forecast) known.set(id, lessOf(forecast, kept));
  }
  const forecasts = new Map(history.forecasts).set(cluster.id, known);
  return {
    ...replaced(situation, { ...record, values, guests }),
    history: { ...history, forecasts },
  };
}

/** A node that is awake, of the same make, with one guest that uses next to nothing. */
function joined(situation: Situation, like: string): Situation {
  const model = find(situation, like);
  if (!model?.values) return situation;
  const values = { ...model.values, cpuRatio: 0, memoryUsedBytes: 0 };
  const guest: GuestSample = {
    ...unmeasuredGuest(`${like}-another-guest`),
    state: 'running',
    cpuCount: 1,
    cpuRatio: 0,
    memoryUsedBytes: 0,
    memoryTotalBytes: 0,
  };
  const extra: NodeRecord = { ...model, node: `${like}-another`, values, guests: [guest] };
  return { ...situation, nodes: [...situation.nodes, { ...extra, guestFactsJson: null }] };
}

type Room = Extract<Change, { what: 'room' }>;
type Smaller = Extract<Change, { what: 'smaller' }>;

/** The inputs as they would be after a change. */
export function changed(situation: Situation, change: Change): Situation {
  if (change.what === 'later') return later(situation, change.ms);
  if (change.what === 'free') return freed(situation, change.guests);
  if (change.what === 'room') return roomier(situation, change);
  if (change.what === 'another-node') return joined(situation, change.like);
  if (change.what === 'smaller') return smaller(situation, change);
  if (change.what === 'moves-end') {
    const movesInFlight = new Map(situation.history.movesInFlight);
    movesInFlight.delete(situation.cluster.id);
    return { ...situation, history: { ...situation.history, movesInFlight } };
  }
  const node = find(situation, change.node);
  return node ? replaced(situation, { ...node, protected: false }) : situation;
}

const cores = (units: number): string => `${units.toFixed(1)} cores`;
const megabytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MB`;

function textOf(change: Change): string {
  if (change.what === 'later') return `${Math.ceil(change.ms / 1000)} s more like this`;
  if (change.what === 'moves-end') return 'the moves under way end';
  if (change.what === 'free') return `${change.guests.join(', ')} free to move`;
  if (change.what === 'another-node') return `another node like ${change.like} awake`;
  if (change.what === 'unprotected') return `${change.node} not protected`;
  const { node, cpuUnits, memoryBytes } = change;
  const less = `using ${cores(cpuUnits)} and ${megabytes(memoryBytes)} less`;
  return change.what === 'smaller' ? `the guests of ${node} ${less}` : `${node} ${less}`;
}

export const flipText = (changes: readonly Change[]): string => changes.map(textOf).join(', and ');
