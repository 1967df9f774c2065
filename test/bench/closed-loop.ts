/**
 * The loop closed in real time: a real server whose engine acts by itself on simulated nodes under
 * `save-power`, with a hot node in every cluster and every twentieth first boot failing. Says how
 * soon hot nodes were relieved, how many sleep, node-minutes over the threshold, energy against
 * always on, and what oscillated. The last line is one JSON object.
 *
 *   npm run bench:loop -- [nodes 2048] [minutes 80] [time scale 60] [guests 10]
 *
 * A day lasts 24 minutes at time scale 60, and a peak is known after two: shorter runs show no
 * wake ahead of one.
 */
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Intent } from '../../backend/decide/plan.ts';
import { shippedPolicy } from '../../backend/decide/strategies.ts';
import { wattsOff } from '../../simulator/world/power.ts';
import { buildFleetWorld } from '../../simulator/world/build.ts';
import { simulate, type Stack, startStack } from '../support/stack.ts';

const [nodes = 2_048, minutes = 80, timeScale = 60, guests = 10] = process.argv
  .slice(2)
  .map(Number);
const nodesPerCluster = 16;
const seed = 42;
const lookEveryMs = 10_000;
const roundMs = 10_000;
const pageSize = 5_000;
const { above, forMs } = shippedPolicy('save-power').relieve.cpuRatio;

const idleWatts = new Map(
  [
    ...buildFleetWorld({
      seed,
      startMs: 0,
      timeScale,
      nodes,
      nodesPerCluster,
      guestsPerNode: guests,
      clusterPrefix: 'sim',
    }).nodes,
  ].map(([key, { spec }]) => [key, spec.wattsIdle]),
);

type NodeRow = { id: string; cluster: string; state: string; cpuRatio: number | null };
type DecisionRow = { id: string; cluster: string; outcome: string };
const clusterIds = [...new Set([...idleWatts.keys()].map((key) => key.split('/')[0] ?? ''))];

async function inTurn<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const left = [...items];
  const lane = async (): Promise<void> => {
    for (let item = left.pop(); item !== undefined; item = left.pop()) await work(item);
  };
  await Promise.all(Array.from({ length: 8 }, lane));
}

/** Everything may be done, and is wanted to save power. */
const letAct = ({ api }: Stack): Promise<void> =>
  inTurn(clusterIds, async (id) => {
    const autonomy = { 'guest.migrate': 'auto', 'node.shutdown': 'auto', 'node.wake': 'auto' };
    const changed = await api.send('PATCH', `/api/v1/clusters/${id}`, { body: { autonomy } });
    const follows = await api.send('PUT', `/api/v1/clusters/${id}/policy`, {
      body: { policy: 'save-power' },
    });
    if (changed.status >= 300 || follows.status >= 300) {
      throw new Error(`${id}: ${JSON.stringify([changed.body, follows.body])}`);
    }
  });

const seen = { looks: 0, asleepMost: 0, minutesOver: 0, savedWattHours: 0, mostLoad: 0 };

/** One look at all nodes, booked for the time until the next. */
async function look({ api }: Stack): Promise<void> {
  const { items } = await api.get<{ items: NodeRow[] }>(`nodes?limit=${pageSize}`);
  const asleep = items.filter(({ state }) => state === 'asleep');
  const isOver = ({ state, cpuRatio }: NodeRow) => state === 'awake' && (cpuRatio ?? 0) > above;
  const hours = (lookEveryMs / 3_600_000) * timeScale;
  seen.looks += 1;
  seen.asleepMost = Math.max(seen.asleepMost, asleep.length);
  seen.minutesOver += items.filter(isOver).length * hours * 60;
  for (const { cluster, id } of asleep) {
    seen.savedWattHours += ((idleWatts.get(`${cluster}/${id}`) ?? 0) - wattsOff) * hours;
  }
  seen.mostLoad = Math.max(seen.mostLoad, loadavg()[0] ?? 0);
}

/** Of each hot node the first move: how long after the policy's wait it was decided, ms. */
async function reliefDelays({ api }: Stack): Promise<number[]> {
  const delays: number[] = [];
  await inTurn(clusterIds, async (cluster) => {
    const { items } = await api.get<{ items: DecisionRow[] }>(
      `decisions?cluster=${cluster}&outcome=acted&limit=1000`,
    );
    const first = new Map<string, number>();
    for (const { id } of items) {
      const { intents } = await api.get<{ intents: Intent[] }>(`decisions/${id}`);
      for (const { rule, executor, facts } of intents) {
        const hotForMs = facts.find(({ name }) => name === 'hotForMs')?.value;
        if (rule !== 'relieve.cpuRatio' || typeof hotForMs !== 'number') continue;
        first.set(executor, Math.min(first.get(executor) ?? Infinity, hotForMs));
      }
    }
    for (const hotForMs of first.values()) delays.push(hotForMs - forMs / timeScale);
  });
  return delays.sort((a, b) => a - b);
}

const oscillationsOf = async ({ api }: Stack): Promise<number> => {
  const { body } = await api.send<string>('GET', '/metrics');
  const lines = body.matchAll(/^kr_decide_oscillations_total\{.*\} (\S+)$/gm);
  return [...lines].reduce((sum, [, value]) => sum + Number(value), 0);
};

const stack = await startStack({ KR_SAMPLE_INTERVAL_MS: '5000' });
try {
  const simulation = simulate(stack, [
    '--auto',
    `--nodes=${nodes}`,
    `--nodes-per-cluster=${nodesPerCluster}`,
    `--guests=${guests}`,
    `--interval=5`,
    `--seed=${seed}`,
    `--scenario=closed-loop`,
    `--minutes=${minutes}`,
    `--time-scale=${timeScale}`,
  ]);
  const isThere = async (): Promise<boolean> => {
    const { status } = await stack.api.send('GET', `/api/v1/clusters/${clusterIds.at(-1)}`);
    return status === 200;
  };
  while (!simulation.run.isOver() && !(await isThere())) await sleep(1_000);
  await letAct(stack);
  process.stderr.write(`${clusterIds.length} clusters act by themselves\n`);
  while (!simulation.run.isOver()) {
    await look(stack);
    await sleep(lookEveryMs);
  }
  const report = await simulation.report();
  const delays = await reliefDelays(stack);
  const effects = simulation.effects();
  const count = (kind: string, outcome: string): number =>
    effects.filter((one) => one.kind === kind && one.effect === 'end' && one.outcome === outcome)
      .length;
  const usedKwh = report.energyKilowattHours;
  process.stdout.write(
    `${JSON.stringify({
      nodes,
      minutes,
      timeScale,
      hotNodesRelieved: delays.length,
      relievedWithin2Rounds: delays.filter((ms) => ms <= 2 * roundMs).length,
      reliefDelayMs: {
        p50: delays[Math.floor(delays.length / 2)] ?? null,
        max: delays.at(-1) ?? null,
      },
      nodeMinutesOver: Math.round(seen.minutesOver),
      asleepMost: seen.asleepMost,
      kwh: usedKwh,
      kwhAlwaysOn: Math.round((usedKwh + seen.savedWattHours / 1_000) * 10) / 10,
      moves: count('guest.migrate', 'ok'),
      sleeps: count('node.shutdown', 'ok'),
      wakes: count('node.wake', 'ok'),
      wakesFailed: count('node.wake', 'boot failed'),
      oscillations: await oscillationsOf(stack),
      samplesLost: report.samples.lost,
      isValid: report.isValid,
      loadAverage: Math.round(seen.mostLoad),
    })}\n`,
  );
} finally {
  await stack.remove();
}
