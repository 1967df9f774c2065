/**
 * RELIABILITY R18: a rogue engine for a simulated week.
 *
 *   node test/guards/r18.ts [--hours 168] [--after 3] [--seed 1]
 *
 * The last line is one JSON object; the exit code is 1 when a limit was passed.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runRogue } from './rogue.ts';

const { values } = parseArgs({
  options: {
    hours: { type: 'string', default: '168' },
    after: { type: 'string', default: '3' },
    seed: { type: 'string', default: '1' },
  },
});
const folder = await mkdtemp(join(tmpdir(), 'kr-rogue-'));
try {
  const startedAt = performance.now();
  const figures = await runRogue(folder, {
    hours: Number(values.hours),
    hoursAfterBreak: Number(values.after),
    seed: Number(values.seed),
  });
  const seconds = Math.round((performance.now() - startedAt) / 1_000);
  process.stdout.write(`${JSON.stringify({ experiment: 'R18', seconds, ...figures })}\n`);
  process.exitCode = figures.violations.length === 0 ? 0 : 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
