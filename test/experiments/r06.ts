/**
 * R6: MariaDB dies (SIGKILL, then a start on the same folder) or hangs (SIGSTOP, then SIGCONT)
 * under work, in turns. Nothing is lost or done twice, the API says 503 fast, telemetry goes on,
 * and everything works again soon after the store is back.
 */
import {
  chance,
  experiment,
  type Figures,
  pauseMs,
  type Scope,
  spread,
} from '../support/experiment.ts';
import { type Loaded, startLoaded } from '../support/loaded.ts';
import { until } from '../support/servers.ts';

type Outage = {
  how: 'kill' | 'stop';
  downMs: number;
  samplesStored: number;
  /** From the return of the store to the first accepted command, and to the first finished one. */
  acceptedAfterMs: number;
  effectAfterMs: number;
};

async function outage(loaded: Loaded, how: Outage['how'], downMs: number): Promise<Outage> {
  const { mariadb, stack, load, simulation } = loaded;
  const before = (await stack.api.ingestFigures())['stored'] ?? 0;
  if (how === 'kill') await mariadb.kill9();
  else process.kill(mariadb.pid, 'SIGSTOP');
  await pauseMs(downMs);
  const samplesStored = ((await stack.api.ingestFigures())['stored'] ?? 0) - before;
  if (how === 'kill') await mariadb.restart();
  else process.kill(mariadb.pid, 'SIGCONT');
  const backMs = performance.now();
  const [accepted, effects] = [load.counts.accepted, simulation.effects().length];
  await until(() => load.counts.accepted > accepted, { what: 'an accepted command' });
  const acceptedAfterMs = Math.round(performance.now() - backMs);
  await until(() => simulation.effects().length > effects, { what: 'an effect' });
  const effectAfterMs = Math.round(performance.now() - backMs);
  return { how, downMs, samplesStored, acceptedAfterMs, effectAfterMs };
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const draw = chance(seed);
  const loaded = await startLoaded({ seed });
  try {
    const outages: Outage[] = [];
    const unavailable: number[] = [];
    for (let index = 0; index < n; index += 1) {
      await pauseMs(draw.between(1_000, 3_000));
      const fromMs = performance.now();
      // A short form still has one long enough for a dead connection to be given up.
      const one = await outage(loaded, index % 2 === 0 ? 'kill' : 'stop', n > 4 ? 60_000 : 6_000);
      outages.push(one);
      const answers = loaded.load.answers.filter(({ atMs }) => atMs >= fromMs);
      unavailable.push(...answers.filter(({ status }) => status === 503).map(({ ms }) => ms));
      say(JSON.stringify(one));
    }
    await pauseMs(2_000);
    const { violations, figures, settledMs } = await loaded.conclude();
    const silent = outages.filter(({ samplesStored, downMs }) => samplesStored < downMs / 1_000);
    return {
      outages,
      api503Ms: spread(unavailable),
      statuses: countBy(loaded),
      acceptedAfterMs: spread(outages.map(({ acceptedAfterMs }) => acceptedAfterMs)),
      effectAfterMs: spread(outages.map(({ effectAfterMs }) => effectAfterMs)),
      settledMs,
      ...figures,
      violations: [
        ...violations,
        ...silent.map(({ how }) => `telemetry was not stored while the database was ${how}ed`),
        ...outages.filter(({ effectAfterMs }) => effectAfterMs > 30_000).map(() => 'late recovery'),
      ],
    };
  } finally {
    await loaded.remove();
  }
}

function countBy({ load }: Loaded): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status } of load.answers) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

export const r06 = experiment(import.meta, { name: 'R6', short: 2, long: 20, run });
