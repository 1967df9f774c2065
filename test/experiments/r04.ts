/**
 * R4: an executor kills itself at every named point around its journal and its effects, and is
 * started again on the same folder; commands flow all the time. The whole daemon is killed at
 * random beside a real backend in R3.
 */
import { chance, experiment, type Figures, type Scope, upperBound } from '../support/experiment.ts';
import { type FuseName, fuseNames } from '../support/executor-process.ts';
import {
  type ExecutorServer,
  judgeExecutor,
  startExecutorServer,
} from '../support/executor-server.ts';
import { until } from '../support/servers.ts';

const burnMaxMs = 3_000;
const newPerLife = 3;
const openMax = 30;
/** Passed when a journal is made, and afterwards only when it has grown and is written anew. */
const atCreation: readonly FuseName[] = [
  'rename:before',
  'rename:after',
  'remove:before',
  'syncFolder:before',
  'syncFolder:after',
  'preallocate:before',
  'preallocate:after',
];
const flowing = fuseNames.filter((name) => !atCreation.includes(name));

/** On an empty folder: dies while the journal comes to be, then lives and does one command. */
async function dieAtCreation(name: FuseName): Promise<string[]> {
  const server = await startExecutorServer();
  try {
    const isReady = await server.start({ name, passing: 1 });
    if (isReady) return [`${name}: not passed`];
    await server.start();
    server.ask();
    await until(() => server.open() === 0, { what: `a command after ${name}` });
    return judgeExecutor(server);
  } finally {
    await server.close();
  }
}

/**
 * A life without a fuse. What was killed between STARTED and its effect takes 6 s to be seen as
 * absent: without such lives nothing would ever end, and kill after kill would find the same work.
 */
async function drain(server: ExecutorServer): Promise<void> {
  await server.start();
  await until(() => server.open() < openMax / 4, { what: 'the end of commands', withinMs: 60_000 });
  await server.kill9();
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const draw = chance(seed);
  const server = await startExecutorServer();
  const hits: Partial<Record<FuseName, number>> = {};
  const violations: string[] = [];
  let kills = 0;
  try {
    for (; kills < (n * atCreation.length) / fuseNames.length; kills += 1) {
      const name = atCreation[kills % atCreation.length] as FuseName;
      violations.push(...(await dieAtCreation(name)));
      hits[name] = (hits[name] ?? 0) + 1;
    }
    for (let turn = 0; kills < n; turn += 1) {
      const name = flowing[turn % flowing.length] as FuseName;
      if (server.open() >= openMax) await drain(server);
      const askedMax = server.asked.size + newPerLife;
      await server.start({ name, passing: name === 'truncate:before' ? 1 : 1 + draw.below(3) });
      const untilMs = performance.now() + burnMaxMs;
      while (server.isRunning() && performance.now() < untilMs) {
        if (server.asked.size < askedMax) server.ask();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      if (!server.isRunning()) hits[name] = (hits[name] ?? 0) + 1;
      await server.kill9();
      kills += 1;
      if (kills % 100 === 0) say(`${kills} kills, ${server.asked.size} commands`);
    }
    await server.start();
    await until(() => server.open() === 0, { what: 'the end of every command', withinMs: 60_000 });
    const ends = Map.groupBy(server.asked.values(), ({ end }) => end?.step ?? 'none');
    return {
      kills,
      hits,
      notHit: fuseNames.filter((name) => hits[name] === undefined),
      commands: server.asked.size,
      effects: server.effects().length,
      finished: ends.get('finished')?.length ?? 0,
      refused: ends.get('refused')?.length ?? 0,
      upperBound: upperBound(kills),
      violations: [...violations, ...judgeExecutor(server)],
    };
  } finally {
    await server.close();
  }
}

export const r04 = experiment(import.meta, { name: 'R4', short: 17, long: 1_000, run });
