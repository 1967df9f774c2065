/** One node: how it is, what can be done to it, its guests, its charts, how it would be woken. */
import type { z } from 'zod';
import type { GuestView, NodeDetail, NodeView } from '../../../http/views.ts';
import type { Standing } from '../../../http/routes/wake-proofs.ts';
import { NodeActions } from '../act.tsx';
import { AutomationOf } from '../automation.tsx';
import { type Page, query } from '../api.ts';
import {
  ago,
  bytes,
  celsius,
  dash,
  duration,
  orDash,
  percent,
  plain,
  power,
  powerHints,
  watts,
} from '../format.ts';
import { nodes } from '../live.ts';
import { type ChartSpec, Charts, memoryChart, trafficCharts } from '../parts/charts.tsx';
import { CommandList } from '../parts/command-list.tsx';
import { Answer, Empty } from '../parts/feedback.tsx';
import { Figure, State } from '../parts/figures.tsx';
import { useQuery } from '../query.ts';
import { mayAct } from '../session.ts';
import { guestCells } from './guests.tsx';
import { Maintenance, MaintenanceButton } from './node/maintenance.tsx';
import { Table } from '../parts/table.tsx';

type Detail = z.infer<typeof NodeDetail>;

const charts: readonly ChartSpec[] = [
  {
    title: 'Cpu',
    metrics: [
      ['cpuRatio', 'busy'],
      ['ioWaitRatio', 'waiting for disks'],
    ],
    format: percent,
    max: 1,
  },
  memoryChart,
  {
    title: 'Pressure: share of time somebody waited',
    metrics: [
      ['cpuPressureSomeAvg10Ratio', 'cpu'],
      ['ioPressureSomeAvg10Ratio', 'io'],
      ['memoryPressureSomeAvg10Ratio', 'memory'],
    ],
    format: percent,
  },
  ...trafficCharts,
  {
    title: 'Power',
    metrics: [
      ['powerWatts', 'measured'],
      ['powerEstimatedWatts', 'estimated'],
    ],
    format: watts,
  },
  { title: 'Temperature', metrics: [['temperatureCelsius', 'hottest']], format: celsius },
];

function Figures({ detail }: { detail: Detail }) {
  // The stream knows better than the last answer.
  const view = nodes.get(`${detail.cluster}/${detail.id}`)?.value ?? detail;
  const { memoryUsedBytes: used, memoryTotalBytes: total } = view;
  return (
    <dl class="figures card wide">
      <Figure label="State" hint={orDash(view.ageMs, (ms) => `sample ${ago(ms)}`)}>
        <State state={view.state} />
      </Figure>
      <Figure label="Cpu" hint={orDash(view.cpuCount, (count) => `${count} cpus`)}>
        {orDash(view.cpuRatio, percent)}
      </Figure>
      <Figure label="Memory" hint={orDash(total, (all) => `of ${bytes(all)}`)}>
        {orDash(used, bytes)}
      </Figure>
      <Figure label="Load">{orDash(detail.metrics['loadAverage1'], plain)}</Figure>
      <Figure label="Power" hint={powerHints[view.powerSource ?? '']}>
        {power(view)}
      </Figure>
      <Figure label="Temperature">{orDash(detail.metrics['temperatureCelsius'], celsius)}</Figure>
      <Figure label="Up for">{orDash(view.uptimeMs, duration)}</Figure>
      <Figure label="Driver">
        {/* Its own name, `memory`, reads like a measured value here. */}
        {view.driver === 'memory' ? 'simulated' : (view.driver ?? dash)}
      </Figure>
    </dl>
  );
}

function Guests({ cluster, node }: { cluster: string; node: string }) {
  const guests = useQuery<Page<GuestView>>(`guests?${query({ cluster, node, limit: 500 })}`, {
    everyMs: 10_000,
  });
  return (
    <section aria-label="Guests">
      <h2>Guests</h2>
      <Answer of={guests} what="guests">
        {({ items }) =>
          items.length === 0 ? (
            <p class="state-note">No guest lives here.</p>
          ) : (
            <Table head={['Guest', 'State', 'Node', { number: 'Cpu' }, { number: 'Memory' }]}>
              {items.map((guest) => (
                <tr key={guest.id}>{guestCells(guest)}</tr>
              ))}
            </Table>
          )
        }
      </Answer>
    </section>
  );
}

