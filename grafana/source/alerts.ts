/**
 * The alert rules, the same for both data sources. Each asks for one number per series and compares
 * it; what no data means is chosen for each: nothing is wrong, or nobody is there to say so.
 */
import * as alerting from '@grafana/grafana-foundation-sdk/alerting';
import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import * as expr from '@grafana/grafana-foundation-sdk/expr';
import * as prometheus from '@grafana/grafana-foundation-sdk/prometheus';
import { fluxTarget } from './panels.ts';
import { figureField, type Store } from './query.ts';
import { dataSourceUid } from './variables.ts';

export type AlertSpec = {
  uid: string;
  title: string;
  /** Of an instant query: one number per series. */
  promql: string;
  /** One row per series, its number in `_value`. */
  flux: string;
  fires: { when: 'gt' | 'lt'; threshold: number };
  forDuration: string;
  noData: 'OK' | 'Alerting';
  severity: 'critical' | 'warning';
  summary: string;
};

const backMinutes = 20;

const kr = (figure: string, where = '', backMs = '5m'): string =>
  `from(bucket: v.defaultBucket)
  |> range(start: -${backMs})
  |> filter(fn: (r) => r._measurement == "kr" and r._field == "${figureField(figure)}"${where})`;
const newest = (flux: string, by: string): string => `${flux}
  |> last()
  |> group(columns: [${by}])
  |> sum()`;
const grown = (flux: string, by: string): string => `${flux}
  |> increase()
  |> last()
  |> group(columns: [${by}])
  |> sum()`;

const bad = 'FAILED|EXPIRED|REJECTED|INDETERMINATE';
const over = { when: 'gt', threshold: 0 } as const;

const memory = (field: string): string => `from(bucket: v.defaultBucket)
  |> range(start: -5m)
  |> filter(fn: (r) => r._measurement == "node" and r._field == "${field}")
  |> last()
  |> group(columns: ["cluster"])`;

/** More than one node, and the others could not hold what runs when the largest is gone. */
const nMinusOne: Pick<AlertSpec, 'promql' | 'flux'> = {
  promql:
    '(sum by (cluster) (node_memoryUsedBytes) - sum by (cluster) (node_memoryTotalBytes) + max by (cluster) (node_memoryTotalBytes)) and (count by (cluster) (node_memoryTotalBytes) > 1)',
  flux: `used = ${memory('memoryUsedBytes')}
  |> sum()
  |> keep(columns: ["cluster", "_value"])
there = ${memory('memoryTotalBytes')}
  |> reduce(identity: {sum: 0.0, max: 0.0, nodes: 0}, fn: (r, accumulator) => ({
    sum: accumulator.sum + r._value,
    max: if r._value > accumulator.max then r._value else accumulator.max,
    nodes: accumulator.nodes + 1,
  }))
join(tables: {used: used, there: there}, on: ["cluster"])
  |> filter(fn: (r) => r.nodes > 1)
  |> map(fn: (r) => ({cluster: r.cluster, _value: r._value - r.sum + r.max}))
  |> group(columns: ["cluster"])`,
};

