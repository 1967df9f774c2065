/** The server: what it decides and does, itself, and under a load test. */
import type { BoardSpec } from '../panels.ts';
import { figureField, type Query, range, type Written } from '../query.ts';
import { lines, node, ratio } from './common.ts';

/** A figure that sums, and the one that counts what was summed; of an effect, which fact. */
type Judged = { name: string; count: string; fact?: string };
const forecasts: Judged = { name: 'kr_decide_forecast_total', count: 'steps' };
const effects: Judged = {
  name: 'kr_decide_effect_total',
  count: 'count',
  fact: 'targetCpuRatio',
};

/** One figure of what was judged, over how much was judged. */
const judged = (figure: string, legend: string, of: Judged): Written => {
  const { name, count, fact } = of;
  const more = fact === undefined ? '' : `,fact="${fact}"`;
  const hourly = (what: string): string =>
    `sum by (cluster) (increase(${name}{figure="${what}",cluster=~"$cluster"${more}}[1h]))`;
  const factLine = fact === undefined ? '' : `\n  |> filter(fn: (r) => r.fact == "${fact}")`;
  return {
    // Nothing over nothing is no point.
    promql: `${hourly(figure)} / (${hourly(count)} > 0)`,
    flux: `from(bucket: v.defaultBucket)
  ${range}
  |> filter(fn: (r) => r._measurement == "kr" and r._field == "${figureField(name)}")
  |> filter(fn: (r) => r.cluster =~ /^\${cluster:regex}$/)${factLine}
  |> filter(fn: (r) => r.figure == "${figure}" or r.figure == "${count}")
  |> difference(nonNegative: true)
  |> aggregateWindow(every: 1h, fn: sum, createEmpty: false)
  |> pivot(rowKey: ["_time", "cluster"], columnKey: ["figure"], valueColumn: "_value")
  |> filter(fn: (r) => r.${count} > 0.0)
  |> map(fn: (r) => ({_time: r._time, cluster: r.cluster, _value: r.${figure} / r.${count}}))
  |> group(columns: ["cluster"])`,
    legend,
  };
};
const perStep = (figure: string, legend: string): Written => judged(figure, legend, forecasts);
const perMove = (figure: string, legend: string): Written => judged(figure, legend, effects);

export const decisions: BoardSpec = {
  name: 'decisions',
  title: 'Kernreaktor / Decisions',
  description: 'What was decided and done, over the load that it answered.',
  panels: [
    lines('Load that was answered', [{ entity: 'node', metric: 'cpuRatio', legend: node }], {
      ...ratio,
      span: 24,
    }),
    lines(
      'Predicted against measured',
      [perStep('predicted', '{{cluster}} predicted'), perStep('measured', '{{cluster}} measured')],
      {
        unit: 'short',
        description:
          'Load of a node in units (cores of the reference machine), as forecast for the next step ' +
          'and as it then came: the mean over all steps of an hour whose guests stayed the same.',
      },
    ),
    lines(
      'Targets after their moves',
      [perMove('predicted', '{{cluster}} predicted'), perMove('measured', '{{cluster}} measured')],
      {
        ...ratio,
        description:
          'Cpu of the nodes that guests moved to: as the decision predicted it, and as it was some ' +
          'minutes after its commands had ended. Means of an hour.',
      },
    ),
    lines('Forecasts that held', [perStep('covered', '{{cluster}}')], {
      ...ratio,
      description:
        'Steps in which a node stayed below what was planned for. The engine aims at nine of ten; ' +
        'far below, guests rise together unforeseen, far above, it plans with too much room.',
    }),
    lines(
      'Decisions by outcome',
      [
        {
          figure: 'kr_decisions_total',
          rate: true,
          by: ['cluster', 'outcome'],
          legend: '{{cluster}} {{outcome}}',
        },
      ],
      { unit: 'cps' },
    ),
    lines(
      'Commands by what became of them',
      [
        {
          figure: 'kr_command_transitions_total',
          where: { state: 'SUCCEEDED|FAILED|REJECTED|EXPIRED|CANCELLED|INDETERMINATE' },
          rate: true,
          by: ['kind', 'state'],
          legend: '{{kind}} {{state}}',
        },
      ],
      { unit: 'cps' },
    ),
    lines(
      'Refusals by rule',
      [
        {
          figure: 'kr_decide_refusals_total',
          rate: true,
          by: ['cluster', 'rule'],
          legend: '{{cluster}} {{rule}}',
        },
      ],
      { unit: 'cps', description: 'Nodes and guests that a rule of the engine newly left alone.' },
    ),
    {
      title: 'Oscillations',
      kind: 'stat',
      queries: [{ figure: 'kr_decide_oscillations_total', by: ['cluster'], legend: '{{cluster}}' }],
      look: {
        unit: 'short',
        description: 'Since the start: guests went to and fro, and the engine stopped itself.',
      },
    },
    {
      title: 'Open commands',
      kind: 'stat',
      queries: [{ figure: 'kr_commands', by: ['state'], legend: '{{state}}' }],
      look: { unit: 'short', span: 8 },
    },
    lines('HOLD', [{ figure: 'kr_hold', by: ['cluster'], legend: '{{cluster}}' }], {
      unit: 'bool',
      span: 4,
    }),
    lines(
      'Restarts of the server',
      [{ figure: 'kr_process_start_time_seconds', legend: 'started' }],
      { unit: 'dateTimeFromNow' },
    ),
  ],
};

