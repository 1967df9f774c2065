/**
 * A house in which nobody acts, recorded as the metrics store keeps it: by the minute the mean for
 * energy and the highest for overload. Handed on day by day, so that a month never stands in memory.
 */
import {
  columns,
  type FactsChange,
  peakColumn,
  type Reel,
  type Rows,
} from '../../../backend/backtest/reel.ts';
import type { World } from '../../../simulator/world/model.ts';
import { Live } from './live.ts';

const minuteMs = 60_000;
const steps = 1_440;
const dayMs = steps * minuteMs;

type Values = Record<(typeof columns)[number], number | null>;

const emptyRows = (names: readonly string[]): Rows => ({
  names,
  values: Object.fromEntries(
    [...columns, peakColumn].map((column) => [
      column,
      new Float64Array(names.length * steps).fill(NaN),
    ]),
  ),
});

/** One sample more of a minute: the mean so far, and the highest. */
function add(rows: Rows, cell: number, values: Values, count: number): void {
  for (const column of columns) {
    const value = values[column];
    if (value === null) continue;
    const into = rows.values[column]!;
    into[cell] = count === 0 ? value : (into[cell]! * count + value) / (count + 1);
  }
  const peaks = rows.values[peakColumn]!;
  const ratio = values.cpuRatio ?? NaN;
  peaks[cell] = count === 0 ? ratio : Math.max(peaks[cell]!, ratio);
}

/** What was true of everything when it began. */
export function factsAt(live: Live, atMs: number): FactsChange[] {
  const nodes = live.records.map(({ node, facts, guestFactsJson }): FactsChange => ({
    atMs,
    entity: 'node',
    id: node,
    facts: { ...facts, guests: JSON.parse(guestFactsJson ?? '[]') as unknown },
  }));
  const guests = live.records.flatMap(({ node, guests: told }) =>
    (told ?? []).map(({ id, kind, name, state, tags, lock, haState }): FactsChange => ({
      atMs,
      entity: 'guest',
      id,
      facts: { node, kind, name, state, tags, lock, haState },
    })),
  );
  return [...nodes, ...guests];
}

type Span = { startMs: number; days: number; roundMs: number };

/** @param onDay is handed each day when it is over, and the first time also what is true */
export function recordHouse(
  world: World,
  { startMs, days, roundMs }: Span,
  onDay: (reel: Reel, facts: FactsChange[]) => void,
): { kwh: number } {
  const live = new Live(world);
  const nodes = live.nodes.map(({ spec }) => spec.node);
  const guests = [...world.guests.values()].map(({ spec }) => spec.id);
  const rowOf = new Map(guests.map((id, row) => [id, row]));
  const perMinute = minuteMs / roundMs;
  let facts: FactsChange[] = [];
  for (let day = 0; day < days; day += 1) {
    const fromMs = startMs + day * dayMs;
    const [nodeRows, guestRows] = [emptyRows(nodes), emptyRows(guests)];
    const guestNode = new Int32Array(guests.length * steps).fill(-1);
    for (let step = 0; step < steps; step += 1) {
      for (let count = 0; count < perMinute; count += 1) {
        live.tell(fromMs + step * minuteMs + (count + 1) * roundMs, roundMs);
        live.records.forEach(({ values, guests: told }, place) => {
          add(nodeRows, place * steps + step, values!, count);
          for (const guest of told ?? []) {
            const cell = rowOf.get(guest.id)! * steps + step;
            guestNode[cell] = place;
            add(guestRows, cell, guest, count);
          }
        });
        if (facts.length === 0) facts = factsAt(live, startMs);
      }
    }
    const reel: Reel = {
      fromMs,
      stepMs: minuteMs,
      steps,
      nodes: nodeRows,
      guests: guestRows,
      guestNode,
    };
    onDay(reel, facts);
  }
  return { kwh: live.kwh() };
}
