/**
 * A process of its own that writes batches for ever, so that a test can kill it: prints how many
 * samples are durable the moment the fiftieth `write` has resolved, and goes on writing.
 */
import { openDuckDbStore } from '../../backend/store/metrics/duckdb.ts';
import { virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { sampleOf, startMs } from './metrics-samples.ts';

const store = await openDuckDbStore({
  file: process.argv[2] ?? '',
  clock: virtualClock(startMs + 3_600_000),
  log: memoryLog(),
});
for (let seq = 1; ; seq += 1) {
  await store.write([sampleOf(seq)]);
  if (seq === 50) process.stdout.write(`${seq}\n`);
}
