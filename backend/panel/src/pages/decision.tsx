/**
 * Why: what was measured, which rule spoke, what else was possible, what is expected to come of
 * it, and for everything left alone the smallest change that would have flipped it.
 */
import type { Fact, Intent, NonAction } from '../../../decide/plan.ts';
import type { DecisionDetail } from '../../../http/routes/decisions.ts';
import { bytes, moment, percent, plain } from '../format.ts';
import { CommandState } from '../parts/command-list.tsx';
import { Answer } from '../parts/feedback.tsx';
import { useQuery } from '../query.ts';
import { Outcome } from './decisions.tsx';

function factText({ value, unit }: Fact): string {
  if (value === null) return 'not known';
  if (typeof value !== 'number') return String(value);
  if (unit === 'ratio') return percent(value);
  if (unit === 'bytes') return bytes(value);
  return `${plain(value)}${unit === undefined ? '' : ` ${unit}`}`;
}

const Facts = ({ facts }: { facts: readonly Fact[] }) => (
  <dl class="facts">
    {facts.map((fact) => (
      <div key={fact.name}>
        <dt>{fact.name}</dt>
        <dd>{factText(fact)}</dd>
      </div>
    ))}
  </dl>
);

const IntentCard = ({ intent }: { intent: Intent }) => (
  <article class="card pad">
    <header class="heading">
      <h3>
        {intent.action.kind} {intent.target.id}
      </h3>
      <small class="tag">{intent.rule}</small>
    </header>
    <p>{intent.reason}</p>
    <h4>Measured</h4>
    <Facts facts={intent.facts} />
    {intent.predicted.length > 0 && (
      <>
        <h4>Expected afterwards</h4>
        <Facts facts={intent.predicted} />
      </>
    )}
    <h4>Better than doing nothing by</h4>
    <Facts facts={[intent.margin]} />
    {intent.alternatives.length > 0 && (
      <>
        <h4>What else was possible</h4>
        <ul>
          {intent.alternatives.map(({ what, rejectedBecause }) => (
            <li key={what}>
              <strong>{what}</strong>: {rejectedBecause}
            </li>
          ))}
        </ul>
      </>
    )}
  </article>
);

const LeftAlone = ({ items }: { items: readonly NonAction[] }) => (
  <section aria-label="Left alone">
    <h2>Left alone, and why</h2>
    <ul class="card pad plain-list">
      {items.map(({ subject, rule, reason, flip }) => (
        <li key={`${subject.kind}${subject.id}${rule}`}>
          <strong>{subject.id}</strong> <small class="tag">{rule}</small> {reason}
          {flip && <p class="accent-text">{flip}</p>}
        </li>
      ))}
    </ul>
  </section>
);

export function DecisionPage({ id }: { id: string }) {
  const decision = useQuery<DecisionDetail>(`decisions/${id}`);
  return (
    <Answer of={decision} what="the decision">
      {(data) => (
        <>
          <div class="heading">
            <h1>Decision</h1>
            <Outcome outcome={data.outcome} />
            <span class="faint">
              <time dateTime={data.at}>{moment(data.at)}</time> {data.cluster}
            </span>
          </div>
          <p class="lead">{data.summary}</p>
          {(data.intents as Intent[]).map((intent) => (
            <IntentCard key={`${intent.action.kind}${intent.target.id}`} intent={intent} />
          ))}
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
          {data.nonActions.length > 0 && <LeftAlone items={data.nonActions as NonAction[]} />}
          <p class="faint mono small-text">
            inputs {data.inputsHash.slice(0, 16)}
            {data.policyHash && `, policy ${data.policyHash.slice(0, 16)}`}
          </p>
        </>
      )}
    </Answer>
  );
}
