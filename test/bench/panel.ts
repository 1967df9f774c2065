/**
 * What the fleet page costs a browser: `kernreaktor start`, a simulated fleet of real daemons, and
 * the page in headless Chromium, traced by the DevTools protocol. An update lasts from one batch of
 * the stream to the next, and everything that the page's main thread does meanwhile is charged to it.
 * Traced in windows; between them, untraced, garbage is collected and the heap looked at.
 *
 *   npm run bench:panel -- --nodes 2048 --minutes 5 [--judge]
 *
 * With --judge it exits with 99 when the p95 is above 16 ms. The last line is one JSON object.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import type { CDPSession, Page } from 'playwright-core';
import { buildPanel } from '../../backend/panel/build.ts';
import { startChromium } from '../support/chromium.ts';
import { machine, pauseMs, percentile } from '../support/experiment.ts';
import { slopeOf } from '../experiments/r09.ts';
import { until } from '../support/servers.ts';
import { simulate, type Stack, startStack } from '../support/stack.ts';
import {
  type Cost,
  type LongTask,
  longTaskMs,
  type Reduced,
  reduceTrace,
  type TraceEvent,
} from '../support/trace.ts';

const { values: asked } = parseArgs({
  options: {
    nodes: { type: 'string', default: '2048' },
    guests: { type: 'string', default: '20' },
    interval: { type: 'string', default: '5' },
    minutes: { type: 'string', default: '1' },
    judge: { type: 'boolean', default: false },
  },
});
const nodes = Number(asked.nodes);
const minutes = Number(asked.minutes);
if (!(Number.isInteger(nodes) && nodes >= 2 && nodes <= 16_384)) {
  throw new Error('--nodes: write a whole number from 2 to 16384');
}
if (!(minutes >= 0.2 && minutes <= 120)) throw new Error('--minutes: write 0.2 to 120');

const windowMs = 10_000;
const aimP95Ms = 16;
/** Everything but the measured minutes: start, enrolment, the browser, the end. */
const besideMaxMs = 600_000;
const account = { username: 'bench', password: 'a long sentence nobody guesses' };
const say = (line: string): void => void process.stderr.write(`${line}\n`);

const round = (value: number | null, digits = 1): number | null =>
  value === null ? null : Number(value.toFixed(digits));

const categories = ['devtools.timeline', 'disabled-by-default-devtools.timeline', 'v8'];

async function traced(cdp: CDPSession, forMs: number): Promise<Reduced> {
  const events: TraceEvent[] = [];
  const keep = ({ value }: { value: object[] }): void =>
    void events.push(...(value as TraceEvent[]));
  cdp.on('Tracing.dataCollected', keep);
  await cdp.send('Tracing.start', {
    transferMode: 'ReportEvents',
    traceConfig: { includedCategories: categories },
  });
  await pauseMs(forMs);
  const isWhole = new Promise<boolean>((resolve) =>
    cdp.once('Tracing.tracingComplete', ({ dataLossOccurred }) => resolve(!dataLossOccurred)),
  );
  await cdp.send('Tracing.end');
  const ended = await isWhole;
  cdp.off('Tracing.dataCollected', keep);
  if (!ended) throw new Error('the browser lost a part of its trace');
  return reduceTrace(events);
}

type HeapLook = { atMs: number; mib: number };

async function lookAtHeap(cdp: CDPSession): Promise<HeapLook> {
  await cdp.send('HeapProfiler.collectGarbage');
  const { usedSize } = await cdp.send('Runtime.getHeapUsage');
  return { atMs: performance.now(), mib: usedSize / 2 ** 20 };
}

/** Without the first quarter, in which the browser still compiles. */
function heapFigures(heap: readonly HeapLook[]) {
  const settled = heap.slice(Math.floor(heap.length / 4));
  const of = (look: HeapLook | undefined): number | null => round(look?.mib ?? null, 2);
  return {
    looks: settled.length,
    firstMib: of(settled[0]),
    lastMib: of(settled.at(-1)),
    slopeMibPerHour: settled.length < 3 ? null : slopeOf(settled),
  };
}

async function measure(page: Page) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('HeapProfiler.enable');
  const startMs = performance.now();
  const [heap, updates, longTasks] = [[] as HeapLook[], [] as Cost[], [] as LongTask[]];
  while (performance.now() - startMs < minutes * 60_000) {
    heap.push(await lookAtHeap(cdp));
    const window = await traced(cdp, windowMs);
    updates.push(...window.updates);
    longTasks.push(...window.longTasks);
    say(`${updates.length} updates, ${round(heap.at(-1)?.mib ?? null, 2)} MiB of heap`);
  }
  heap.push(await lookAtHeap(cdp));
  return { heap, updates, longTasks };
}

/** Runs in the page before its own scripts: the moment at which the fleet is on the screen. */
const noteFleet = `new MutationObserver((changes, observer) => {
  if (document.querySelector('.heat-map canvas, .card.node') === null) return;
  observer.disconnect();
  performance.mark('fleet-shown');
}).observe(document, { subtree: true, childList: true });`;