export const alerts: readonly AlertSpec[] = [
  {
    uid: 'kr-server-silent',
    title: 'The server says nothing',
    promql: 'count(kr_process_start_time_seconds)',
    flux: newest(kr('kr_process_start_time_seconds'), ''),
    fires: { when: 'lt', threshold: 1 },
    forDuration: '2m',
    noData: 'Alerting',
    severity: 'critical',
    summary: 'No figures of the Kernreaktor server reach this data source.',
  },
  {
    uid: 'kr-node-stale',
    title: 'A node is stale or lost',
    promql: 'sum by (cluster) (kr_nodes{state=~"stale|lost"})',
    flux: newest(kr('kr_nodes', ' and r.state =~ /^(stale|lost)$/', '30s'), '"cluster"'),
    fires: over,
    forDuration: '1m',
    noData: 'OK',
    severity: 'critical',
    summary: '{{ $values.A }} nodes of {{ $labels.cluster }} do not report.',
  },
  {
    uid: 'kr-wake-failed',
    title: 'A wake failed',
    promql: `sum(increase(kr_command_transitions_total{kind="node.wake",state=~"${bad}"}[15m]))`,
    flux: grown(
      kr(
        'kr_command_transitions_total',
        ` and r.kind == "node.wake" and r.state =~ /^(${bad})$/`,
        '15m',
      ),
      '',
    ),
    fires: over,
    forDuration: '0s',
    noData: 'OK',
    severity: 'critical',
    summary: 'A node that was to wake did not come back.',
  },
  {
    uid: 'kr-indeterminate',
    title: 'A command is INDETERMINATE',
    promql: 'sum(kr_commands{state="INDETERMINATE"})',
    flux: newest(kr('kr_commands', ' and r.state == "INDETERMINATE"', '1m'), ''),
    fires: over,
    forDuration: '0s',
    noData: 'OK',
    severity: 'critical',
    summary: 'Whether a command took effect is unknown; a person must look and resolve it.',
  },
  {
    uid: 'kr-n-minus-one',
    title: 'N-1 is broken',
    ...nMinusOne,
    fires: over,
    forDuration: '10m',
    noData: 'OK',
    severity: 'warning',
    summary: 'If the largest awake node of {{ $labels.cluster }} failed, the others lack memory.',
  },
  {
    uid: 'kr-oscillation',
    title: 'The engine oscillates',
    promql: 'sum by (cluster) (increase(kr_decide_oscillations_total[15m]))',
    flux: grown(kr('kr_decide_oscillations_total', '', '15m'), '"cluster"'),
    fires: over,
    forDuration: '0s',
    noData: 'OK',
    severity: 'warning',
    summary: 'Guests of {{ $labels.cluster }} went to and fro; its engine has stopped itself.',
  },
  {
    uid: 'kr-ingest-lag',
    title: 'Ingest lags',
    promql:
      'histogram_quantile(0.99, sum by (le) (rate(kr_ingest_publish_to_state_seconds_bucket[5m])))',
    flux: `${kr('kr_ingest_publish_to_state_seconds_bucket')}
  |> increase()
  |> last()
  |> map(fn: (r) => ({le: float(v: r.le), _value: r._value}))
  |> group()
  |> sort(columns: ["le"])
  |> histogramQuantile(quantile: 0.99)`,
    fires: { when: 'gt', threshold: 5 },
    forDuration: '5m',
    noData: 'OK',
    severity: 'warning',
    summary: 'One sample in a hundred takes longer than 5 s from its node into the picture.',
  },
  {
    uid: 'kr-samples-dropped',
    title: 'Samples are dropped',
    promql: 'sum(increase(kr_ingest_total{figure="dropped"}[15m]))',
    flux: grown(kr('kr_ingest_total', ' and r.figure == "dropped"', '15m'), ''),
    fires: over,
    forDuration: '0s',
    noData: 'OK',
    severity: 'warning',
    summary: 'Ingest could not keep up and let samples go; daemons send them again.',
  },
  {
    uid: 'kr-spool',
    title: 'Samples wait on disk',
    promql: 'sum(kr_store{figure="spoolBytes"})',
    flux: newest(kr('kr_store', ' and r.figure == "spoolBytes"', '1m'), ''),
    fires: over,
    forDuration: '10m',
    noData: 'OK',
    severity: 'warning',
    summary: 'The metrics store has not taken everything for ten minutes; its spool fills.',
  },
  {
    uid: 'kr-store-rejects',
    title: 'The store refuses lines',
    promql: 'sum(increase(kr_store{figure="refusedLines"}[15m]))',
    flux: grown(kr('kr_store', ' and r.figure == "refusedLines"', '15m'), ''),
    fires: over,
    forDuration: '0s',
    noData: 'OK',
    severity: 'warning',
    summary: 'The metrics store will never take some lines; they are counted and left out.',
  },
  {
    uid: 'kr-audit-chain',
    title: 'An audit chain is broken',
    promql: 'min by (chain) (kr_audit_chain_ok)',
    flux: `${kr('kr_audit_chain_ok')}
  |> last()
  |> group(columns: ["chain"])
  |> min()`,
    fires: { when: 'lt', threshold: 1 },
    forDuration: '0s',
    noData: 'OK',
    severity: 'critical',
    summary: 'The audit chain {{ $labels.chain }} was changed after it was written.',
  },
  {
    uid: 'kr-certificate',
    title: 'The certificate ends soon',
    promql: '(min(kr_certificate_not_after_seconds) - time()) / 86400',
    flux: `${kr('kr_certificate_not_after_seconds')}
  |> last()
  |> map(fn: (r) => ({_value: (r._value - float(v: int(v: now())) / 1000000000.0) / 86400.0}))`,
    fires: { when: 'lt', threshold: 14 },
    forDuration: '1h',
    noData: 'OK',
    severity: 'warning',
    summary: 'The certificate of TLS ends in {{ $values.A }} days and was not renewed.',
  },
];

const asked = (spec: AlertSpec, store: Store): Builder<Dataquery> =>
  store === 'influxdb'
    ? fluxTarget(spec.flux, 'A', dataSourceUid.influxdb)
    : new prometheus.DataqueryBuilder().expr(spec.promql).refId('A').instant();

/** A: the number. C: whether it fires. */
function ruleOf(spec: AlertSpec, store: Store): Builder<alerting.Rule> {
  const { uid, title, fires, forDuration, noData, severity, summary } = spec;
  const reduced = new expr.TypeReduceBuilder().refId('B').expression('A').reducer('last');
  const compared = new expr.TypeThresholdBuilder()
    .refId('C')
    .expression('B')
    .conditions([{ evaluator: { type: fires.when, params: [fires.threshold] } }]);
  const from = { from: backMinutes * 60, to: 0 };
  return new alerting.RuleBuilder(title)
    .uid(uid)
    .condition('C')
    .withQuery(
      new alerting.QueryBuilder('A')
        .datasourceUid(dataSourceUid[store])
        .relativeTimeRange(from)
        .model(asked(spec, store)),
    )
    .withQuery(new alerting.QueryBuilder('B').datasourceUid('__expr__').model(reduced))
    .withQuery(new alerting.QueryBuilder('C').datasourceUid('__expr__').model(compared))
    .forDuration(forDuration)
    .noDataState(noData)
    .execErrState('Error')
    .labels({ severity, product: 'kernreaktor' })
    .annotations({ summary, runbook_url: `docs/alerts.md#${uid}` });
}

/** As Grafana's file provisioning reads it. */
export const alertFile = (store: Store): object => ({
  apiVersion: 1,
  groups: [
    {
      orgId: 1,
      name: 'kernreaktor',
      folder: 'Kernreaktor',
      interval: '30s',
      rules: alerts.map((spec) => {
        // Folder, group and organisation stand above the rules of a file.
        const {
          folderUID: _folder,
          ruleGroup: _group,
          orgID: _org,
          ...rule
        } = ruleOf(spec, store).build();
        return rule;
      }),
    },
  ],
});
