/** One guest: how it is, what can be done to it, its charts and what was done before. */
import type { z } from 'zod';
import type { GuestDetail, NodeDetail } from '../../../http/views.ts';
import { GuestActions } from '../act.tsx';
import { AutomationOf } from '../automation.tsx';
import { ago, bytes, duration, orDash, percent } from '../format.ts';
import { type ChartSpec, Charts, memoryChart, trafficCharts } from '../parts/charts.tsx';
import { CommandList } from '../parts/command-list.tsx';
import { Answer, Empty } from '../parts/feedback.tsx';
import { Figure, State } from '../parts/figures.tsx';
import { useQuery } from '../query.ts';

type Detail = z.infer<typeof GuestDetail>;

const charts: readonly ChartSpec[] = [
  { title: 'Cpu', metrics: [['cpuRatio', 'busy']], format: percent, max: 1 },
  memoryChart,
  {
    title: 'Pressure: share of time somebody waited',
    metrics: [
      ['cpuPressureRatio', 'cpu'],
      ['ioPressureRatio', 'io'],
      ['memoryPressureRatio', 'memory'],
    ],
    format: percent,
  },
  ...trafficCharts,
];

const Figures = ({ detail }: { detail: Detail }) => (
  <dl class="figures card wide">
    <Figure label="State" hint={`sample ${ago(detail.ageMs)}`}>
      <State state={detail.state} />
    </Figure>
    <Figure label="Lives on">
      <a href={`#/nodes/${detail.cluster}/${detail.node}`}>{detail.node}</a>
    </Figure>
    <Figure label="Cpu" hint={orDash(detail.cpuCount, (count) => `${count} cpus`)}>
      {orDash(detail.cpuRatio, percent)}
    </Figure>
    <Figure label="Memory" hint={orDash(detail.memoryTotalBytes, (all) => `of ${bytes(all)}`)}>
      {orDash(detail.memoryUsedBytes, bytes)}
    </Figure>
    <Figure label="Up for">{orDash(detail.metrics['uptimeMs'], duration)}</Figure>
    <Figure label="Kind">{detail.kind}</Figure>
  </dl>
);

function Actions({ detail }: { detail: Detail }) {
  const { cluster, node } = detail;
  const host = useQuery<z.infer<typeof NodeDetail>>(`clusters/${cluster}/nodes/${node}`);
  return (
    <Answer of={host} what="actions">
      {({ capabilities }) => <GuestActions guest={detail} can={capabilities} />}
    </Answer>
  );
}

export function GuestPage({ cluster, guest }: { cluster: string; guest: string }) {
  const detail = useQuery<Detail>(`clusters/${cluster}/guests/${guest}`, { everyMs: 5_000 });
  if (detail.problem?.code === 'KR_NOT_FOUND' && !detail.data) {
    return (
      <Empty title={`There is no guest ${guest}`}>
        <p>
          It may have been deleted. <a href="#/guests">All guests</a>
        </p>
      </Empty>
    );
  }
  return (
    <>
      <Answer of={detail} what={guest}>
        {(data) => (
          <>
            <div class="heading">
              <h1>
                {data.name} <span class="faint">{data.id}</span>
              </h1>
              {data.tags.map((tag) => (
                <small key={tag} class="tag">
                  {tag}
                </small>
              ))}
              {data.lock && <small class="tag warn-text">locked: {data.lock}</small>}
              {data.haState && <small class="tag">HA: {data.haState}</small>}
            </div>
            <Figures detail={data} />
            <Actions detail={data} />
            <AutomationOf of={{ cluster, kind: 'guest', id: guest, name: data.name }} />
          </>
        )}
      </Answer>
      <Charts of={{ cluster, guest }} specs={charts} />
      <CommandList title="What was done" filter={{ cluster, target: guest }} />
    </>
  );
}