function Doing({
  view,
  can,
  reload,
}: {
  view: NodeView;
  can: readonly string[];
  reload: () => void;
}) {
  return (
    <>
      <Maintenance view={view} reload={reload} />
      <NodeActions node={view} can={can}>
        <MaintenanceButton view={view} reload={reload} />
      </NodeActions>
    </>
  );
}

const wakers: Record<string, string> = {
  wol: 'Wake-on-LAN',
  ipmi: 'IPMI',
  redfish: 'Redfish',
  plug: 'a plug',
  script: 'a script',
};

function Waking({ cluster, node }: { cluster: string; node: string }) {
  const standing = useQuery<Standing>(`clusters/${cluster}/nodes/${node}/wake-proofs`, {
    everyMs: 10_000,
  });
  return (
    <section aria-label="Waking">
      <h2>Waking</h2>
      <Answer of={standing} what="wake proofs">
        {({ isProven, ways, proofs, campaign }) => (
          <div class="card pad">
            <p>
              {isProven
                ? 'Proven: it came back every time it had to, so it may be put to sleep.'
                : 'Not proven yet. Nothing switches this node off by itself before it has come back three times.'}
            </p>
            {ways.length === 0 && (
              <p class="faint">No other node says that it could wake this one.</p>
            )}
            <ul class="plain-list">
              {proofs.map((proof) => (
                <li key={proof.waker}>
                  <strong>{wakers[proof.waker] ?? proof.waker}</strong>: {proof.succeeded} of{' '}
                  {proof.needed} wakes succeeded
                  {proof.youngestAgeMs !== null && `, the last ${ago(proof.youngestAgeMs)}`}
                  {proof.bootMs !== null && `, awake after ${duration(proof.bootMs)}`}
                </li>
              ))}
            </ul>
            {campaign && (
              <p>
                Trial {campaign.state}: {campaign.proven} of {campaign.cycles}. {campaign.why}
              </p>
            )}
            <p>
              <a href={`#/saving/${cluster}/${node}`}>Power saving, step by step</a>
            </p>
          </div>
        )}
      </Answer>
    </section>
  );
}

export function NodePage({ cluster, node }: { cluster: string; node: string }) {
  const detail = useQuery<Detail>(`clusters/${cluster}/nodes/${node}`, { everyMs: 10_000 });
  if (detail.problem?.code === 'KR_NOT_FOUND' || detail.problem?.code === 'KR_CLUSTER_UNKNOWN') {
    return (
      <Empty title={`There is no node ${node}`}>
        <p>
          Nobody in {cluster} goes by this name. <a href="#/">Back to the fleet</a>
        </p>
      </Empty>
    );
  }
  return (
    <>
      <div class="heading">
        <h1>
          <span class="faint">{cluster} /</span> {node}
        </h1>
        {detail.data?.protected && <small class="tag">protected: never switched off</small>}
        {detail.data?.simulated && <small class="tag">simulated</small>}
      </div>
      <Answer of={detail} what={node}>
        {(data) => (
          <>
            <Figures detail={data} />
            <Doing
              view={nodes.get(`${cluster}/${node}`)?.value ?? data}
              reload={detail.reload}
              can={data.capabilities}
            />
            {mayAct.value && data.capabilities.includes('guest.create') && (
              <p>
                <a class="button" href={`#/guests/new/${cluster}/${node}`}>
                  New guest here
                </a>
              </p>
            )}
            <AutomationOf of={{ cluster, kind: 'node', id: node, name: node }} />
          </>
        )}
      </Answer>
      <Charts of={{ cluster, node }} specs={charts} />
      <Guests cluster={cluster} node={node} />
      <Waking cluster={cluster} node={node} />
      <CommandList title="What was done" filter={{ cluster, target: node }} />
    </>
  );
}
