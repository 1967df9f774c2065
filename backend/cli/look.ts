/** `status`, `nodes`, `guests`, `commands`, `why`: what is so, and why nothing else is. */
import { z } from 'zod';
import { bytes, dash, duration, orDash, percent, power } from '../format.ts';
import type { ClientApi } from './api.ts';
import { allGuests, allNodes, allOf, findSubject } from './find.ts';
import { type Cell, json, number, table } from './output.ts';
import { ClusterRow, CommandRow, Decision, type GuestRow, type NodeRow, pageOf } from './views.ts';

export type Filter = { cluster?: string; state?: string; json?: boolean };

const fits = (row: { cluster: string; state: string }, { cluster, state }: Filter): boolean =>
  (cluster === undefined || row.cluster === cluster) &&
  (state === undefined || row.state.toLowerCase() === state.toLowerCase());

const memory = (row: { memoryUsedBytes: number | null; memoryTotalBytes: number | null }): string =>
  row.memoryUsedBytes === null || row.memoryTotalBytes === null
    ? dash
    : `${bytes(row.memoryUsedBytes)} of ${bytes(row.memoryTotalBytes)}`;

export const nodeTable = (rows: readonly NodeRow[]): string =>
  table(
    ['node', 'state', 'cpu', 'memory', 'guests', 'power', 'sample'],
    rows.map((row): Cell[] => [
      `${row.cluster}/${row.id}`,
      row.state,
      number(orDash(row.cpuRatio, percent)),
      number(memory(row)),
      number(orDash(row.guestCount, String)),
      number(power(row)),
      number(orDash(row.ageMs, (ms) => `${duration(ms)} ago`)),
    ]),
  );

const guestTable = (rows: readonly GuestRow[]): string =>
  table(
    ['guest', 'name', 'state', 'node', 'cpu', 'memory'],
    rows.map((row): Cell[] => [
      `${row.cluster}/${row.id}`,
      row.name,
      row.state,
      row.node,
      number(orDash(row.cpuRatio, percent)),
      number(memory(row)),
    ]),
  );

export async function showNodes(api: ClientApi, filter: Filter): Promise<string> {
  const rows = (await allNodes(api)).filter((row) => fits(row, filter));
  return filter.json ? json(rows) : nodeTable(rows);
}

export async function showGuests(api: ClientApi, filter: Filter): Promise<string> {
  const rows = (await allGuests(api)).filter((row) => fits(row, filter));
  return filter.json ? json(rows) : guestTable(rows);
}

export async function showCommands(
  api: ClientApi,
  { cluster, state, json: isJson, limit }: Filter & { limit: string },
): Promise<string> {
  const asked = new URLSearchParams({
    limit,
    ...(cluster === undefined ? {} : { cluster }),
    ...(state === undefined ? {} : { state: state.toUpperCase() }),
  });
  const path = `/api/v1/commands?${asked.toString()}`;
  const { items } = await api.ask(pageOf(CommandRow), { method: 'GET', path });
  if (isJson) return json(items);
  return table(
    ['command', 'what', 'target', 'state', 'why'],
    items.map((row) => [
      row.id,
      row.kind,
      `${row.cluster}/${row.target.id}`,
      row.state.toLowerCase(),
      row.stateReason ?? '',
    ]),
  );
}

const Hold = z.object({ all: z.boolean(), clusters: z.array(z.string()) });

const statesText = (states: Record<string, number>): string =>
  Object.entries(states)
    .map(([state, count]) => `${count} ${state}`)
    .join(', ') || 'no node';

