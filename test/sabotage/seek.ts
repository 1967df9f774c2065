/**
 * Runs seeds of the simulation one after another, in the checkout it lies in, until one violates
 * an invariant. Says each seed it has looked at, so that whoever waits can tell work from
 * standstill, and on its last line where it was found and by which judges; then it ends.
 *
 *   node test/sabotage/seek.ts <tier> <from> <seeds>
 */
import { simulate } from '../protocol/simulation.ts';
import { openWorkshop } from '../protocol/workshop.ts';

const [tier = 'core', from = '1', seeds = '1'] = process.argv.slice(2);
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

/** Ids of invariants; what only threw broke none. */
const judgesOf = (violations: readonly string[]): string[] => {
  const ids = violations.flatMap((said) => /^([A-Z]+-?\d+)\b/.exec(said)?.[1] ?? []);
  return [...new Set(ids)].sort();
};

// A follower answers most messages with an error; nobody reads where that was made.
Error.stackTraceLimit = 1;
const workshop = await openWorkshop(tier === 'full' ? 'full' : 'core');
for (let seed = Number(from); seed < Number(from) + Number(seeds); seed += 1) {
  const { violations } = await simulate(seed, workshop, 'nothing');
  const judges = judgesOf(violations);
  say({ seed, judge: judges.length > 0 ? judges.join(' ') : null });
  if (judges.length > 0) break;
}
process.exit(0);