const ingested = (figure: string, legend = figure): Query => ({
  figure: 'kr_ingest_total',
  where: { figure },
  rate: true,
  legend,
});
const latency = (quantile: number): Query => ({
  figure: 'kr_ingest_publish_to_state_seconds',
  quantile,
  legend: `p${quantile * 100}`,
});

export const own: BoardSpec = {
  name: 'kernreaktor',
  title: 'Kernreaktor / Itself',
  description: 'Broker, ingest, store, decisions and commands of the server itself.',
  panels: [
    lines(
      'Samples',
      [ingested('received'), ingested('stored'), ingested('rejected'), ingested('dropped')],
      { unit: 'cps' },
    ),
    lines('From sampling to state', [latency(0.5), latency(0.99)], { unit: 's' }),
    lines(
      'Waiting to be stored',
      [{ figure: 'kr_ingest_total', where: { figure: 'queued|inFlight' }, legend: '{{figure}}' }],
      { unit: 'short' },
    ),
    lines('Store', [{ figure: 'kr_store', legend: '{{figure}}' }], { unit: 'short' }),
    lines(
      'Connected clients',
      [{ figure: 'kr_broker', where: { figure: 'clients' }, legend: '{{figure}}' }],
      { unit: 'short' },
    ),
    lines(
      'Refused messages by reason',
      [{ figure: 'kr_ingest_total', where: { figure: 'KR_.*' }, rate: true, legend: '{{figure}}' }],
      { unit: 'cps' },
    ),
    lines(
      'Decide round, p99',
      [{ figure: 'kr_decide_round_duration_seconds', quantile: 0.99, legend: 'p99' }],
      { unit: 's' },
    ),
    lines(
      'HTTP, p99',
      [{ figure: 'kr_http_request_duration_seconds', quantile: 0.99, legend: 'p99' }],
      { unit: 's' },
    ),
    lines('Cpu', [{ figure: 'kr_process_cpu_seconds_total', rate: true, legend: 'cores' }], {
      unit: 'short',
    }),
    lines('Memory', [{ figure: 'kr_process_resident_memory_bytes', legend: 'resident' }], {
      unit: 'bytes',
    }),
    lines(
      'Event loop lag, p99',
      [{ figure: 'kr_nodejs_eventloop_lag_p99_seconds', legend: 'p99' }],
      { unit: 's' },
    ),
    lines(
      'Refused sign-ins',
      [{ figure: 'kr_http_refused_logins_total', rate: true, legend: 'refused' }],
      { unit: 'cps' },
    ),
  ],
};

export const loadTest: BoardSpec = {
  name: 'load-test',
  title: 'Kernreaktor / Load test',
  description:
    'A simulation against this server: what comes in, what is kept up with, what it costs.',
  panels: [
    lines('Nodes that report', [{ figure: 'kr_nodes', by: ['state'], legend: '{{state}}' }], {
      unit: 'short',
    }),
    lines('Samples', [ingested('received'), ingested('stored')], { unit: 'cps' }),
    lines(
      'Lost on the way',
      [ingested('dropped'), ingested('abandoned'), ingested('rejected'), ingested('superseded')],
      { unit: 'cps' },
    ),
    lines('From sampling to state', [latency(0.5), latency(0.95), latency(0.99)], { unit: 's' }),
    lines('Cores', [{ figure: 'kr_process_cpu_seconds_total', rate: true, legend: 'cores' }], {
      unit: 'short',
    }),
    lines(
      'Memory',
      [
        { figure: 'kr_process_resident_memory_bytes', legend: 'resident' },
        { figure: 'kr_nodejs_heap_size_used_bytes', legend: 'heap' },
      ],
      { unit: 'bytes' },
    ),
    lines(
      'Broker',
      [{ figure: 'kr_broker', where: { figure: 'clients|preAuthSockets' }, legend: '{{figure}}' }],
      { unit: 'short' },
    ),
    lines('Open files', [{ figure: 'kr_process_open_fds', legend: 'descriptors' }], {
      unit: 'short',
    }),
  ],
};
