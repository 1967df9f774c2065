/** Every plan of the engine, those that did nothing included: doing nothing is a decision too. */
import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { DecisionView } from '../../../http/routes/decisions.ts';
import { type Page, query } from '../api.ts';
import { moment } from '../format.ts';
import { lastDecision, nodeKeys } from '../live.ts';
import { Answer, Empty } from '../parts/feedback.tsx';
import { Choice } from '../parts/filters.tsx';
import { useQuery } from '../query.ts';
import { Newest } from '../parts/table.tsx';
import { CarryOut, Proposals } from './decisions/proposals.tsx';

const outcomes = ['acted', 'recommended', 'awaiting-approval', 'nothing', 'dropped'] as const;
const outcome = signal('');
const cluster = signal('');

const tones: Record<string, string> = {
  acted: 'good-text',
  recommended: 'accent-text',
  'awaiting-approval': 'warn-text',
  dropped: 'bad-text',
};

export const Outcome = ({ outcome }: { outcome: string }) => (
  <span class={`outcome ${tones[outcome] ?? 'faint'}`}>{outcome.replace('-', ' ')}</span>
);

/** So long what was recommended is worth a button; later the load is another. */
const freshMs = 15 * 60_000;
const isFresh = ({ outcome, at }: DecisionView): boolean =>
  outcome === 'recommended' && Date.now() - Date.parse(at) < freshMs;

const clusterNames = (): string[] => [
  ...new Set(nodeKeys.value.map((key) => key.slice(0, key.indexOf('/')))),
];

const Entry = ({ decision }: { decision: DecisionView }) => (
  <li class={`card ${decision.outcome}`}>
    <a href={`#/decisions/${decision.id}`}>
      <span class="faint">
        <time dateTime={decision.at}>{moment(decision.at)}</time> {decision.cluster}
      </span>
      <Outcome outcome={decision.outcome} />
      <span>{decision.summary}</span>
    </a>
    {isFresh(decision) && <CarryOut id={decision.id} />}
  </li>
);

export function DecisionsPage() {
  const decisions = useQuery<Page<DecisionView>>(
    `decisions?${query({ limit: 100, outcome: outcome.value, cluster: cluster.value })}`,
    { everyMs: 15_000 },
  );
  const { reload } = decisions;
  const news = lastDecision.value;
  useEffect(() => {
    if (news) reload();
  }, [news, reload]);
  return (
    <>
      <h1>Decisions</h1>
      <Proposals />
      <div class="filters" role="search">
        <Choice
          label="Cluster"
          value={cluster.value}
          options={clusterNames()}
          set={(value) => (cluster.value = value)}
        />
        <Choice
          label="Outcome"
          value={outcome.value}
          options={outcomes}
          textOf={(name) => name.replace('-', ' ')}
          set={(value) => (outcome.value = value)}
        />
      </div>
      <Answer of={decisions} what="decisions">
        {({ items, total }) =>
          items.length === 0 ? (
            <Empty title={outcome.value || cluster.value ? 'None of these' : 'No decision yet'}>
              <p>One appears as soon as a node stays hot, also when nothing is done about it.</p>
            </Empty>
          ) : (
            <>
              <ol class="timeline">
                {items.map((decision) => (
                  <Entry key={decision.id} decision={decision} />
                ))}
              </ol>
              <Newest shown={items.length} total={total} />
            </>
          )
        }
      </Answer>
    </>
  );
}
