/** What the boards share: how a series is called, and a panel of lines. */
import type { PanelSpec } from '../panels.ts';
import { range, type Query, type Written } from '../query.ts';

export const node = '{{cluster}}/{{node}}';
export const guest = '{{cluster}}/{{guest}}';
export const ratio = { unit: 'percentunit', max: 1 };
export const rate = { unit: 'Bps' };

export const lines = (
  title: string,
  queries: readonly Query[],
  look: PanelSpec['look'],
): PanelSpec => ({
  title,
  kind: 'lines',
  queries,
  look,
});
/** Measured and estimated watts are two series, so that nobody takes one for the other. */
export const wattsOf = (legend: string, fold?: { fn: 'sum'; by: readonly string[] }): Query[] => [
  { entity: 'node', metric: 'powerWatts', legend, ...(fold && { fold }) },
  {
    entity: 'node',
    metric: 'powerEstimatedWatts',
    legend: `${legend} (estimated)`,
    ...(fold && { fold }),
  },
];

export const states: Written = {
  promql: 'kr_node_state{cluster=~"$cluster",node=~"$node"}',
  flux: `from(bucket: v.defaultBucket)
  ${range}
  |> filter(fn: (r) => r._measurement == "kr" and r._field == "node_state")
  |> filter(fn: (r) => r.cluster =~ /^\${cluster:regex}$/ and r.node =~ /^\${node:regex}$/)
  |> aggregateWindow(every: v.windowPeriod, fn: last, createEmpty: false)`,
  legend: node,
};
