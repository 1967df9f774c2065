/** Everything at a glance: sums per cluster, then every node as a card or, when many, a square. */
import { useState } from 'preact/hooks';
import { useLocation } from 'wouter-preact';
import type { ClusterView, NodeView } from '../../../http/views.ts';
import type { Page } from '../api.ts';
import {
  bytes,
  celsius,
  counted,
  dash,
  drawn,
  orDash,
  percent,
  power,
  powerHints,
  watts,
} from '../format.ts';
import {
  grouping,
  groupings,
  search,
  shownCluster,
  shownGroups,
  shownState,
  states,
} from '../groups.ts';
import { askHold, hold } from '../hold.tsx';
import { beat, nodeKeys, nodes, sparks } from '../live.ts';
import { Answer, Empty, Loading } from '../parts/feedback.tsx';
import { Bar, Figure, Sparkline, State } from '../parts/figures.tsx';
import { Choice, Search } from '../parts/filters.tsx';
import { firstOf, type Group } from '../parts/grid.ts';
import { HeatMap } from '../parts/heat-map.tsx';
import { useQuery } from '../query.ts';
import { isAdmin, mayAct } from '../session.ts';

/** From here on squares tell more than cards. */
const cardsMax = 60;
const shownCardsMax = 240;

const viewsOf = (keys: readonly string[]): NodeView[] =>
  keys.flatMap((key) => nodes.get(key)?.peek() ?? []);

type Sums = {
  awake: number;
  cpus: number;
  busy: number;
  used: number;
  total: number;
  watts: number;
};

function sumsOf(cluster: string): Sums & { isPowerKnown: boolean; isEstimated: boolean } {
  void beat.value;
  const none = { awake: 0, cpus: 0, busy: 0, used: 0, total: 0, watts: 0 };
  const sums = { ...none, isPowerKnown: false, isEstimated: false };
  for (const view of viewsOf(nodeKeys.value)) {
    if (view.cluster !== cluster || view.state !== 'awake') continue;
    sums.awake += 1;
    if (view.cpuRatio !== null && view.cpuCount !== null) {
      sums.cpus += view.cpuCount;
      sums.busy += view.cpuRatio * view.cpuCount;
    }
    sums.used += view.memoryUsedBytes ?? 0;
    sums.total += view.memoryTotalBytes ?? 0;
    sums.watts += drawn(view) ?? 0;
    sums.isPowerKnown ||= drawn(view) !== null;
    sums.isEstimated ||= view.powerEstimatedWatts !== null;
  }
  return sums;
}

function ClusterCard({ cluster }: { cluster: ClusterView }) {
  const sums = sumsOf(cluster.id);
  const isHeld = hold.value.clusters.includes(cluster.id);
  const asleep = cluster.nodeStates['asleep'] ?? 0;
  return (
    <article class="card cluster">
      <header>
        <h2>{cluster.id}</h2>
        {cluster.simulated && <small class="tag">simulated</small>}
        <small class="tag">{cluster.autonomy['default'] ?? 'recommend'}</small>
        <span class="grow" />
        {mayAct.value && (
          <button type="button" class="quiet small" onClick={() => askHold(cluster.id, isHeld)}>
            {isHeld ? 'Release' : 'HOLD'}
          </button>
        )}
      </header>
      <dl class="figures">
        <Figure label="Awake" hint={asleep > 0 ? `${asleep} asleep` : undefined}>
          {sums.awake} of {cluster.nodeCount}
        </Figure>
        <Figure label="Guests">{cluster.guestCount.toLocaleString()}</Figure>
        <Figure label="Power" {...(sums.isEstimated && { hint: 'partly estimated' })}>
          {sums.isPowerKnown ? `${sums.isEstimated ? '≈ ' : ''}${watts(sums.watts)}` : dash}
        </Figure>
      </dl>
      <Bar
        label="Cpu"
        ratio={sums.cpus > 0 ? sums.busy / sums.cpus : null}
        text={`${sums.busy.toFixed(1)} of ${sums.cpus}`}
      />
      <Bar
        label="Memory"
        ratio={sums.total > 0 ? sums.used / sums.total : null}
        text={`${bytes(sums.used)} of ${bytes(sums.total)}`}
      />
    </article>
  );
}

