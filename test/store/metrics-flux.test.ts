import { is_valid_flux as isValidFlux } from '@influxdata/flux-lsp-node';
import { describe, expect, it } from 'vitest';
import {
  eventsFlux,
  latestFlux,
  rangeFlux,
  rollupFlux,
  rollupTask,
  spansFlux,
  topFlux,
  totalFlux,
  watermarksFlux,
} from '../../backend/store/metrics/flux.ts';
import type { Aggregate } from '../../backend/store/ports.ts';

const nasty = 'n1" or r.x == "${1}\\';
const times = { fromMs: 1_800_000_000_000, toMs: 1_800_003_600_000 };
const query = {
  ...times,
  cluster: 'home',
  entity: 'guest',
  node: nasty,
  guest: '100',
  metrics: ['cpuRatio', 'memoryUsedBytes'],
  stepMs: 60_000,
} as const;
const sources = ['raw', '1m', '1h'] as const;
const aggregates: Aggregate[] = ['mean', 'min', 'max', 'last', 'p95'];

const texts: [string, string][] = [
  ...sources.flatMap((source) =>
    aggregates.flatMap((aggregate): [string, string][] => {
      const part = { source, ...times };
      const { cluster: _, node: __, guest: ___, ...whole } = query;
      const top = { ...times, entity: 'node', metric: 'cpuRatio', limit: 10, aggregate } as const;
      const texts: [string, string][] = [
        [
          `range of ${source} by ${aggregate}`,
          String(rangeFlux('b', { ...query, aggregate }, part)),
        ],
        [`top of ${source} by ${aggregate}`, String(topFlux('b', top, part))],
      ];
      if (aggregate === 'last') return texts;
      const total = String(totalFlux('b', { ...whole, aggregate }, part));
      return [...texts, [`total of ${source} by ${aggregate}`, total]];
    }),
  ),
  ['latest', String(latestFlux('b', query, times.fromMs))],
  ['spans', String(spansFlux('b', times.fromMs))],
  ['watermarks', String(watermarksFlux('b', times.fromMs))],
  ['events', String(eventsFlux('b', { ...times, cluster: nasty, limit: 5 }))],
  ['events of all', String(eventsFlux('b', { ...times, limit: 5 }))],
  ...(['1m', '1h'] as const).flatMap((resolution): [string, string][] => [
    [`task to ${resolution}`, rollupTask({ bucket: 'b', resolution })],
    ...rollupFlux({ bucket: 'b', resolution }, times.fromMs, times.toMs).map(
      (text, index): [string, string] => [`roll-up ${index} to ${resolution}`, text],
    ),
  ]),
];

describe('every Flux text', () => {
  it('is checked by something that refuses what is wrong', () => {
    expect(isValidFlux('from(bucket: "b") |> range(start: -1h)')).toBe(true);
    expect(isValidFlux('from(bucket: "b") |> range(start: -1h) |> meen()')).toBe(false);
    expect(isValidFlux('from(bucket: "b") |> range(start: "yesterday"')).toBe(false);
    expect(texts.length).toBeGreaterThan(50);
  });

  it.each(texts)('of %s is valid', (_, text) => {
    expect(isValidFlux(text)).toBe(true);
  });

  it.each(texts)('of %s is not empty and bounds its time right after each bucket', (_, text) => {
    const froms = [...text.matchAll(/from\(bucket: [^\n]*\n\s*(.*)/g)];
    expect(froms.length).toBeGreaterThan(0);
    for (const [, next] of froms) expect(next).toMatch(/^\|> range\(start: /);
  });

  it('carries names from outside as values', () => {
    const text = String(
      rangeFlux('b', { ...query, aggregate: 'mean' }, { source: 'raw', ...times }),
    );
    expect(text).toContain(String.raw`r.node == "n1\" or r.x == \"\${1}\\"`);
  });

  it('of a task names its options as literals, which is all the server reads', () => {
    expect(rollupTask({ bucket: 'kr', resolution: '1m' })).toMatch(
      /^option task = \{name: "kernreaktor kr to 1m", every: 1m, offset: 30s\}/,
    );
  });
});
