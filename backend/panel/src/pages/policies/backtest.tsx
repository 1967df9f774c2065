/**
 * What a draft would have done with the time that is recorded: started, watched, cancelled, and
 * drawn beside the time as it was. Nothing is switched or moved by it.
 */
import { useEffect, useState } from 'preact/hooks';
import type { BacktestView } from '../../../../http/routes/backtests.ts';
import { call, get, type Problem, problemOf } from '../../api.ts';
import { counted, moment, percent } from '../../format.ts';
import { Chart, type Line } from '../../parts/chart.tsx';
import { ProblemNote } from '../../parts/feedback.tsx';
import { Figure } from '../../parts/figures.tsx';
import { Table } from '../../parts/table.tsx';

type Outcome = NonNullable<BacktestView['outcome']>;
type Course = Outcome['course'][number];

const spans: readonly (readonly [name: string, days: number])[] = [
  ['the last hour', 1 / 24],
  ['the last day', 1],
  ['the last 7 days', 7],
  ['the last 30 days', 30],
  ['the last 90 days', 90],
];
const usualDays = 7;
const pollMs = 700;
const actionsShown = 100;

/** Follows one backtest to its end. */
function useBacktest() {
  const [backtest, setBacktest] = useState<BacktestView>();
  const [problem, setProblem] = useState<Problem>();
  const { id, state } = backtest ?? {};
  useEffect(() => {
    if (state !== 'running') return undefined;
    const timer = setInterval(() => {
      get<BacktestView>(`backtests/${id}`).then(setBacktest, (error: unknown) =>
        setProblem(problemOf(error)),
      );
    }, pollMs);
    return () => clearInterval(timer);
  }, [id, state]);
  const ask = (method: string, path: string, body?: object): void => {
    setProblem(undefined);
    call<BacktestView>(method, path, body === undefined ? {} : { body }).then(
      setBacktest,
      (error: unknown) => setProblem(problemOf(error)),
    );
  };
  return { backtest, problem, ask };
}

const kwh = (value: number): string => `${value.toFixed(value < 10 ? 2 : 1)} kWh`;
const minutes = (value: number): string => `${Math.round(value)} min`;
const whole = (value: number): string => String(Math.round(value));

const Verdict = ({ outcome }: { outcome: Outcome }) => {
  const { savedKwh, saved, replayed, recorded, coverage } = outcome;
  const money = saved && ` (${Math.abs(saved.amount).toFixed(2)} at ${saved.pricePerKwh} a kWh)`;
  return (
    <>
      <p class="lead" role="status">
        It would have used <strong>{kwh(Math.abs(savedKwh))}</strong>{' '}
        {savedKwh >= 0 ? 'less' : 'more'}
        {money}, with {replayed.movesPerDay.toFixed(1)} moves a day.
      </p>
      <dl class="figures wide card">
        <Figure label="Energy" hint={`${kwh(recorded.kwh)} as it was`}>
          {kwh(replayed.kwh)}
        </Figure>
        <Figure label="Over the threshold" hint={`${minutes(recorded.minutesOver)} as it was`}>
          {minutes(replayed.minutesOver)}
        </Figure>
        <Figure label="Moves">{replayed.moves}</Figure>
        <Figure label="Sleeps, wakes">
          {replayed.sleeps}, {replayed.wakes}
        </Figure>
        <Figure label="Recorded" hint="of the time">
          {percent(coverage)}
        </Figure>
      </dl>
    </>
  );
};

const lineOf = (name: string, course: readonly Course[], of: (point: Course) => number): Line => ({
  name,
  points: course.map((point) => [Date.parse(point.at), of(point)] as const),
});

function Curves({ course }: { course: readonly Course[] }) {
  const [range, setRange] = useState<{ fromMs: number; toMs: number }>();
  if (course.length < 2) return null;
  const shown = range
    ? course.filter(({ at }) => Date.parse(at) >= range.fromMs && Date.parse(at) <= range.toMs)
    : course;
  const onRange = (fromMs: number, toMs: number): void => setRange({ fromMs, toMs });
  return (
    <>
      <div class="charts three">
        <Chart
          title="Energy, summed up"
          lines={[
            lineOf('with this policy', shown, ({ replayedKwh }) => replayedKwh),
            lineOf('as it was', shown, ({ recordedKwh }) => recordedKwh),
          ]}
          format={kwh}
          onRange={onRange}
        />
        <Chart
          title="Minutes over the threshold, summed up"
          lines={[
            lineOf('with this policy', shown, (point) => point.replayedMinutesOver),
            lineOf('as it was', shown, (point) => point.recordedMinutesOver),
          ]}
          format={minutes}
          onRange={onRange}
        />
        <Chart
          title="Moves, summed up"
          lines={[lineOf('with this policy', shown, ({ moves }) => moves)]}
          format={whole}
          onRange={onRange}
        />
      </div>
      {range && (
        <button type="button" class="quiet small" onClick={() => setRange(undefined)}>
          All of the time again
        </button>
      )}
    </>
  );
}

