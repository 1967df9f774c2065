/**
 * Whether the simulation finds what it should. Each patch breaks a copy of the product; one counts
 * only when the type check and the ordinary unit tests of what it touches do not notice.
 *
 *   node test/sabotage/main.ts                    replays each patch at its recorded seed
 *   node test/sabotage/main.ts --prove [name...]  judges which candidates count, and searches their
 *                                                 seeds; what counts moves to patches/ with its seed
 */
import { execFile } from 'node:child_process';
import { parseArgs, promisify } from 'node:util';
import { allSabotages, inCopy, type Sabotage, simulateIn } from './copy.ts';

const run = promisify(execFile);
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prove: { type: 'boolean', default: false },
    seeds: { type: 'string', default: '10000' },
  },
});

type Verdict = { name: string; seed: number | null; isCounted: boolean; why: string };

const passes = (folder: string, program: string, args: readonly string[]): Promise<string | null> =>
  run(`${folder}/node_modules/.bin/${program}`, args, { cwd: folder, maxBuffer: 2 ** 26 }).then(
    () => null,
    ({ stdout = '' }: { stdout?: string }) => /(?:FAIL|error TS).*/.exec(stdout)?.[0] ?? 'failed',
  );

/** The simulation is what is on trial, so it is no witness here. */
const unitTests = ['--exclude', 'test/protocol/**', '--exclude', 'test/sabotage/**'];

async function prove(sabotage: Sabotage): Promise<Verdict> {
  const { name, tier, changes } = sabotage;
  return inCopy(sabotage, async (folder) => {
    const typed = await passes(folder, 'tsc', ['--noEmit']);
    if (typed !== null) return { name, seed: null, isCounted: false, why: `type check: ${typed}` };
    const range = { tier, from: 1, seeds: Number(values.seeds) };
    const { seed } = await simulateIn(folder, range);
    if (seed === null)
      return { name, seed, isCounted: false, why: 'the simulation did not see it' };
    const tested = await passes(folder, 'vitest', ['related', '--run', ...unitTests, ...changes]);
    if (tested !== null) return { name, seed, isCounted: false, why: `unit test: ${tested}` };
    return { name, seed, isCounted: true, why: 'only the simulation sees it' };
  });
}

async function replay(sabotage: Sabotage): Promise<Verdict> {
  const { name, tier, seed } = sabotage;
  const found = await inCopy(sabotage, (folder) =>
    simulateIn(folder, { tier, from: seed, seeds: 1 }),
  );
  return { name, seed, isCounted: found.isFound, why: found.isFound ? 'found' : 'NOT found' };
}

const chosen = allSabotages(values.prove ? 'candidates' : 'patches').filter(
  ({ name }) => positionals.length === 0 || positionals.some((part) => name.includes(part)),
);
const verdicts: Verdict[] = [];
for (const sabotage of chosen) {
  const verdict = await (values.prove ? prove(sabotage) : replay(sabotage));
  verdicts.push(verdict);
  say(`${verdict.name}: ${verdict.why}, seed ${verdict.seed ?? '-'}`);
}
const counted = verdicts.filter(({ isCounted }) => isCounted).length;
say(JSON.stringify({ patches: verdicts.length, [values.prove ? 'counted' : 'found']: counted }));
if (counted < verdicts.length) process.exitCode = 1;