export async function showStatus(
  api: ClientApi,
  { json: isJson }: { json?: boolean },
): Promise<string> {
  const clusters = await allOf(api, pageOf(ClusterRow), 'clusters');
  const hold = await api.ask(Hold, { method: 'GET', path: '/api/v1/hold' });
  const inState = async (state: string) => {
    const path = `/api/v1/commands?limit=100&state=${state}`;
    return (await api.ask(pageOf(CommandRow), { method: 'GET', path })).items;
  };
  const doubtful = await inState('INDETERMINATE');
  const waiting = await inState('PLANNED');
  if (isJson) return json({ clusters, hold, indeterminate: doubtful, planned: waiting });
  const lines = [
    table(
      ['cluster', 'nodes', 'guests', 'by itself', 'hold'],
      clusters.map((row): Cell[] => [
        row.id,
        statesText(row.nodeStates),
        number(String(row.guestCount)),
        row.autonomy['default'] ?? 'recommend',
        hold.all || row.hold ? 'HOLD' : '',
      ]),
    ),
  ];
  for (const { id, kind, target } of waiting) {
    lines.push(`proposed: ${kind} ${target.id}; kernreaktor approve ${id}, or cancel`);
  }
  for (const { id, kind, target } of doubtful) {
    lines.push(`in doubt: ${kind} ${target.id}; look, then: kernreaktor resolve ${id}`);
  }
  return lines.join('\n');
}

/** How many decisions are looked through for the last word about somebody. */
const decisionsMax = 50;

type Told = z.infer<typeof Decision>;

const factText = ({ name, value }: { name: string; value: unknown }): string =>
  `${name} ${String(value)}`;

function intentLines({ rule, reason, alternatives, predicted, margin }: Told['intents'][number]) {
  return [
    `${rule}: ${reason}.`,
    ...alternatives.map(({ what, rejectedBecause }) => `  not ${what}: ${rejectedBecause}.`),
    ...(predicted.length > 0
      ? [`  expected after it: ${predicted.map(factText).join(', ')}.`]
      : []),
    ...(margin ? [`  better than doing nothing by ${factText(margin)}.`] : []),
  ];
}

/** What was measured some minutes later, beside what had been expected. */
const measuredLines = ({ measured }: Told, target: string): string[] =>
  (measured ?? [])
    .filter((one) => one.target === target)
    .flatMap(({ facts }) =>
      facts.map(
        ({ name, predicted, value }) =>
          `  ${name} was expected to be ${String(predicted)}, and ` +
          (value === null
            ? 'nobody measured it.'
            : `${factText({ name: 'was', value })} some minutes later.`),
      ),
    );

function refusalLines({ rule, reason, flip, verified }: Told['nonActions'][number]): string[] {
  return [
    `Left alone by ${rule}: ${reason}.`,
    ...(flip === null ? [] : [`  It would change with: ${flip}.`]),
    ...(verified === undefined ? [] : [`  Tried on the same inputs, it acts with: ${verified}.`]),
  ];
}

/** The newest decision that says something about a node or guest, in plain sentences. */
export async function showWhy(
  api: ClientApi,
  wanted: string,
  { json: isJson }: { json?: boolean },
): Promise<string> {
  const { cluster, id } = await findSubject(api, wanted);
  const path = `/api/v1/decisions?cluster=${encodeURIComponent(cluster)}&limit=${decisionsMax}`;
  const listed = pageOf(z.looseObject({ id: z.string() }));
  const { items } = await api.ask(listed, { method: 'GET', path });
  for (const { id: decisionId } of items) {
    const asked = { method: 'GET', path: `/api/v1/decisions/${decisionId}` } as const;
    const decision = await api.ask(Decision, asked);
    const wished = decision.intents.filter(({ target }) => target.id === id);
    const left = decision.nonActions.filter(({ subject }) => subject.id === id);
    if (wished.length + left.length === 0) continue;
    if (isJson) return json({ ...decision, intents: wished, nonActions: left });
    return [
      `${decision.at}, ${decision.outcome} (decision ${decision.id})`,
      ...wished.flatMap(intentLines),
      ...(wished.length > 0 ? measuredLines(decision, id) : []),
      ...left.flatMap(refusalLines),
    ].join('\n');
  }
  if (isJson) return json(null);
  return items.length === 0
    ? `The engine has not decided anything for ${cluster} yet: it looks every 10 s.`
    : `None of the last ${items.length} decisions of ${cluster} speaks of ${id}.`;
}
