/**
 * Makes the change that refusals of random clusters name and asks again. The last line is one JSON
 * object: refusals, for how many a change is named, and how many of those flip when it is made.
 *
 *   node test/bench/flips.ts [refusals]
 */
import { sample } from 'fast-check';
import { flipsOf } from '../backend/decide/flips.ts';
import { scenes } from '../backend/decide/scenes.ts';

const [wanted = 10_000] = process.argv.slice(2).map(Number);
const numRuns = 200;
const total = { refusals: 0, named: 0, flipped: 0 };
const byRule: Record<string, [refusals: number, named: number]> = {};
for (let seed = 1; total.refusals < wanted; seed += 1) {
  const found = flipsOf(sample(scenes, { seed, numRuns }));
  total.refusals += found.refusals;
  total.named += found.named;
  total.flipped += found.flipped;
  for (const [rule, [refusals = 0, named = 0]] of found.byRule) {
    const known = byRule[rule] ?? [0, 0];
    byRule[rule] = [known[0] + refusals, known[1] + named];
  }
}
process.stdout.write(`${JSON.stringify({ ...total, byRule })}\n`);
