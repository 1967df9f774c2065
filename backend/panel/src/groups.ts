/**
 * Which nodes the fleet page shows, and how they are put together. Invariant: while the same nodes
 * are in the same groups it is the same array, so that nothing is laid out again for a sample.
 */
import { computed, signal } from '@preact/signals';
import type { NodeView } from '../../http/views.ts';
import { beat, nodeKeys, nodes } from './live.ts';
import type { Group } from './parts/grid.ts';

export const states = [
  'awake',
  'asleep',
  'waking',
  'draining',
  'stale',
  'lost',
  'maintenance',
  'unknown',
];
export const groupings = ['cluster', 'state'] as const;

export const search = signal('');
export const shownState = signal('');
export const shownCluster = signal('');
/** One of `groupings`, or empty. */
export const grouping = signal('');

function matches(view: NodeView): boolean {
  const text = search.value.trim().toLowerCase();
  return (
    (shownState.value === '' || view.state === shownState.value) &&
    (shownCluster.value === '' || view.cluster === shownCluster.value) &&
    (text === '' || `${view.cluster}/${view.id} ${view.driver ?? ''}`.toLowerCase().includes(text))
  );
}

const isSame = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((key, at) => key === b[at]);

const groupOf = (view: NodeView): string =>
  grouping.value === 'cluster' ? view.cluster : grouping.value === 'state' ? view.state : '';

let last: readonly Group[] = [];
export const shownGroups = computed(() => {
  void beat.value;
  const found = new Map<string, string[]>();
  for (const key of nodeKeys.value) {
    const view = nodes.get(key)?.peek();
    if (view === undefined || !matches(view)) continue;
    const name = groupOf(view);
    const keys = found.get(name);
    if (keys) keys.push(key);
    else found.set(name, [key]);
  }
  const groups = [...found].map(([name, keys]) => ({ name, keys }));
  // Clusters come by name already.
  if (grouping.value === 'state')
    groups.sort((a, b) => states.indexOf(a.name) - states.indexOf(b.name));
  const isAsBefore =
    groups.length === last.length &&
    groups.every(({ name, keys }, at) => {
      const before = last[at];
      return before?.name === name && isSame(before.keys, keys);
    });
  if (!isAsBefore) last = groups;
  return last;
});