/** With an empty cache, the fleet known to the server already. */
async function firstLoad(page: Page, url: string) {
  await page.goto(`${url}/#/`);
  // The server's own host may be one of them.
  const heading = page.getByRole('heading', { name: /^[\d,]+ nodes$/ });
  const isShown = async (): Promise<boolean> =>
    Number((await heading.textContent())?.replace(/\D/g, '')) >= nodes;
  await until(isShown, { withinMs: 60_000, what: `${nodes} nodes on the page` });
  return page.evaluate(() => {
    const startMsOf = (name: string): number =>
      Math.round(performance.getEntriesByName(name)[0]?.startTime ?? Number.NaN);
    const all = [
      ...performance.getEntriesByType('navigation' as 'resource'),
      ...performance.getEntriesByType('resource'),
    ] as unknown as { transferSize: number }[];
    return {
      firstPaintMs: startMsOf('first-contentful-paint'),
      fleetShownMs: startMsOf('fleet-shown'),
      requests: all.length,
      transferredBytes: all.reduce((sum, { transferSize }) => sum + transferSize, 0),
    };
  });
}

function scriptSizes() {
  const folder = join(import.meta.dirname, '../../backend/panel/dist/assets');
  const scripts = readdirSync(folder).filter((name) => name.endsWith('.js'));
  const contents = scripts.map((name) => readFileSync(join(folder, name)));
  const sum = (sizes: readonly number[]): number => sizes.reduce((all, size) => all + size, 0);
  return {
    scriptBytes: sum(contents.map(({ length }) => length)),
    scriptGzipBytes: sum(contents.map((content) => gzipSync(content).length)),
  };
}

const ends: (() => Promise<unknown>)[] = [];
async function cleanUp(): Promise<void> {
  for (const end of ends.splice(0).toReversed()) await end().catch(() => undefined);
}

async function startFleet(): Promise<{ stack: Stack; token: string }> {
  const stack = await startStack({ KR_LOG_LEVEL: 'warn', KR_SAMPLE_INTERVAL_MS: '5000' });
  ends.push(() => stack.remove());
  const setup = stack.runtime().setupToken;
  await stack.api.post('setup', { token: setup, ...account });
  const { body } = await stack.api.post<{ token: string }>('session', account);
  const { guests, interval } = asked;
  const fleet = `--nodes ${nodes} --guests ${guests} --interval ${interval} --minutes 600`;
  const simulation = simulate(stack, fleet.split(' '));
  ends.push(() => simulation.run.stop());
  await until(
    async () => {
      if (simulation.run.isOver()) throw new Error(simulation.run.stderr().slice(-2_000));
      await pauseMs(500);
      const { total } = await stack.api.get<{ total: number }>('nodes?state=awake&limit=1');
      return total >= nodes;
    },
    { withinMs: 300_000, what: `${nodes} nodes awake` },
  );
  say(`${nodes} nodes are awake`);
  return { stack, token: body.token };
}

function summary({ heap, updates, longTasks }: Awaited<ReturnType<typeof measure>>) {
  const of = (value: (cost: Cost) => number) => {
    const all = updates.map(value);
    return {
      p50: percentile(all, 0.5, 1),
      p95: percentile(all, 0.95, 1),
      max: percentile(all, 1, 1),
    };
  };
  return {
    updates: updates.length,
    scriptingAndRenderingMs: of(({ scriptingMs, renderingMs }) => scriptingMs + renderingMs),
    ofThatOnProcessorMs: of(({ cpuMs }) => cpuMs),
    scriptingMs: of(({ scriptingMs }) => scriptingMs),
    renderingMs: of(({ renderingMs }) => renderingMs),
    everyTaskMs: of(({ taskMs }) => taskMs),
    longTasks: {
      over50Ms: longTasks.length,
      over50MsOnProcessor: longTasks.filter(({ cpuMs }) => cpuMs > longTaskMs).length,
      longestMs: round(Math.max(0, ...longTasks.map(({ ms }) => ms))),
    },
    heap: heapFigures(heap),
  };
}

async function main(): Promise<void> {
  await buildPanel();
  const { stack, token } = await startFleet();
  const browser = await startChromium();
  ends.push(() => browser.close());
  const context = await browser.newContext({ viewport: { width: 1_280, height: 900 } });
  await context.addInitScript((kept) => sessionStorage.setItem('kernreaktor-session', kept), token);
  await context.addInitScript(noteFleet);
  const page = await context.newPage();
  const load = await firstLoad(page, stack.runtime().httpUrl);
  say(`first load ${JSON.stringify(load)}`);
  const figures = summary(await measure(page));
  if (figures.updates === 0) throw new Error('no update of the page was seen whole');
  const line = {
    nodes,
    guests: Number(asked.guests),
    intervalSeconds: Number(asked.interval),
    minutes,
    ...figures,
    firstLoad: load,
    ...scriptSizes(),
    browser: browser.version(),
    machine: machine(),
    loadAverage: round(loadavg()[0] ?? NaN),
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
  if (asked.judge && (figures.scriptingAndRenderingMs.p95 ?? Infinity) > aimP95Ms) {
    process.exitCode = 99;
  }
}

const giveUp = (why: string, code: number) => (): void => {
  say(why);
  void cleanUp().then(() => process.exit(code));
};
const bound = setTimeout(
  giveUp('it took far longer than it may', 1),
  minutes * 60_000 + besideMaxMs,
);
process.once('SIGINT', giveUp('interrupted', 130));
process.once('SIGTERM', giveUp('ended', 143));
try {
  await main();
} finally {
  clearTimeout(bound);
  await cleanUp();
}
