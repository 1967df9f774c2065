/** Every guest in one table, however many: searched and sorted here, drawn only where seen. */
import { signal } from '@preact/signals';
import { useMemo } from 'preact/hooks';
import type { GuestView, NodeView } from '../../../http/views.ts';
import { type Page, query } from '../api.ts';
import { bytes, counted, dash, orDash, percent } from '../format.ts';
import { ProblemNote, Loading, Empty } from '../parts/feedback.tsx';
import { State } from '../parts/figures.tsx';
import { Choice, Search } from '../parts/filters.tsx';
import { VirtualRows } from '../parts/virtual-rows.tsx';
import { usePages, useQuery } from '../query.ts';
import { mayAct } from '../session.ts';

const search = signal('');
const shownState = signal('');
type Column = 'name' | 'node' | 'state' | 'cpuRatio' | 'memoryUsedBytes';
const sorting = signal<{ by: Column; isDown: boolean }>({ by: 'name', isDown: false });

const keyOf = (guest: GuestView): string => `${guest.cluster}/${guest.id}`;

function compare(a: GuestView, b: GuestView): number {
  const { by, isDown } = sorting.value;
  const [left, right] = [a[by], b[by]];
  // What was not measured comes last, whichever way it is sorted.
  if (left === null || right === null) return Number(left === null) - Number(right === null);
  const order =
    typeof left === 'number' && typeof right === 'number'
      ? left - right
      : String(left).localeCompare(String(right), undefined, { numeric: true });
  return isDown ? -order : order;
}

const titles: [Column, string, string][] = [
  ['name', 'Guest', ''],
  ['state', 'State', ''],
  ['node', 'Node', ''],
  ['cpuRatio', 'Cpu', 'number'],
  ['memoryUsedBytes', 'Memory', 'number'],
];

const Head = () => (
  <tr>
    {titles.map(([by, title, kind]) => {
      const isChosen = sorting.value.by === by;
      const order = sorting.value.isDown ? 'descending' : 'ascending';
      return (
        <th key={by} scope="col" class={kind} aria-sort={isChosen ? order : 'none'}>
          <button
            type="button"
            class="plain"
            onClick={() => (sorting.value = { by, isDown: isChosen && !sorting.value.isDown })}
          >
            {title} {isChosen && <span aria-hidden="true">{sorting.value.isDown ? '↓' : '↑'}</span>}
          </button>
        </th>
      );
    })}
  </tr>
);

export const guestCells = (guest: GuestView) => (
  <>
    <th scope="row">
      <a href={`#/guests/${keyOf(guest)}`}>{guest.name}</a> <span class="faint">{guest.id}</span>
      {guest.tags.slice(0, 3).map((tag) => (
        <small key={tag} class="tag">
          {tag}
        </small>
      ))}
    </th>
    <td>
      <State state={guest.state} />
    </td>
    <td>
      <a href={`#/nodes/${guest.cluster}/${guest.node}`}>{guest.node}</a>
    </td>
    <td class="number">{orDash(guest.cpuRatio, percent)}</td>
    <td class="number">
      {guest.memoryUsedBytes === null || guest.memoryTotalBytes === null
        ? dash
        : `${bytes(guest.memoryUsedBytes)} of ${bytes(guest.memoryTotalBytes)}`}
    </td>
  </>
);

/** Only where some driver makes guests. */
function NewGuest() {
  const hosts = useQuery<Page<NodeView>>(mayAct.value ? 'nodes?can=guest.create&limit=1' : null);
  if ((hosts.data?.total ?? 0) === 0) return null;
  return (
    <a class="button strong" href="#/guests/new">
      New guest
    </a>
  );
}

const guestStates = ['running', 'stopped', 'paused', 'suspended', 'unknown'];

export function GuestsPage() {
  const path = `guests?${query({ limit: 5_000, state: shownState.value })}`;
  const { data: items, problem, reload } = usePages<GuestView>(path, { everyMs: 10_000 });
  const total = items?.length ?? 0;
  const text = search.value.trim().toLowerCase();
  const order = sorting.value;
  const shown = useMemo(
    () =>
      (items ?? [])
        .filter(
          ({ id, name, node, tags }) =>
            text === '' || `${id} ${name} ${node} ${tags.join(' ')}`.toLowerCase().includes(text),
        )
        .sort(compare),
    [items, text, order],
  );
  return (
    <>
      <div class="heading">
        <h1>Guests</h1>
        <span class="faint">
          {items &&
            (shown.length === total ? counted(total, 'guest') : `${shown.length} of ${total}`)}
        </span>
        <span class="grow" />
        <NewGuest />
      </div>
      <div class="filters" role="search">
        <Search
          what="guests"
          by="name, id, node, tag"
          value={search.value}
          set={(value) => (search.value = value)}
        />
        <Choice
          label="State"
          value={shownState.value}
          options={guestStates}
          set={(value) => (shownState.value = value)}
        />
      </div>
      {problem && <ProblemNote problem={problem} retry={reload} />}
      {!items && !problem && <Loading what="guests" />}
      {items && total === 0 && (
        <Empty title="No guest">
          <p>A guest appears with the first sample of the node it lives on.</p>
        </Empty>
      )}
      {items && total > 0 && (
        <VirtualRows
          items={shown}
          keyOf={keyOf}
          head={<Head />}
          row={guestCells}
          label="Guests"
          columns={titles.length}
        />
      )}
    </>
  );
}
