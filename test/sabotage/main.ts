/**
 * Whether the simulation finds what it should. Each patch breaks a copy of the product; one counts
 * only when the type check and the ordinary unit tests of what it touches do not notice, and when
 * the seed that finds it is clean without it.
 *
 *   npm run sim:sabotage -- [name...]             replays each patch at its recorded seed
 *   npm run sim:sabotage -- --refind [name...]    where that finds nothing, searches another seed
 *   npm run sim:sabotage -- --prove [name...]     the same, with type check and unit tests
 *
 * Seeds and judges that are found are written into the patches' heads. --folder names another
 * folder of patches, --seeds how far to search.
 */
import { execFile } from 'node:child_process';
import { parseArgs, promisify } from 'node:util';
import {
  allSabotages,
  type Copy,
  enter,
  type Found,
  inCopy,
  patchFolder,
  type Sabotage,
  simulateIn,
} from './copy.ts';

const run = promisify(execFile);
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prove: { type: 'boolean', default: false },
    refind: { type: 'boolean', default: false },
    folder: { type: 'string', default: patchFolder },
    seeds: { type: 'string', default: '10000' },
  },
});
const seeds = Number(values.seeds);

const passes = (folder: string, program: string, args: readonly string[]): Promise<string | null> =>
  run(`${folder}/node_modules/.bin/${program}`, args, { cwd: folder, maxBuffer: 2 ** 26 }).then(
    () => null,
    ({ stdout = '' }: { stdout?: string }) => /(?:FAIL|error TS).*/.exec(stdout)?.[0] ?? 'failed',
  );

/** Proofs are no witnesses here, and what needs a server or other machines is no unit test. */
const noUnitTests = '{protocol,sabotage,guards,experiments,flow,store,corosync,install,packaging}';

const testsOf = (changes: readonly string[]): string[] => [
  'related',
  '--run',
  '--bail=1',
  '--no-color',
  '--exclude=**/mariadb.test.ts',
  `--exclude=test/${noUnitTests}/**`,
  ...changes,
];

/** Seeds before this one have no advantage: what is recorded is looked at first. */
async function find(copy: Copy, { tier, seed }: Sabotage): Promise<Found | null> {
  const again = seed > 0 ? await simulateIn(copy.folder, { tier, from: seed, seeds: 1 }) : null;
  if (again || (!values.refind && !values.prove)) return again;
  return simulateIn(copy.folder, { tier, from: 1, seeds });
}

/** What speaks against this patch, or null. */
async function judge(copy: Copy, sabotage: Sabotage): Promise<string | null> {
  const { tier, changes } = sabotage;
  const wrong = await copy.broken(sabotage, async () => {
    const found = await find(copy, sabotage);
    if (!found) return 'the simulation does not see it';
    Object.assign(sabotage, found);
    if (!values.prove) return null;
    // Packages are linked, and their types must not be taken for those of another place.
    const typed = await passes(copy.folder, 'tsc', ['--noEmit', '--preserveSymlinks']);
    if (typed !== null) return `type check: ${typed}`;
    const tested = await passes(copy.folder, 'vitest', testsOf(changes));
    return tested === null ? null : `unit test: ${tested}`;
  });
  if (wrong !== null) return wrong;
  const { seed } = sabotage;
  const clean = await simulateIn(copy.folder, { tier, from: seed, seeds: 1 });
  if (clean) return `seed ${seed} is violated without it too: ${clean.judge}`;
  if (values.refind || values.prove) enter(sabotage, sabotage);
  return null;
}

const chosen = allSabotages(values.folder).filter(
  ({ name }) => positionals.length === 0 || positionals.some((part) => name.includes(part)),
);
let counted = 0;
await inCopy(async (copy) => {
  for (const sabotage of chosen) {
    const wrong = await judge(copy, sabotage).catch((error: Error) => error.message);
    if (wrong === null) counted += 1;
    say(`${sabotage.name}: ${wrong ?? 'counts'}, seed ${sabotage.seed} (${sabotage.judge})`);
  }
});
say(JSON.stringify({ patches: chosen.length, counted }));
if (counted < chosen.length) process.exitCode = 1;
