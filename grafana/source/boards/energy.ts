/** What the nodes draw, and what sleeping saves. */
import type { BoardSpec } from '../panels.ts';
import { range, type Written } from '../query.ts';
import { lines, node, states, wattsOf } from './common.ts';

const small = { span: 6, height: 4 };
const nodes = 'cluster=~"$cluster",node=~"$node"';
/** Of a sample one or the other is there, so that their sum counts nothing twice. */
const drawn = `{__name__=~"node_powerWatts|node_powerEstimatedWatts",${nodes}}`;
const fluxOf = (fields: string): string => `from(bucket: v.defaultBucket + "_1m")
  ${range}
  |> filter(fn: (r) => r._measurement == "node" and (${fields}))
  |> filter(fn: (r) => r.cluster =~ /^\${cluster:regex}$/ and r.node =~ /^\${node:regex}$/)`;
const estimated = 'r._field == "powerEstimatedWatts"';
const fluxWatts = fluxOf(`r._field == "powerWatts" or ${estimated}`);

/** A minute at so many watts is a sixtieth of so many watt hours. */
const kilowattHours = (series: string, flux: string): Written => ({
  promql: `sum_over_time((sum by (cluster) (${series}))[$__range:1m]) / 60000`,
  flux: `${flux}
  |> group(columns: ["cluster"])
  |> sum()
  |> map(fn: (r) => ({r with _value: r._value / 60000.0}))`,
  legend: '{{cluster}}',
  isInstant: true,
});
const used = kilowattHours(drawn, fluxWatts);
const usedEstimated = kilowattHours(`node_powerEstimatedWatts{${nodes}}`, fluxOf(estimated));

/** Time asleep by the lowest power that the same node drew while it was awake: no more than that. */
const saved: Written = {
  promql: `sum by (cluster) (sum_over_time((kr_node_state{${nodes}} == bool 3)[$__range:1m]) * on (cluster, node) (min_over_time(node_powerWatts{${nodes}}[$__range]) or min_over_time(node_powerEstimatedWatts{${nodes}}[$__range]))) / 60000`,
  flux: `idle = ${fluxWatts}
  |> group(columns: ["cluster", "node"])
  |> min()
  |> keep(columns: ["cluster", "node", "_value"])
asleep = from(bucket: v.defaultBucket + "_1m")
  ${range}
  |> filter(fn: (r) => r._measurement == "kr" and r._field == "node_state")
  |> filter(fn: (r) => r.cluster =~ /^\${cluster:regex}$/ and r.node =~ /^\${node:regex}$/)
  |> aggregateWindow(every: 1m, fn: last, createEmpty: false)
  |> filter(fn: (r) => r._value == 3.0)
  |> group(columns: ["cluster", "node"])
  |> count()
  |> keep(columns: ["cluster", "node", "_value"])
join(tables: {idle: idle, asleep: asleep}, on: ["cluster", "node"])
  |> map(fn: (r) => ({cluster: r.cluster, _value: r._value_idle * float(v: r._value_asleep) / 60000.0}))
  |> group(columns: ["cluster"])
  |> sum()`,
  legend: '{{cluster}}',
  isInstant: true,
};

export const energy: BoardSpec = {
  name: 'energy',
  title: 'Kernreaktor / Energy',
  description: 'What the nodes draw, and what sleeping saves; what is estimated is marked.',
  panels: [
    lines('Watts', wattsOf(node), { unit: 'watt', stacked: true, span: 24 }),
    { title: 'Used', kind: 'stat', queries: [used], look: { unit: 'kwatth', ...small } },
    {
      title: 'Of that, estimated',
      kind: 'stat',
      queries: [usedEstimated],
      look: {
        unit: 'kwatth',
        ...small,
        description:
          'By the model of a node whose power nothing measures. Empty: all was measured.',
      },
    },
    {
      title: 'Saved by sleep, at least',
      kind: 'stat',
      queries: [saved],
      look: {
        unit: 'kwatth',
        ...small,
        description: 'Time asleep by the lowest power that the same node drew in this range.',
      },
    },
    {
      title: 'Cost at $price per kWh',
      kind: 'stat',
      queries: [
        {
          promql: `(${used.promql}) * $price`,
          flux: `${used.flux}\n  |> map(fn: (r) => ({r with _value: r._value * \${price}}))`,
          legend: '{{cluster}}',
          isInstant: true,
        },
      ],
      look: { unit: 'short', ...small },
    },
    lines('Power of each cluster', wattsOf('{{cluster}}', { fn: 'sum', by: ['cluster'] }), {
      unit: 'watt',
    }),
    { title: 'State of each node', kind: 'states', queries: [states], look: { unit: 'short' } },
  ],
};