function NodeCard({ nodeKey }: { nodeKey: string }) {
  const view = nodes.get(nodeKey)?.value;
  if (!view) return null;
  const { memoryUsedBytes: used, memoryTotalBytes: total } = view;
  return (
    <a class="card node" href={`#/nodes/${nodeKey}`} data-state={view.state}>
      <header>
        <strong>{view.id}</strong>
        <span class="grow" />
        <State state={view.state} />
      </header>
      <Sparkline spark={sparks.get(nodeKey)} label={`Cpu of ${view.id} lately`} />
      <Bar label="Cpu" ratio={view.cpuRatio} text={orDash(view.cpuRatio, percent)} />
      <Bar
        label="Memory"
        ratio={used === null || !total ? null : used / total}
        text={used === null || !total ? dash : percent(used / total)}
      />
      <Bar label="Pressure" ratio={view.pressureRatio} text={orDash(view.pressureRatio, percent)} />
      <footer class="faint">
        <span>{view.cluster}</span>
        <span>{orDash(view.guestCount, (count) => counted(count, 'guest'))}</span>
        <span title={powerHints[view.powerSource ?? '']}>{power(view)}</span>
        {view.temperatureCelsius !== null && <span>{celsius(view.temperatureCelsius)}</span>}
        {view.protected && <span title="Never switched off">protected</span>}
        {view.localHold && <span class="warn-text">HOLD here</span>}
      </footer>
    </a>
  );
}

const Cards = ({ group: { name, keys } }: { group: Group }) => (
  <section aria-label={name === '' ? 'Nodes' : name}>
    {name !== '' && (
      <h3>
        {name} <small class="faint">{keys.length}</small>
      </h3>
    )}
    <div class="cards">
      {keys.map((key) => (
        <NodeCard key={key} nodeKey={key} />
      ))}
    </div>
  </section>
);

const Filters = ({ clusters }: { clusters: readonly ClusterView[] }) => (
  <div class="filters" role="search">
    <Search what="nodes" value={search.value} set={(value) => (search.value = value)} />
    <Choice
      label="State"
      value={shownState.value}
      options={states}
      set={(value) => (shownState.value = value)}
    />
    {clusters.length > 1 && (
      <Choice
        label="Cluster"
        value={shownCluster.value}
        options={clusters.map(({ id }) => id)}
        set={(value) => (shownCluster.value = value)}
      />
    )}
    <select
      aria-label="Group"
      value={grouping.value}
      onChange={(event) => (grouping.value = event.currentTarget.value)}
    >
      <option value="">not grouped</option>
      {groupings.map((by) => (
        <option key={by} value={by}>
          by {by}
        </option>
      ))}
    </select>
  </div>
);

/** `expected`: how many nodes the clusters have; undefined while that is not known. */
function Nodes({ expected }: { expected: number | undefined }) {
  const [, navigate] = useLocation();
  const [asked, setAsked] = useState<'cards' | 'map' | null>(null);
  const groups = shownGroups.value;
  const count = groups.reduce((sum, { keys }) => sum + keys.length, 0);
  const view = asked ?? (count > cardsMax ? 'map' : 'cards');
  if (nodeKeys.value.length === 0) {
    // The clusters' own answer says why there are none, or that some are about to come.
    if (expected === undefined) return null;
    if (expected > 0) return <Loading what="nodes" />;
    return (
      <Empty title="No node yet">
        <p>
          <a href="#/begin">Let machines in</a>: a Proxmox cluster by its API, or a host by one
          pasted line. They are only watched until you say otherwise.
        </p>
      </Empty>
    );
  }
  return (
    <>
      <div class="heading">
        <h2>{counted(count, 'node')}</h2>
        <button
          type="button"
          class="quiet small"
          onClick={() => setAsked(view === 'map' ? 'cards' : 'map')}
        >
          {view === 'map' ? 'Show cards' : 'Show map'}
        </button>
      </div>
      {count === 0 && <p class="state-note">No node is like that.</p>}
      {view === 'map' ? (
        <HeatMap groups={groups} open={(key) => navigate(`/nodes/${key}`)} />
      ) : (
        firstOf(groups, shownCardsMax).map((group) => <Cards key={group.name} group={group} />)
      )}
      {view === 'cards' && count > shownCardsMax && (
        <p class="faint">The first {shownCardsMax}; search, filter or use the map for the rest.</p>
      )}
    </>
  );
}

export function FleetPage() {
  const clusters = useQuery<Page<ClusterView>>('clusters?limit=1000', { everyMs: 5_000 });
  return (
    <>
      <div class="heading">
        <h1>Fleet</h1>
        <span class="grow" />
        {isAdmin.value && (
          <a class="button" href="#/begin">
            Add machines
          </a>
        )}
      </div>
      <Answer of={clusters} what="clusters">
        {({ items }) => (
          <>
            <div class="cards clusters">
              {items.slice(0, 24).map((cluster) => (
                <ClusterCard key={cluster.id} cluster={cluster} />
              ))}
            </div>
            <Filters clusters={items} />
          </>
        )}
      </Answer>
      <Nodes expected={clusters.data?.items.reduce((sum, { nodeCount }) => sum + nodeCount, 0)} />
    </>
  );
}