const Actions = ({ outcome }: { outcome: Outcome }) => (
  <details class="card pad">
    <summary>{counted(outcome.actionCount, 'action')}</summary>
    <Table head={['When', 'What', 'Why']}>
      {outcome.actions.slice(0, actionsShown).map(({ at, kind, target, from, to, reason }) => (
        <tr key={`${at}${kind}${target}`}>
          <td class="nowrap">{moment(at)}</td>
          <th scope="row" class="nowrap">
            {kind} {target} {to !== null && `${from} → ${to}`}
          </th>
          <td class="wrap">{reason}</td>
        </tr>
      ))}
    </Table>
    {outcome.actionCount > actionsShown && <p class="faint">The first {actionsShown} are shown.</p>}
  </details>
);

const Result = ({ outcome }: { outcome: Outcome }) => (
  <>
    <Verdict outcome={outcome} />
    {outcome.coverage === 0 && (
      <p class="notice">Nothing is recorded of this time, so nothing can be said of it.</p>
    )}
    <Curves course={outcome.course} />
    {outcome.actionCount > 0 && <Actions outcome={outcome} />}
    {outcome.held.length > 0 && (
      <details class="card pad">
        <summary>What kept it from doing more</summary>
        <ul>
          {outcome.held.map(({ rule, reason, rounds }) => (
            <li key={`${rule}${reason}`}>
              <small class="tag">{rule}</small> {reason}{' '}
              <span class="faint">in {counted(rounds, 'round')}</span>
            </li>
          ))}
        </ul>
      </details>
    )}
    <details class="card pad">
      <summary>What was assumed</summary>
      <ul>
        {outcome.assumptions.map((text) => (
          <li key={text}>{text}</li>
        ))}
        {outcome.resolution.map(({ from, to, source }) => (
          <li key={from}>
            {moment(from)} to {moment(to)}: judged by{' '}
            {source === 'raw' ? 'every sample' : `means of ${source}`}
          </li>
        ))}
      </ul>
    </details>
  </>
);

const Running = ({ backtest, cancel }: { backtest: BacktestView; cancel: () => void }) => (
  <div class="card pad running">
    <label>
      Replaying {moment(backtest.from)} to {moment(backtest.to)}{' '}
      <progress max={1} value={backtest.progress} /> {percent(backtest.progress)}
    </label>
    <button type="button" class="quiet small" onClick={cancel}>
      Cancel
    </button>
  </div>
);

export function Backtest({
  yaml,
  cluster,
  isFine,
  onDone,
}: {
  yaml: string;
  cluster: string;
  isFine: boolean;
  onDone: (yaml: string) => void;
}) {
  const { backtest, problem, ask } = useBacktest();
  const [days, setDays] = useState(usualDays);
  const [price, setPrice] = useState('');
  const [tested, setTested] = useState('');
  const isRunning = backtest?.state === 'running';
  useEffect(() => {
    if (backtest?.state === 'done') onDone(tested);
  }, [backtest?.state, tested, onDone]);
  const start = (event: SubmitEvent): void => {
    event.preventDefault();
    setTested(yaml);
    const pricePerKwh = price === '' ? {} : { pricePerKwh: Number(price) };
    ask('POST', 'backtests', { cluster, policy: yaml, days, ...pricePerKwh });
  };
  return (
    <section aria-label="Backtest">
      <h2>What it would have done in {cluster}</h2>
      <form class="filters" onSubmit={start}>
        <select
          aria-label="Time to replay"
          value={days}
          onChange={(event) => setDays(Number(event.currentTarget.value))}
        >
          {spans.map(([name, value]) => (
            <option key={name} value={value}>
              {name}
            </option>
          ))}
        </select>
        <input
          aria-label="Price of a kWh"
          placeholder="price of a kWh"
          type="number"
          min={0}
          max={1_000}
          step="any"
          value={price}
          onInput={(event) => setPrice(event.currentTarget.value)}
        />
        <button type="submit" disabled={!isFine || isRunning}>
          Backtest
        </button>
      </form>
      {problem && <ProblemNote problem={problem} />}
      {isRunning && (
        <Running backtest={backtest} cancel={() => ask('DELETE', `backtests/${backtest.id}`)} />
      )}
      {backtest?.state === 'cancelled' && <p class="state-note">It was cancelled.</p>}
      {backtest?.state === 'failed' && (
        <p class="notice" role="alert">
          It failed: {backtest.problem}
        </p>
      )}
      {backtest?.outcome && tested !== yaml && (
        <p class="warn-text">The text was changed since this was replayed.</p>
      )}
      {backtest?.outcome && <Result outcome={backtest.outcome} />}
    </section>
  );
}
