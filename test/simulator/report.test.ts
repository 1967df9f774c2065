import { describe, expect, it } from 'vitest';
import { byKind, invalidReasons, judge, type Report } from '../../simulator/report.ts';
import { renderReport } from '../../simulator/render.ts';
import { parseSlo, type Promised } from '../../simulator/slo.ts';

const promises = (text: string): Promised[] => {
  const parsed = parseSlo(text);
  if (!parsed.ok) throw new Error(parsed.why);
  return parsed.promises;
};

const report: Omit<Report, 'brokenPromises' | 'seconds'> = {
  name: 'steady',
  scenario: 'steady',
  seed: 42,
  shard: null,
  nodes: 16,
  guestsPerNode: 20,
  intervalMs: 5000,
  timeScale: 1,
  durationMs: 60_000,
  isValid: true,
  invalidBecause: [],
  firstNodes: 16,
  connectedNodes: 16,
  connectMs: 300,
  samples: {
    taken: 192,
    sent: 192,
    replayed: 0,
    skippedBeats: 0,
    dropped: 0,
    stored: 192,
    lost: 0,
  },
  accounts: {
    sent: 192,
    stored: 192,
    duplicates: 0,
    rejected: 0,
    rejectedBy: {},
    dropped: { link: 0, ingest: 0 },
    unaccounted: 0,
  },
  publishToStateMs: { count: 192, p50: 30, p99: 60, max: 90 },
  rejectedMessages: 0,
  generator: { cpuSeconds: 3, cpuRatio: 0.05, rssPeakBytes: 2 ** 28, lagP99Ms: 3 },
  backend: { cpuSeconds: 6, cpuRatio: 0.1, rssPeakBytes: 2 ** 28 },
  energyKilowattHours: 0.02,
  effects: 0,
  commands: null,
  faults: {
    droppedLinks: 0,
    halfOpen: 0,
    slowReaders: 0,
    brokenLinks: 0,
    duplicates: 0,
    malformed: {},
  },
  stages: [],
  knee: null,
  promises: [],
};

describe('the report', () => {
  it('keeps every promise of a good run', () => {
    expect(judge(report, promises('lost==0,p99<250ms,connect<10s,backendRss<400'))).toEqual([]);
  });

  it('breaks every promise of a run in which the generator was the bottleneck', () => {
    const invalidBecause = invalidReasons({ cpuRatio: 0.97, lagP99Ms: 340 });
    expect(invalidBecause).toHaveLength(2);
    const invalid = { ...report, isValid: false, invalidBecause };
    expect(judge(invalid, promises('lost==0'))).toEqual([
      'the run is invalid: the simulator used 97 % of a core: use fewer nodes or a longer interval',
      'the run is invalid: the simulator ran 340 ms late (p99): give it a core of its own',
    ]);
    expect(judge(invalid, [])).toEqual([]);
  });

  it('does not call a fleet connected when a node is missing', () => {
    expect(judge({ ...report, connectedNodes: 15 }, promises('connect<10s'))).toEqual([
      'connect<10s does not hold: connect is unknown',
    ]);
  });

  it('counts commands by kind and state', () => {
    const of = (
      kind: 'guest.stop' | 'node.wake',
      state: 'SUCCEEDED' | 'FAILED',
      ms: number | null,
    ) => ({
      id: 'c',
      kind,
      state,
      reason: null,
      offerToStartedMs: ms,
    });
    expect(
      byKind([
        of('node.wake', 'FAILED', null),
        of('guest.stop', 'SUCCEEDED', 10),
        of('guest.stop', 'SUCCEEDED', 30),
      ]),
    ).toEqual([
      {
        kind: 'guest.stop',
        count: 2,
        states: { SUCCEEDED: 2 },
        offerToStartedP50Ms: 10,
        offerToStartedP99Ms: 30,
      },
      {
        kind: 'node.wake',
        count: 1,
        states: { FAILED: 1 },
        offerToStartedP50Ms: null,
        offerToStartedP99Ms: null,
      },
    ]);
  });

  it('shows figures, and below them what is wrong', () => {
    const commands: Report['commands'] = {
      count: 2,
      refused: 1,
      skipped: 0,
      notTerminal: 0,
      indeterminate: 0,
      wrongEffects: ['guest.stop c is REJECTED and began 1 times in the world'],
      offerToStartedP50Ms: 10,
      offerToStartedP99Ms: 30,
      kinds: byKind([
        { id: 'c', kind: 'guest.stop', state: 'SUCCEEDED', reason: null, offerToStartedMs: 10 },
      ]),
    };
    const rendered = renderReport({
      ...report,
      samples: { ...report.samples, lost: null },
      commands,
      invalidBecause: ['it was late'],
      brokenPromises: ['lost==0 does not hold: lost is unknown'],
    });
    const lines = rendered.split('\n');
    expect(lines).toContain('connected           16 of 16 in 300 ms');
    expect(rendered).toMatch(/lost\s+unknown/);
    expect(rendered).toMatch(/guest\.stop\s+1 SUCCEEDED; started after p50 10 ms/);
    expect(lines.slice(-3)).toEqual([
      'INVALID: it was late',
      'WRONG: guest.stop c is REJECTED and began 1 times in the world',
      'BROKEN: lost==0 does not hold: lost is unknown',
    ]);
  });
});
