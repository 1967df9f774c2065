import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { compareReports, renderComparison } from '../../../simulator/load/compare.ts';
import { htmlOf } from '../../../simulator/load/html.ts';
import { mergeReports } from '../../../simulator/load/merge.ts';
import type { Reading } from '../../../simulator/load/reading.ts';
import { csvOfSeconds, type Row, secondsOf, stageOf } from '../../../simulator/load/rows.ts';
import type { KeptReading, Report } from '../../../simulator/report.ts';
import { simulateCommand } from './run.ts';

const reading = (over: Partial<Reading> = {}): Reading => ({
  atMs: 0,
  startedAtSeconds: 7,
  latency: new Map([
    [0.1, 0],
    [1, 0],
    [Infinity, 0],
  ]),
  received: 0,
  stored: 0,
  duplicates: 0,
  dropped: 0,
  rejected: 0,
  rejectedBy: {},
  ...over,
});
/** As JSON keeps it. */
const kept = (over: Partial<Reading> = {}): KeptReading => {
  const own = reading(over);
  const latency = [...own.latency].map(([bound, count]) => [bound, count]);
  return JSON.parse(JSON.stringify({ ...own, latency })) as KeptReading;
};
const arrived = (below: number, all: number) =>
  new Map([
    [0.1, below],
    [1, all],
    [Infinity, all],
  ]);

const row = (second: number, over: Partial<Row> = {}): Row => ({
  second,
  atMs: second * 1_000,
  stage: 0,
  isSteady: true,
  wanted: 10,
  connected: 10,
  sent: second * 10,
  samples: second * 10,
  replayed: 0,
  unconfirmed: 3,
  own: { pid: 1, cpuSeconds: second * 0.2, rssBytes: 2 ** 20, rssPeakBytes: 2 ** 20 },
  backend: null,
  lagMs: 1.25,
  reading: reading({
    atMs: second * 1_000,
    received: second * 10,
    stored: second * 10,
    latency: arrived(second * 9, second * 10),
  }),
  ...over,
});

const report: Report = {
  name: 'half <of> it',
  scenario: 'steady',
  seed: 1,
  shard: { index: 1, count: 2 },
  nodes: 10,
  guestsPerNode: 2,
  intervalMs: 1_000,
  timeScale: 1,
  durationMs: 10_000,
  isValid: true,
  invalidBecause: [],
  firstNodes: 10,
  connectedNodes: 10,
  connectMs: 100,
  samples: {
    taken: 100,
    sent: 100,
    replayed: 0,
    skippedBeats: 0,
    dropped: 0,
    stored: 100,
    lost: 0,
  },
  accounts: null,
  publishToStateMs: { count: 100, p50: 10, p99: 50, max: 60 },
  rejectedMessages: 0,
  generator: { cpuSeconds: 1, cpuRatio: 0.1, rssPeakBytes: 2 ** 20, lagP99Ms: 2 },
  backend: { cpuSeconds: 3, cpuRatio: 0.3, rssPeakBytes: 2 ** 27 },
  energyKilowattHours: 0.1,
  effects: 0,
  commands: null,
  faults: {
    droppedLinks: 0,
    halfOpen: 0,
    slowReaders: 0,
    brokenLinks: 0,
    duplicates: 0,
    malformed: { KR_BODY: 2 },
  },
  stages: [
    stageOf([row(0), row(1), row(2)], 0, { nodes: 10, interval: 1_000, for: 3_000, ramp: 0 }),
  ],
  knee: null,
  promises: ['unaccounted==0', 'lost==0'],
  books: {
    atStart: kept({ received: 5, stored: 5 }),
    before: kept({ received: 6, stored: 6, latency: arrived(6, 6) }),
    after: kept({ received: 150, stored: 148, rejected: 2, latency: arrived(140, 148) }),
    atEnd: kept({ received: 150, stored: 148, rejected: 2, rejectedBy: { KR_BODY: 2 } }),
    sent: 102,
    breaks: 0,
    followed: [],
  },
  brokenPromises: [],
  seconds: secondsOf([row(0), row(1), row(2)]),
};
const other: Report = {
  ...report,
  shard: { index: 2, count: 2 },
  books: {
    atStart: kept({ received: 0, stored: 0 }),
    before: kept({ received: 9, stored: 9, latency: arrived(9, 9) }),
    after: kept({ received: 204, stored: 200, rejected: 4, latency: arrived(180, 200) }),
    atEnd: kept({ received: 209, stored: 205, rejected: 4, rejectedBy: { KR_BODY: 4 } }),
    sent: 102,
    breaks: 0,
    followed: [],
  },
};

