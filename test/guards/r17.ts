/**
 * RELIABILITY R17: adversarial proposals judged by the product's guards and by a second reading of
 * SAFETY section 2.
 *
 *   node test/guards/r17.ts --proposals 1000000 --seed 1 [--workers 2]
 *
 * The last line is one JSON object. A class of disagreement is shown with its first seed; replay
 * that with --proposals 1 --seed <seed>.
 */
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { type Tally, tallyOf, merged } from './tally.ts';

type Range = { from: number; count: number };

async function inWorkers(proposals: number, seed: number, workers: number): Promise<Tally> {
  const share = Math.ceil(proposals / workers);
  const ranges = Array.from({ length: workers }, (_, index) => ({
    from: seed + index * share,
    count: Math.min(share, proposals - index * share),
  })).filter(({ count }) => count > 0);
  const tallies = await Promise.all(
    ranges.map(
      (range) =>
        new Promise<Tally>((resolve, reject) => {
          const worker = new Worker(import.meta.filename, { workerData: range });
          worker.once('message', resolve);
          worker.once('error', reject);
        }),
    ),
  );
  return merged(tallies);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      proposals: { type: 'string', default: '1000000' },
      seed: { type: 'string', default: '1' },
      workers: { type: 'string', default: '2' },
    },
  });
  const startedAt = performance.now();
  const seed = Number(values.seed);
  const tally = await inWorkers(Number(values.proposals), seed, Number(values.workers));
  const seconds = Math.round((performance.now() - startedAt) / 100) / 10;
  process.stdout.write(`${JSON.stringify({ experiment: 'R17', seed, seconds, ...tally })}\n`);
  process.exitCode = Object.keys(tally.dangerous).length === 0 ? 0 : 1;
}

if (isMainThread) {
  await main();
} else {
  const { from, count } = workerData as Range;
  parentPort?.postMessage(tallyOf(from, count));
}
