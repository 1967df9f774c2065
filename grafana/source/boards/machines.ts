/** Fleet, node and guests: the machines that are watched. */
import type { BoardSpec } from '../panels.ts';
import { guest, lines, node, rate, ratio, states, wattsOf } from './common.ts';

export const fleet: BoardSpec = {
  name: 'fleet',
  title: 'Kernreaktor / Fleet',
  description: 'Every node of the clusters that are chosen: who is up, and how loaded.',
  panels: [
    {
      title: 'Nodes by state',
      kind: 'stat',
      queries: [{ figure: 'kr_nodes', by: ['state'], legend: '{{state}}' }],
      look: { unit: 'short', height: 5 },
    },
    {
      title: 'Guests',
      kind: 'stat',
      queries: [{ figure: 'kr_guests', by: ['cluster'], legend: '{{cluster}}' }],
      look: { unit: 'short', height: 5 },
    },
    {
      title: 'Highest cpu now',
      kind: 'bars',
      queries: [{ entity: 'node', metric: 'cpuRatio', top: 10, legend: node }],
      look: ratio,
    },
    lines(
      'Cpu of each cluster',
      [
        {
          entity: 'node',
          metric: 'cpuRatio',
          fold: { fn: 'mean', by: ['cluster'] },
          legend: '{{cluster}}',
        },
      ],
      ratio,
    ),
    {
      title: 'State of each node',
      kind: 'states',
      queries: [states],
      look: {
        unit: 'short',
        description: 'With Prometheus as data source this needs KR_METRICS_DETAIL=node.',
      },
    },
    {
      title: 'Cpu of all nodes',
      kind: 'heat',
      queries: [{ entity: 'node', metric: 'cpuRatio', legend: node }],
      look: { unit: 'percentunit' },
    },
    lines(
      'Memory used and there',
      [
        {
          entity: 'node',
          metric: 'memoryUsedBytes',
          fold: { fn: 'sum', by: ['cluster'] },
          legend: '{{cluster}} used',
        },
        {
          entity: 'node',
          metric: 'memoryTotalBytes',
          fold: { fn: 'sum', by: ['cluster'] },
          legend: '{{cluster}} there',
        },
      ],
      { unit: 'bytes' },
    ),
    lines(
      'Nodes that report',
      [
        {
          entity: 'node',
          metric: 'cpuRatio',
          fold: { fn: 'count', by: ['cluster'] },
          legend: '{{cluster}}',
        },
      ],
      { unit: 'short' },
    ),
  ],
};

export const nodeBoard: BoardSpec = {
  name: 'node',
  title: 'Kernreaktor / Node',
  description: 'One node, or a few side by side.',
  panels: [
    lines(
      'Cpu',
      [
        { entity: 'node', metric: 'cpuRatio', legend: node },
        { entity: 'node', metric: 'ioWaitRatio', legend: `${node} waiting` },
      ],
      ratio,
    ),
    lines(
      'Memory',
      [
        { entity: 'node', metric: 'memoryUsedBytes', legend: `${node} used` },
        { entity: 'node', metric: 'memoryTotalBytes', legend: `${node} there` },
      ],
      { unit: 'bytes' },
    ),
    lines(
      'Load average',
      [
        { entity: 'node', metric: 'loadAverage1', legend: `${node} 1 min` },
        { entity: 'node', metric: 'loadAverage15', legend: `${node} 15 min` },
      ],
      { unit: 'short' },
    ),
    lines(
      'Pressure: some task waits',
      [
        { entity: 'node', metric: 'cpuPressureSomeAvg10Ratio', how: 'max', legend: `${node} cpu` },
        { entity: 'node', metric: 'ioPressureSomeAvg10Ratio', how: 'max', legend: `${node} io` },
        {
          entity: 'node',
          metric: 'memoryPressureSomeAvg10Ratio',
          how: 'max',
          legend: `${node} memory`,
        },
      ],
      ratio,
    ),
    lines(
      'Disks',
      [
        { entity: 'node', metric: 'diskReadBytesPerSecond', legend: `${node} read` },
        { entity: 'node', metric: 'diskWriteBytesPerSecond', legend: `${node} written` },
      ],
      rate,
    ),
    lines(
      'Network',
      [
        { entity: 'node', metric: 'networkInBytesPerSecond', legend: `${node} in` },
        { entity: 'node', metric: 'networkOutBytesPerSecond', legend: `${node} out` },
      ],
      rate,
    ),
    lines(
      'Space on disks',
      [
        { entity: 'node', metric: 'diskUsedBytes', legend: `${node} used` },
        { entity: 'node', metric: 'diskTotalBytes', legend: `${node} there` },
      ],
      { unit: 'bytes' },
    ),
    lines('Swap', [{ entity: 'node', metric: 'swapUsedBytes', legend: node }], { unit: 'bytes' }),
    lines(
      'Temperature',
      [{ entity: 'node', metric: 'temperatureCelsius', how: 'max', legend: node }],
      { unit: 'celsius' },
    ),
    lines('Power', wattsOf(node), { unit: 'watt' }),
    lines('Uptime', [{ entity: 'node', metric: 'uptimeMs', how: 'max', legend: node }], {
      unit: 'ms',
    }),
    lines(
      'Guests on it',
      [
        {
          entity: 'guest',
          metric: 'cpuRatio',
          fold: { fn: 'count', by: ['cluster', 'node'] },
          legend: node,
        },
      ],
      { unit: 'short' },
    ),
  ],
};

export const guests: BoardSpec = {
  name: 'guests',
  title: 'Kernreaktor / Guests',
  description: 'Guests of the nodes that are chosen, the busiest first.',
  panels: [
    {
      title: 'Highest cpu now',
      kind: 'table',
      queries: [{ entity: 'guest', metric: 'cpuRatio', top: 20, legend: guest }],
      look: ratio,
    },
    {
      title: 'Most memory now',
      kind: 'table',
      queries: [{ entity: 'guest', metric: 'memoryUsedBytes', top: 20, legend: guest }],
      look: { unit: 'bytes' },
    },
    lines('Cpu', [{ entity: 'guest', metric: 'cpuRatio', legend: guest }], ratio),
    lines('Memory', [{ entity: 'guest', metric: 'memoryUsedBytes', legend: guest }], {
      unit: 'bytes',
    }),
    lines(
      'Read from disks',
      [{ entity: 'guest', metric: 'diskReadBytesPerSecond', legend: guest }],
      rate,
    ),
    lines(
      'Written to disks',
      [{ entity: 'guest', metric: 'diskWriteBytesPerSecond', legend: guest }],
      rate,
    ),
    lines(
      'Received',
      [{ entity: 'guest', metric: 'networkInBytesPerSecond', legend: guest }],
      rate,
    ),
    lines('Sent', [{ entity: 'guest', metric: 'networkOutBytesPerSecond', legend: guest }], rate),
    lines(
      'Waiting for memory',
      [{ entity: 'guest', metric: 'memoryPressureRatio', how: 'max', legend: guest }],
      ratio,
    ),
    lines(
      'Waiting for cpu',
      [{ entity: 'guest', metric: 'cpuPressureRatio', how: 'max', legend: guest }],
      ratio,
    ),
  ],
};