describe('the rows of a run', () => {
  it('become rates, quantiles and cpu of each second; what was not seen stays empty', () => {
    const rows = [row(0), row(1), row(2, { reading: null }), row(3)];
    const seconds = secondsOf(rows);
    expect(seconds[0]).toMatchObject({ sentPerSecond: null, p99Ms: null, generatorCpuRatio: null });
    expect(seconds[1]).toMatchObject({
      sentPerSecond: 10,
      receivedPerSecond: 10,
      storedPerSecond: 10,
      generatorCpuRatio: 0.2,
      backendCpuRatio: null,
    });
    expect(seconds[2]).toMatchObject({ sentPerSecond: 10, receivedPerSecond: null, p50Ms: null });
    // Two seconds since the last answer.
    expect(seconds[3]).toMatchObject({ receivedPerSecond: 10 });
    const lines = csvOfSeconds(seconds).split('\r\n');
    expect(lines).toHaveLength(6);
    expect(lines[0]).toMatch(/^second,stage,wanted,connected,sentPerSecond,/);
    expect(lines[3]).toMatch(/^2,1,10,10,10,,,/);
  });

  it('give a stage the figures of its steady part alone', () => {
    const rows = [row(0, { isSteady: false }), row(1), row(2), row(3), row(4, { stage: 1 })];
    const stage = { nodes: 10, interval: 1_000, for: 4_000, ramp: 1_000 };
    expect(stageOf(rows, 0, stage)).toMatchObject({
      stage: 1,
      seconds: 2,
      sentPerSecond: 10,
      publishToStateMs: { count: 20 },
      rejected: 0,
    });
    expect(stageOf(rows, 2, stage)).toMatchObject({ sentPerSecond: null, rejected: null });
  });

  it('say nothing across a restart of the server', () => {
    const again = row(2, { reading: reading({ startedAtSeconds: 8, received: 3, atMs: 2_000 }) });
    expect(secondsOf([row(1), again])[1]).toMatchObject({ receivedPerSecond: null, p99Ms: null });
  });
});

describe('shards that are put together', () => {
  it('have one account, from the first look of any to the last', () => {
    const merged = mergeReports([other, report]);
    expect(merged.accounts).toEqual({
      sent: 204,
      stored: 200,
      duplicates: 0,
      rejected: 4,
      rejectedBy: { KR_BODY: 4 },
      dropped: { link: 0, ingest: 0 },
      unaccounted: 0,
    });
    expect(merged).toMatchObject({
      shard: null,
      nodes: 20,
      samples: { taken: 200, stored: 200, lost: 0 },
      publishToStateMs: { count: 194 },
      faults: { malformed: { KR_BODY: 4 } },
      brokenPromises: [],
    });
    expect(merged.stages[0]).toMatchObject({ nodes: 20, sentPerSecond: 20 });
    expect(merged.seconds?.[1]).toMatchObject({
      connected: 20,
      sentPerSecond: 20,
      receivedPerSecond: 10,
    });
  });

  it('are judged by the promises of the profile, which no shard alone can keep', () => {
    const greedy = { ...other, books: { ...other.books, sent: 103 } as Report['books'] };
    expect(mergeReports([report, greedy]).brokenPromises).toEqual([
      'the accounts do not balance: 1 telemetry messages are unaccounted for',
      'unaccounted==0 does not hold: unaccounted is 1',
    ]);
  });

  it('must all be there, each once', () => {
    expect(() => mergeReports([report])).toThrow('these are 1 of 2 shards');
    expect(() => mergeReports([report, report])).toThrow('give each of them once');
    expect(() => mergeReports([{ ...report, shard: null }])).toThrow('not every report');
  });
});

