/**
 * R10: partitions by schedule. Daemons reach the broker, and the backend its MariaDB, through
 * proxies that hold bytes (both ways or one), cut and refuse, flap, and clog group after group
 * and free them in another order. Work goes on all the time. Nothing is lost or done twice, and
 * work is done again soon after each schedule has ended.
 */
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
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { type Loaded, startLoaded } from '../support/loaded.ts';
import { until } from '../support/servers.ts';

const groups = 4;
/** Longer than that until work is done again is a violation. */
const slowMs = 30_000;
const kinds = ['hold', 'one way up', 'one way down', 'cut', 'flap', 'swizzle'] as const;
type Kind = (typeof kinds)[number];

type Site = { name: 'broker' | 'store'; proxy: FaultProxy };

const free = { up: false, down: false };

async function disturb(draw: Chance, { proxy, name }: Site, kind: Kind, lastMs: number) {
  const some = name === 'store' ? undefined : [0, 1, 2, 3].filter(() => draw.is(0.6));
  switch (kind) {
    case 'hold':
      proxy.hold({ up: true, down: true }, some);
      await pauseMs(lastMs);
      return proxy.hold(free, some);
    case 'one way up':
    case 'one way down':
      proxy.hold({ up: kind === 'one way up', down: kind === 'one way down' }, some);
      await pauseMs(lastMs);
      return proxy.hold(free, some);
    case 'cut':
      proxy.cut({ refuse: true }, some);
      await pauseMs(lastMs);
      return proxy.allow();
    case 'flap':
      for (let turn = 0; turn < 3; turn += 1) {
        proxy.cut({ refuse: true }, some);
        await pauseMs(500);
        proxy.allow();
        await pauseMs(500);
      }
      return;
    case 'swizzle':
    default: {
      const order = Array.from({ length: groups }, (_, group) => group);
      for (const group of order) {
        proxy.hold({ up: true, down: true }, [group]);
        await pauseMs(lastMs / 8);
      }
      for (const group of order.toSorted(() => draw.ratio() - 0.5)) {
        proxy.hold(free, [group]);
        await pauseMs(lastMs / 8);
      }
    }
  }
}

/** From the end of a schedule until a command is accepted and one more effect has begun. */
async function recovery({ load, simulation }: Loaded): Promise<number> {
  const startMs = performance.now();
  const [accepted, effects] = [load.counts.accepted, simulation.effects().length];
  await until(() => load.counts.accepted > accepted && simulation.effects().length > effects, {
    withinMs: 120_000,
    what: 'work after a partition',
  });
  return performance.now() - startMs;
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const draw = chance(seed);
  const proxies: Site[] = [];
  const open = async (name: Site['name'], port: number): Promise<number> => {
    const proxy = await startFaultProxy(port, name === 'broker' ? groups : 1);
    proxies.push({ name, proxy });
    return proxy.port;
  };
  const loaded = await startLoaded({
    seed,
    sqlUrl: async ({ url, port }) => url.replace(String(port), String(await open('store', port))),
    simulateMqttUrl: async (stack) => {
      const port = Number(new URL(stack.runtime().mqttUrl).port);
      return `mqtt://127.0.0.1:${await open('broker', port)}`;
    },
  });
  try {
    const recoveredMs: number[] = [];
    const done: Record<string, number> = {};
    for (let turn = 0; turn < n; turn += 1) {
      const site = draw.is(0.3) ? proxies.filter(({ name }) => name === 'store') : proxies;
      const chosen = draw.is(0.2) ? proxies : [draw.pick(site)];
      const told: string[] = [];
      await Promise.all(
        chosen.map((one) => {
          const kind = draw.pick(kinds);
          const key = `${one.name}: ${kind}`;
          done[key] = (done[key] ?? 0) + 1;
          const lastMs = draw.between(300, draw.is(0.1) ? 12_000 : 4_000);
          told.push(`${key} for ${Math.round(lastMs)} ms`);
          return disturb(draw, one, kind, lastMs);
        }),
      );
      const ms = await recovery(loaded);
      recoveredMs.push(ms);
      if (ms > slowMs) say(`${Math.round(ms)} ms after ${told.join(' beside ')}`);
      if (turn % 25 === 24) say(`${turn + 1} schedules, ${loaded.load.counts.accepted} commands`);
    }
    const { violations, figures, settledMs } = await loaded.conclude({ withinMs: 400_000 });
    return {
      schedules: n,
      done,
      recoveredMs: spread(recoveredMs),
      upperBound: upperBound(n),
      settledMs,
      ...figures,
      violations: [
        ...violations,
        ...recoveredMs
          .filter((ms) => ms > slowMs)
          .map((ms) => `work came back after ${Math.round(ms)} ms`),
      ],
    };
  } finally {
    await loaded.remove();
    for (const { proxy } of proxies) await proxy.close();
  }
}

export const r10 = experiment(import.meta, { name: 'R10', short: 4, long: 500, run });
