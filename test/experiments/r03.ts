/**
 * R3: the backend is killed (kill -9) 100 times during 10,000 commands, with a real MariaDB, the
 * broker over TCP, 64 daemon processes and fake Proxmox tools, whose log alone says what began.
 * `houseRun` with daemons as victims is the second half of R4.
 */
import { judge, openStore, settled } from '../support/checker.ts';
import {
  chance,
  type Chance,
  experiment,
  type Figures,
  pauseMs,
  type Scope,
  spread,
  upperBound,
} from '../support/experiment.ts';
import { houseEvidence } from '../support/house-evidence.ts';
import { type Load, startLoad } from '../support/load.ts';
import { type House, openHouse, untilHeard } from '../support/proxmox-house.ts';
import { startMariadb, until } from '../support/servers.ts';
import { type Stack, startStack } from '../support/stack.ts';

export type HousePlan = {
  commands: number;
  kills: number;
  victims: 'backend' | 'daemons';
  clusters: number;
  nodesPerCluster: number;
};

/** Until the API answers a question that needs the store. */
async function restart(stack: Stack): Promise<number> {
  await stack.kill9();
  const startMs = performance.now();
  await stack.start();
  await until(
    async () => {
      const answer = await stack.api.send('GET', '/api/v1/commands?limit=1').catch(() => null);
      return answer?.status === 200;
    },
    { withinMs: 180_000, what: 'an answer after the restart' },
  );
  return performance.now() - startMs;
}

async function killDaemon(house: House, draw: Chance): Promise<void> {
  const running = [...house.daemons.values()].filter((daemon) => daemon.isRunning());
  const victim = draw.pick(running);
  await victim?.kill9();
  await pauseMs(draw.between(0, 2_000));
  victim?.start();
}

type Site = { stack: Stack; house: House; load: Load; draw: Chance };

/** Kills spread over the whole work, each at a random moment of its share. */
async function killAlong(site: Site, plan: HousePlan, say: Scope['say']): Promise<number[]> {
  const { stack, house, load, draw } = site;
  const servingMs: number[] = [];
  for (let kill = 1; kill <= plan.kills; kill += 1) {
    const at = ((kill - draw.ratio()) / plan.kills) * plan.commands * 0.98;
    await until(() => load.counts.accepted >= at, { withinMs: 900_000, what: `${at} commands` });
    await pauseMs(draw.between(0, 400));
    if (plan.victims === 'backend') servingMs.push(await restart(stack));
    else await killDaemon(house, draw);
    if (kill % 10 === 0) {
      const { accepted, refused } = load.counts;
      say(
        `${kill} kills, ${accepted} accepted, ${refused} refused, serving ${spread(servingMs).max}`,
      );
    }
  }
  return servingMs;
}

export async function houseRun(plan: HousePlan, scope: Scope): Promise<Figures> {
  const mariadb = await startMariadb();
  try {
    return await houseOn(mariadb.url, plan, scope);
  } finally {
    await mariadb.stop();
  }
}

async function houseOn(sqlUrl: string, plan: HousePlan, { seed, say }: Scope): Promise<Figures> {
  const draw = chance(seed);
  const stack = await startStack(
    { KR_SQL_URL: sqlUrl, KR_LOG_LEVEL: 'warn' },
    { hasFixedPorts: true },
  );
  const { clusters, nodesPerCluster } = plan;
  const size = { clusters, nodesPerCluster, guestsPerNode: 4 };
  const house = await openHouse({ ...size, timeScale: 100, intervalMs: 5_000, seed });
  const store = await openStore(sqlUrl);
  let load: Load | undefined;
  try {
    await house.startDaemons({
      mqttUrl: stack.runtime().mqttUrl,
      post: async (path, body) => stack.api.post(path, body),
    });
    await untilHeard(house, (method, path) => stack.api.send(method, path));
    say(`${house.daemons.size} daemon processes are heard`);
    const startMs = performance.now();
    const countMax = plan.commands;
    load = startLoad(stack, { seed, clients: clusters * 3, pauseBetweenMs: 150, countMax });
    const { counts } = load;
    const servingMs = await killAlong({ stack, house, load, draw }, plan, say);
    await until(() => counts.accepted >= countMax, { withinMs: 1_800_000, what: 'all commands' });
    await load.stop();
    const workSeconds = Math.round((performance.now() - startMs) / 1_000);
    const { settledMs } = await settled(store, 300_000);
    const effects = await houseEvidence(store.db, house);
    const { violations, figures } = await judge(store, { accepted: load.accepted, effects });
    return {
      kills: plan.kills,
      victims: plan.victims,
      daemonProcesses: house.daemons.size,
      workSeconds,
      servingMs: spread(servingMs),
      settledMs,
      ...figures,
      refusals: Object.fromEntries(load.refusals),
      repeatedRequests: counts.repeated,
      upperBound: upperBound(figures.commands),
      violations: [
        ...violations,
        ...servingMs.filter((ms) => ms > 3_000).map((ms) => `served after ${Math.round(ms)} ms`),
        ...(settledMs > 60_000 ? [`the last command ended after ${settledMs} ms`] : []),
      ],
    };
  } finally {
    await load?.stop();
    await house.close();
    await store.close();
    await stack.remove();
  }
}

export const r03 = experiment(import.meta, {
  name: 'R3',
  short: 30,
  long: 10_000,
  run: (scope) => {
    const isShort = scope.n < 1_000;
    const size = isShort
      ? { clusters: 1, nodesPerCluster: 3 }
      : { clusters: 8, nodesPerCluster: 8 };
    const kills = isShort ? 2 : Math.round(scope.n / 100);
    return houseRun({ commands: scope.n, kills, victims: 'backend', ...size }, scope);
  },
});
