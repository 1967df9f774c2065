/** The variables of every board, the same on each, and the annotations of what was done. */
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import * as prometheus from '@grafana/grafana-foundation-sdk/prometheus';
import { datasourceType, fluxTarget } from './panels.ts';
import { range, type Store } from './query.ts';

/** The value that means every one of them. */
const all = { selected: true, text: ['All'], value: ['$__all'] };
export const dataSourceUid: Record<Store, string> = {
  influxdb: 'kernreaktor-influxdb',
  prometheus: 'kernreaktor-prometheus',
};

const tagValues = (tag: string, filter: string): string =>
  `import "influxdata/influxdb/schema"
schema.tagValues(bucket: v.defaultBucket, tag: "${tag}", predicate: (r) => ${filter}, start: -30d)`;

const questions: Record<Store, Record<'cluster' | 'node' | 'guest' | 'kind', string>> = {
  prometheus: {
    cluster: 'label_values(kr_nodes, cluster)',
    node: 'label_values(node_cpuRatio{cluster=~"$cluster"}, node)',
    guest: 'label_values(guest_cpuRatio{cluster=~"$cluster",node=~"$node"}, guest)',
    kind: 'label_values(kr_command_transitions_total, kind)',
  },
  influxdb: {
    cluster: tagValues('cluster', 'r._measurement == "node"'),
    node: tagValues('node', 'r._measurement == "node" and r.cluster =~ /^${cluster:regex}$/'),
    guest: tagValues(
      'guest',
      'r._measurement == "guest" and r.cluster =~ /^${cluster:regex}$/ and r.node =~ /^${node:regex}$/',
    ),
    kind: tagValues('kind', 'r._measurement == "kr"'),
  },
};

const resolutions: Record<Store, string> = {
  influxdb: 'raw,1m,1h',
  prometheus: '1m,5m,1h',
};

export function variablesOf(store: Store) {
  const source = { type: datasourceType[store], uid: '${datasource}' };
  const asked = (['cluster', 'node', 'guest', 'kind'] as const).map((name) =>
    new dashboard.QueryVariableBuilder(name)
      .datasource(source)
      .query(questions[store][name])
      .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
      .sort(dashboard.VariableSort.NaturalAsc)
      .multi(true)
      .includeAll(true)
      .allValue('.*')
      .current(all),
  );
  const [first = ''] = resolutions[store].split(',');
  return [
    new dashboard.DatasourceVariableBuilder('datasource')
      .label('Data source')
      .type(datasourceType[store])
      .current({ selected: true, text: 'Kernreaktor', value: dataSourceUid[store] }),
    ...asked,
    new dashboard.CustomVariableBuilder('resolution')
      .label('Resolution')
      .values(resolutions[store])
      .current({ selected: true, text: first, value: first }),
    new dashboard.TextBoxVariableBuilder('kernreaktor')
      .label('Kernreaktor at')
      .defaultValue('http://localhost:8480')
      .current({ selected: true, text: 'http://localhost:8480', value: 'http://localhost:8480' }),
  ];
}

const promEvents = `sum by (kind, state) (increase(kr_command_transitions_total{kind=~"$kind",state=~"RUNNING|SUCCEEDED|FAILED|INDETERMINATE"}[1m])) > 0`;

/** Rows with `text`, and `kind` and `outcome` as tags. */
const fluxEvents = `from(bucket: v.defaultBucket + "_1h")
  ${range}
  |> filter(fn: (r) => r._measurement == "event" and r.cluster =~ /^\${cluster:regex}$/)
  |> filter(fn: (r) => r._field == "text")
  |> map(fn: (r) => ({_time: r._time, text: r._value, tags: r.kind + "," + r.outcome}))
  |> group()
  |> sort(columns: ["_time"])`;

export function annotationsOf(store: Store) {
  const built = new dashboard.AnnotationQueryBuilder()
    .name(store === 'influxdb' ? 'Decisions, actions, HOLD' : 'Commands')
    .datasource({ type: datasourceType[store], uid: '${datasource}' })
    .enable(true)
    .iconColor('purple');
  return store === 'influxdb'
    ? built.target(fluxTarget(fluxEvents, 'Anno'))
    : built
        .expr(promEvents)
        .step('60s')
        .titleFormat('{{kind}} {{state}}')
        .tagKeys('kind,state')
        .target(new prometheus.DataqueryBuilder().expr(promEvents).refId('Anno').interval('60s'));
}
