/** What the nodes draw, and what sleeping saves. */
import type { BoardSpec } from '../panels.ts';
import { range, type Written } from '../query.ts';
import { lines, node, states } from './common.ts';

const small = { span: 8, height: 4 };
const wattsOfMinutes = (by: string): string =>
  `sum by (${by}) (node_powerWatts{cluster=~"$cluster",node=~"$node"})`;
const fluxWatts = `from(bucket: v.defaultBucket + "_1m")
  ${range}
  |> filter(fn: (r) => r._measurement == "node" and r._field == "powerWatts")
  |> filter(fn: (r) => r.cluster =~ /^\${cluster:regex}$/ and r.node =~ /^\${node:regex}$/)`;

/** A minute at so many watts is a sixtieth of so many watt hours. */
const used: Written = {
  promql: `sum_over_time((${wattsOfMinutes('cluster')})[$__range:1m]) / 60000`,
  flux: `${fluxWatts}
  |> group(columns: ["cluster"])
  |> sum()
  |> map(fn: (r) => ({r with _value: r._value / 60000.0}))`,
  legend: '{{cluster}}',
  isInstant: true,
};

/** Time asleep by the lowest power that the same node drew while it was awake: no more than that. */
const saved: Written = {
  promql: `sum by (cluster) (sum_over_time((kr_node_state{cluster=~"$cluster",node=~"$node"} == bool 3)[$__range:1m]) * on (cluster, node) min_over_time(node_powerWatts{cluster=~"$cluster",node=~"$node"}[$__range])) / 60000`,
  flux: `idle = ${fluxWatts}
  |> group(columns: ["cluster", "node"])
  |> min()
  |> keep(columns: ["cluster", "node", "_value"])
asleep = from(bucket: v.defaultBucket)
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
  description: 'What the nodes draw, and what sleeping saves. Only measured watts are counted.',
  panels: [
    lines('Watts', [{ entity: 'node', metric: 'powerWatts', legend: node }], {
      unit: 'watt',
      stacked: true,
      span: 24,
    }),
    { title: 'Used', kind: 'stat', queries: [used], look: { unit: 'kwatth', ...small } },
    {
      title: 'Saved by sleep, at least',
      kind: 'stat',
      queries: [saved],
      look: {
        unit: 'kwatth',
        ...small,
        span: 8,
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
    lines(
      'Power of each cluster',
      [
        {
          entity: 'node',
          metric: 'powerWatts',
          fold: { fn: 'sum', by: ['cluster'] },
          legend: '{{cluster}}',
        },
      ],
      { unit: 'watt' },
    ),
    { title: 'State of each node', kind: 'states', queries: [states], look: { unit: 'short' } },
  ],
};