describe('two reports side by side', () => {
  const worse: Report = {
    ...report,
    samples: { ...report.samples, lost: 1 },
    publishToStateMs: { ...report.publishToStateMs, p50: 10.5, p99: 70 },
    backend: { ...report.backend, cpuRatio: 0.2 },
  };

  it('tell better from worse beyond the tolerance, and anything lost from nothing', () => {
    const verdicts = Object.fromEntries(
      compareReports(report, worse, 0.1).map(({ name, verdict }) => [name, verdict]),
    );
    expect(verdicts).toMatchObject({
      nodes: 'unjudged',
      lost: 'worse',
      'p50 ms': 'same',
      'p99 ms': 'worse',
      'server cpu': 'better',
    });
    expect(verdicts).not.toHaveProperty('knee /s');
    expect(renderComparison(compareReports(report, worse, 0.1))).toMatch(
      /p99 ms +50 +70 +\+40\.0 % +WORSE/,
    );
  });
});

describe('a report as a page', () => {
  it('is one file that loads nothing, with charts of what was seen, foreign text escaped', () => {
    const html = htmlOf({ ...report, brokenPromises: ['a<b does not hold'] });
    expect(html).toContain('<h1>half &lt;of&gt; it</h1>');
    expect(html).toContain('a&lt;b does not hold');
    expect(html).toContain("default-src 'none'");
    expect(html).not.toMatch(/(src|href)=["']?(https?:|\/)/);
    const [, charts = ''] = /const charts = (.*?);\n/s.exec(html) ?? [];
    const titles = (JSON.parse(charts) as { title: string }[]).map(({ title }) => title);
    expect(titles).toContain('Messages');
    // Nobody knew the memory of the server: an empty chart would be a riddle.
    expect(titles).not.toContain('Memory of the server');
  });
});

describe('the commands about reports', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kr-reports-'));
    await writeFile(join(folder, 'a.json'), JSON.stringify(report));
    await writeFile(join(folder, 'b.json'), JSON.stringify(other));
    await writeFile(join(folder, 'x.json'), '{"samples": 3}');
  });
  afterEach(() => rm(folder, { recursive: true }));
  const path = (name: string): string => join(folder, name);

  it('compare ends with 99 when something is worse, and with 0 otherwise', async () => {
    const slower = { ...report, publishToStateMs: { count: 1, p50: 11, p99: 90, max: 90 } };
    await writeFile(path('slow.json'), JSON.stringify(slower));
    expect(await simulateCommand(['compare', path('a.json'), path('slow.json')])).toMatchObject({
      exitCode: 99,
    });
    const same = await simulateCommand(['compare', path('a.json'), path('b.json')]);
    expect(same).toMatchObject({ exitCode: 0, errors: '' });
    const loose = ['compare', path('a.json'), path('slow.json'), '--tolerance', '100%'];
    expect(await simulateCommand(loose)).toMatchObject({ exitCode: 0 });
  });

  it('merge writes the whole test, its page and its rows', async () => {
    const files = ['--out', path('m.json'), '--html', path('m.html'), '--csv', path('m.csv')];
    const ran = await simulateCommand(['merge', path('a.json'), path('b.json'), ...files]);
    expect(ran).toMatchObject({ exitCode: 0, errors: '' });
    expect(JSON.parse(await readFile(path('m.json'), 'utf8'))).toMatchObject({ nodes: 20 });
    expect(await readFile(path('m.html'), 'utf8')).toContain('uPlot');
    expect((await readFile(path('m.csv'), 'utf8')).split('\r\n')).toHaveLength(5);
  });

  it.each([
    [['merge', 'a.json'], /these are 1 of 2 shards/],
    [['compare', 'a.json', 'x.json'], /x\.json: is no report of simulate --out/],
    [['compare', 'a.json', 'none.json'], /none\.json: is no report/],
    [['compare', 'a.json', 'b.json', '--tolerance', 'much'], /--tolerance: use 0 to 1000 percent/],
  ])('%j says in one line what was wrong', async (args, message) => {
    const own = args.map((arg) => (arg.endsWith('.json') ? path(arg) : arg));
    const { exitCode, errors } = await simulateCommand(own);
    expect(exitCode).toBe(2);
    expect(errors).toMatch(message);
  });
});
