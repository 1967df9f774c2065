/**
 * Where a guest may move: every awake node of its cluster with what the move would do to it, and
 * what the server says when it is asked for the very command that would be sent. Who is refused
 * cannot be chosen, and the reason stands beside the name.
 */
import { useState } from 'preact/hooks';
import type { Rehearsed } from '../../../../http/routes/rehearsal.ts';
import type { GuestView, NodeView } from '../../../../http/views.ts';
import { counted, dash, percent, sentence } from '../../format.ts';
import { nodeKeys, nodes } from '../../live.ts';
import { State } from '../../parts/figures.tsx';
import { useDryRun } from '../../query.ts';

/** Each is a question to the server; the rest is asked when somebody wants to see it. */
const askedAtOnce = 6;

const memoryFree = ({ memoryTotalBytes, memoryUsedBytes }: NodeView): number =>
  (memoryTotalBytes ?? 0) - (memoryUsedBytes ?? 0);

function candidates(guest: GuestView): NodeView[] {
  const found = nodeKeys.value.flatMap((key) => {
    const node = nodes.get(key)?.value;
    return node && node.cluster === guest.cluster && node.id !== guest.node ? [node] : [];
  });
  const isAwake = ({ state }: NodeView): number => Number(state === 'awake');
  return found.sort((a, b) => isAwake(b) - isAwake(a) || memoryFree(b) - memoryFree(a));
}

/** A share of a node with so much more (or less) on it; null where it was not measured. */
const shareWith = (used: number | null, more: number | null, total: number | null): number | null =>
  used === null || more === null || total === null || total <= 0
    ? null
    : Math.max(0, (used + more) / total);

type Load = { cpus: number | null; bytes: number | null };

const loadOf = (guest: GuestView): Load =>
  guest.state === 'running'
    ? {
        cpus:
          guest.cpuRatio === null || guest.cpuCount === null
            ? null
            : guest.cpuRatio * guest.cpuCount,
        bytes: guest.memoryUsedBytes,
      }
    : { cpus: 0, bytes: 0 };

const percentOrDash = (ratio: number | null): string => (ratio === null ? dash : percent(ratio));

/** `sign` 1 where the guest comes, -1 where it leaves. */
function Effect({ node, load, sign }: { node: NodeView; load: Load; sign: 1 | -1 }) {
  const { cpuRatio, cpuCount, memoryUsedBytes, memoryTotalBytes } = node;
  const busy = cpuRatio === null || cpuCount === null ? null : cpuRatio * cpuCount;
  const cpuAfter = shareWith(busy, load.cpus === null ? null : sign * load.cpus, cpuCount);
  const bytes = load.bytes === null ? null : sign * load.bytes;
  const memoryNow = shareWith(memoryUsedBytes, 0, memoryTotalBytes);
  const memoryAfter = shareWith(memoryUsedBytes, bytes, memoryTotalBytes);
  return (
    <span class="faint small-text">
      cpu {percentOrDash(cpuRatio)} → {percentOrDash(cpuAfter)}, memory {percentOrDash(memoryNow)} →{' '}
      {percentOrDash(memoryAfter)}
    </span>
  );
}

function Target({ guest, node }: { guest: GuestView; node: NodeView }) {
  const { cluster, id, node: from } = guest;
  const isAwake = node.state === 'awake';
  const body = { cluster, kind: 'guest.migrate', node: from, guest: id };
  const said = useDryRun<Rehearsed>(
    'commands/dry-run',
    isAwake ? { ...body, args: { targetNode: node.id } } : null,
  );
  const refusal = said.data?.denial ?? null;
  const against = refusal
    ? `${sentence(refusal.reason)} ${sentence(refusal.wayOut)}`
    : said.problem && `${sentence(said.problem.detail)} ${said.problem.wayOut ?? ''}`;
  const isAllowed = said.data?.isAllowed === true;
  return (
    <li>
      <label class="target">
        <input type="radio" name="targetNode" value={node.id} required disabled={!isAllowed} />
        <span>
          <strong>{node.id}</strong>{' '}
          {isAwake ? (
            <Effect node={node} load={loadOf(guest)} sign={1} />
          ) : (
            <State state={node.state} />
          )}
          {against && <span class="against bad-text">{against}</span>}
          {isAwake && !said.data && !said.problem && (
            <span class="against faint">Asking the guards …</span>
          )}
          {!isAwake && <span class="against faint">Only a node that is awake takes guests.</span>}
        </span>
      </label>
    </li>
  );
}

export function Targets({ guest }: { guest: GuestView }) {
  // The order stands still while somebody reads it.
  const [listed] = useState(() => candidates(guest).map(({ id }) => id));
  const [shownMax, setShownMax] = useState(askedAtOnce);
  const nodeOf = (id: string): NodeView | undefined => nodes.get(`${guest.cluster}/${id}`)?.value;
  const from = nodeOf(guest.node);
  const left = listed.length - shownMax;
  if (listed.length === 0) return <p class="faint">{guest.cluster} has no other node.</p>;
  return (
    <fieldset class="targets">
      <legend class="faint">To</legend>
      <ul class="plain-list">
        {listed.slice(0, shownMax).map((id) => {
          const node = nodeOf(id);
          return node && <Target key={id} guest={guest} node={node} />;
        })}
      </ul>
      {left > 0 && (
        <button
          type="button"
          class="quiet small"
          onClick={() => setShownMax(shownMax + askedAtOnce)}
        >
          {counted(left, 'more node')}
        </button>
      )}
      {from && (
        <p class="faint">
          {guest.node} itself: <Effect node={from} load={loadOf(guest)} sign={-1} />
        </p>
      )}
    </fieldset>
  );
}
