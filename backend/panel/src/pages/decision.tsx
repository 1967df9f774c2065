/**
 * Why: what was measured, which rule spoke, what else was possible, what is expected to come of
 * it, and for everything left alone the smallest change that would have flipped it.
 */
import { useState } from 'preact/hooks';
import type { Intent, NonAction } from '../../../decide/plan.ts';
import type { DecisionDetail } from '../../../http/routes/decisions.ts';
import { moment } from '../format.ts';
import { CommandState } from '../parts/command-list.tsx';
import { Facts, isFact } from '../parts/facts.tsx';
import { Answer } from '../parts/feedback.tsx';
import { useQuery } from '../query.ts';
import { type Band, Curve, hasCurve } from './decisions/curve.tsx';
import { CarryOut } from './decisions/proposals.tsx';
import { Outcome } from './decisions.tsx';

type Around = { cluster: string; at: string; thresholds: Record<string, Band> };

/** The expected value of the node that the rule looked at. */
const predictedOf = ({ predicted }: Intent): number | null => {
  const value = predicted.find(({ name }) => /^source.*Ratio$/.test(name))?.value;
  return typeof value === 'number' ? value : null;
};

const IntentCurve = ({ intent, around }: { intent: Intent; around: Around }) => (
  <Curve
    cluster={around.cluster}
    at={around.at}
    rule={intent.rule}
    node={intent.target.kind === 'node' ? intent.target.id : intent.executor}
    band={around.thresholds[intent.rule]}
    predicted={predictedOf(intent)}
  />
);

const Alternatives = ({ of }: { of: Intent['alternatives'] }) => (
  <>
    <h4>What else was possible</h4>
    <ul>
      {of.map(({ what, rejectedBecause }) => (
        <li key={what}>
          <strong>{what}</strong>: {rejectedBecause}
        </li>
      ))}
    </ul>
  </>
);

const IntentCard = ({
  intent,
  around,
  isToldAlready,
}: {
  intent: Intent;
  around: Around;
  isToldAlready: boolean;
}) => (
  <article class="card pad">
    <header class="heading">
      <h2>
        {intent.action.kind}{' '}
        <a href={`#/${intent.target.kind}s/${around.cluster}/${intent.target.id}`}>
          {intent.target.id}
        </a>
      </h2>
      <small class="tag">{intent.rule}</small>
    </header>
    {isToldAlready || <p>{intent.reason}</p>}
    {hasCurve(intent.rule) && <IntentCurve intent={intent} around={around} />}
    <div class="why">
      <div>
        <h3>Measured</h3>
        <Facts facts={intent.facts} />
      </div>
      {intent.predicted.length > 0 && (
        <div>
          <h3>Expected afterwards</h3>
          <Facts facts={intent.predicted} />
        </div>
      )}
      <div>
        <h3>Better than doing nothing by</h3>
        <Facts facts={[intent.margin]} />
      </div>
    </div>
    {intent.alternatives.length > 0 && <Alternatives of={intent.alternatives} />}
  </article>
);

function Alone({ item, around, isFirst }: { item: NonAction; around: Around; isFirst: boolean }) {
  // A cluster has many nodes: only what somebody opens is asked for and drawn.
  const [isOpen, setOpen] = useState(isFirst);
  return (
    <li>
      <strong>{item.subject.id}</strong> <small class="tag">{item.rule}</small> {item.reason}
      {item.flip && (
        <p class="accent-text">
          It would change with: {item.flip}
          {item.verified && (
            <span class="faint"> (tried on the same inputs, it acts with: {item.verified})</span>
          )}
        </p>
      )}
      {item.subject.kind === 'node' && hasCurve(item.rule) && (
        <details open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
          <summary>What was measured</summary>
          {isOpen && (
            <Curve
              cluster={around.cluster}
              at={around.at}
              rule={item.rule}
              node={item.subject.id}
              band={around.thresholds[item.rule]}
              predicted={null}
            />
          )}
        </details>
      )}
    </li>
  );
}

const LeftAlone = ({
  items,
  around,
  isAll,
}: {
  items: readonly NonAction[];
  around: Around;
  isAll: boolean;
}) => (
  <section aria-label="Left alone">
    <h2>Left alone, and why</h2>
    <ul class="card pad plain-list">
      {items.map((item, index) => (
        <Alone
          key={`${item.subject.kind}${item.subject.id}${item.rule}`}
          item={item}
          around={around}
          isFirst={isAll && index === 0}
        />
      ))}
    </ul>
  </section>
);

/** What came of it, measured later; nothing until then. */
function CameOfIt({ measured }: { measured: unknown }) {
  const facts = Array.isArray(measured) ? measured.filter(isFact) : [];
  if (facts.length === 0) return null;
  return (
    <section aria-label="Measured afterwards">
      <h2>Measured afterwards</h2>
      <div class="card pad">
        <Facts facts={facts} />
      </div>
    </section>
  );
}

export function DecisionPage({ id }: { id: string }) {
  const decision = useQuery<DecisionDetail>(`decisions/${id}`);
  return (
    <Answer of={decision} what="the decision">
      {(data) => (
        <>
          <p class="back">
            <a href="#/decisions">Decisions</a>
          </p>
          <div class="heading">
            <h1>Decision</h1>
            <Outcome outcome={data.outcome} />
            <span class="faint">
              <time dateTime={data.at}>{moment(data.at)}</time> {data.cluster}
            </span>
          </div>
          <p class="lead">{data.summary}</p>
          {data.outcome === 'recommended' && <CarryOut id={data.id} />}
          {(data.intents as Intent[]).map((intent) => (
            <IntentCard
              key={`${intent.action.kind}${intent.target.id}`}
              intent={intent}
              around={data}
              isToldAlready={intent.reason === data.summary}
            />
          ))}
          <CameOfIt measured={data.measured} />
          {data.commands.length > 0 && (
            <section aria-label="Commands">
              <h2>What became of it</h2>
              <ul class="card pad plain-list">
                {data.commands.map(({ id: command, kind, state }) => (
                  <li key={command}>
                    <a href={`#/activity/${command}`}>{kind}</a> <CommandState state={state} />
                  </li>
                ))}
              </ul>
            </section>
          )}
          {data.nonActions.length > 0 && (
            <LeftAlone
              items={data.nonActions as NonAction[]}
              around={data}
              isAll={data.intents.length === 0}
            />
          )}
          <p class="faint mono small-text">
            inputs {data.inputsHash.slice(0, 16)}
            {data.policyHash && `, policy ${data.policyHash.slice(0, 16)}`}
          </p>
        </>
      )}
    </Answer>
  );
}
