/**
 * Runs the seeds it is told, one after another, and answers each with its outcome. Some are run
 * twice: the same seed must give the same event log (L-3). What nobody catches ends the process,
 * and its parent knows which seed it was.
 */
import type { Tier } from './house.ts';
import { type FromWorker, repeatEvery, type ToWorker } from './run.ts';
import { type Outcome, simulate } from './simulation.ts';
import { openWorkshop } from './workshop.ts';

const tier = process.argv[2] as Tier;
// A follower answers most messages with an error; nobody reads where that was made.
Error.stackTraceLimit = 1;
const workshop = await openWorkshop(tier);

async function runOne(seed: number): Promise<Outcome> {
  const isRepeated = seed % repeatEvery[tier] === 0;
  const outcome = await simulate(seed, workshop, isRepeated ? 'hash' : 'nothing');
  if (!isRepeated) return outcome;
  const again = await simulate(seed, workshop);
  if (again.hash !== outcome.hash) outcome.violations.push('L-3: the same seed, another event log');
  return { ...outcome, isRepeated };
}

const tell = (message: FromWorker): Promise<void> =>
  new Promise((done) => {
    process.send?.(message, undefined, undefined, () => done());
  });

async function work({ from, seeds }: ToWorker): Promise<void> {
  for (let seed = from; seed < from + seeds; seed += 1) await tell({ outcome: await runOne(seed) });
  await tell({ done: true });
}

process.on('message', (message: ToWorker) => void work(message));
process.on('disconnect', () => process.exit(0));
