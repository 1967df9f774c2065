/**
 * How long a backtest takes and how the server fares meanwhile: 30 days of 10 nodes with 60 guests,
 * one sample a minute, in the embedded metrics store. The last line is one JSON object.
 *
 *   node test/bench/backtest.ts [days] [nodes] [guests]
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBacktests } from '../../backend/backtest/backtests.ts';
import { startPlayer } from '../../backend/backtest/runner.ts';
import { shippedPolicy } from '../../backend/decide/strategies.ts';
import { emptyFleet } from '../../backend/state/fleet.ts';
import { openDuckDbStore } from '../../backend/store/metrics/duckdb.ts';
import type { StoredSample } from '../../backend/store/ports.ts';
import { storedSample } from '../../backend/store/stored-sample.ts';
import { guestFact, nodeFact } from '../backend/backtest/reels.ts';
import { seededRandom } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { guestSample, nodeValues } from '../support/messages.ts';

const [days = 30, nodeCount = 10, guestCount = 60] = process.argv.slice(2).map(Number);
const minuteMs = 60_000;
const dayMs = 1_440 * minuteMs;
const gib = 2 ** 30;
const cores = 16;
const random = seededRandom(1);
const folder = await mkdtemp(join(tmpdir(), 'kr-bench-backtest-'));
const endMs = Math.floor(Date.now() / dayMs) * dayMs;
const startMs = endMs - days * dayMs;
const clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after: (delayMs: number, run: () => void | Promise<void>) => {
    const timer = setTimeout(() => void run(), delayMs);
    return () => clearTimeout(timer);
  },
};
const log = memoryLog();
const store = await openDuckDbStore({
  file: join(folder, 'metrics.duckdb'),
  clock,
  log,
  retentionDays: days + 2,
  diskMaxMb: 16_384,
});

const phase = Array.from({ length: guestCount }, () => random.ratio());
const loadOf = (guest: number, atMs: number): number => {
  const hour = ((atMs % dayMs) / dayMs) * 2 * Math.PI;
  const daily = 0.25 + 0.2 * Math.sin(hour + phase[guest]! * 2);
  return Math.min(1, Math.max(0.01, daily + 0.15 * (random.ratio() - 0.5)));
};

function sampleOf(place: number, seq: number, atMs: number): StoredSample {
  const guests = phase
    .map((_, guest) => guest)
    .filter((guest) => guest % nodeCount === place)
    .map((guest) =>
      guestSample(`g${guest}`, {
        cpuCount: 2,
        cpuRatio: loadOf(guest, atMs),
        memoryUsedBytes: gib,
        memoryTotalBytes: 2 * gib,
      }),
    );
  const used = guests.reduce((sum, { cpuRatio }) => sum + (cpuRatio ?? 0) * 2, 0.3);
  const name = { cluster: 'home', node: `n${place}`, incarnation: 1, seq };
  return storedSample(
    { ...name, sampledAtMs: atMs },
    {
      values: nodeValues({
        cpuCount: cores,
        cpuRatio: Math.min(1, used / cores),
        memoryUsedBytes: 4 * gib + guests.length * gib,
        memoryTotalBytes: 64 * gib,
        powerWatts: 40 + 120 * Math.min(1, used / cores),
      }),
      guests,
    },
  );
}

const beganMs = performance.now();
const hourSteps = 60;
for (let step = 0; step < days * 1_440; step += hourSteps) {
  const batch: StoredSample[] = [];
  for (let at = step; at < step + hourSteps; at += 1) {
    for (let place = 0; place < nodeCount; place += 1) {
      batch.push(sampleOf(place, at + 1, startMs + at * minuteMs));
    }
  }
  await store.write(batch);
}
const filledMs = performance.now() - beganMs;

const facts = [
  ...Array.from({ length: nodeCount }, (_, place) =>
    nodeFact(`n${place}`, { cpuCount: cores, wattsIdle: 40, wattsLoaded: 160 }),
  ),
  ...phase.map((_, guest) => guestFact(`g${guest}`, { node: `n${guest % nodeCount}` })),
];
const lagsMs: number[] = [];
let lastMs = performance.now();
const everyMs = 10;
const lagTimer = setInterval(() => {
  const nowMs = performance.now();
  lagsMs.push(nowMs - lastMs - everyMs);
  lastMs = nowMs;
}, everyMs);
const playBeganMs = performance.now();
const cpuBefore = process.cpuUsage();
const backtests = createBacktests({
  fleet: emptyFleet,
  metrics: store,
  facts: async () => facts,
  player: startPlayer,
  pricePerKwh: null,
  clock,
  newId: () => 'bench',
  log,
});
const policy = shippedPolicy('save-power');
const started = backtests.start({
  cluster: 'home',
  policy,
  fromMs: startMs,
  toMs: endMs,
  pricePerKwh: 0.3,
  actor: 'bench',
});
if (!started.ok) throw new Error(started.refusal.detail);
while (started.backtest.state === 'running') {
  await new Promise((resolve) => setTimeout(resolve, 100));
}
const tookMs = performance.now() - playBeganMs;
const { user, system } = process.cpuUsage(cpuBefore);
clearInterval(lagTimer);
await store.close();
await rm(folder, { recursive: true });
const { outcome, problem, state } = started.backtest;
lagsMs.sort((a, b) => a - b);
const share = (part: number): number => Math.round(lagsMs[Math.floor(part * lagsMs.length)] ?? 0);
process.stdout.write(
  `${JSON.stringify({
    days,
    nodes: nodeCount,
    guests: guestCount,
    state,
    problem,
    filledSeconds: Math.round(filledMs / 1000),
    backtestSeconds: Math.round(tookMs / 100) / 10,
    cpuSeconds: Math.round((user + system) / 100_000) / 10,
    loopLagMsP50: share(0.5),
    loopLagMsP99: share(0.99),
    loopLagMsMax: Math.round(lagsMs.at(-1) ?? 0),
    recordedKwh: outcome?.recorded.kwh,
    replayedKwh: outcome?.replayed.kwh,
    movesPerDay: outcome?.replayed.movesPerDay,
    minutesOver: outcome?.replayed.minutesOver,
  })}\n`,
);
