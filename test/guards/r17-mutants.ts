/**
 * Mutation test of R17: copies the sources, plants one error at a time, and asks whether the
 * proposals find it.
 *
 *   node test/guards/r17-mutants.ts [--proposals 20000] [--only <part of a name>]
 *
 * A mutant the type checker would refuse still counts as planted: the copy is run, not compiled.
 * The last line is one JSON object; the exit code is 1 when one was not found.
 */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { type Mutant, mutants } from './mutants.ts';
import type { Tally } from './tally.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..', '..');

async function copyOfSources(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kr-mutants-'));
  for (const name of [
    'backend',
    'broker',
    'daemon',
    'test/guards',
    'test/support',
    'test/backend/act',
  ]) {
    await cp(join(root, name), join(folder, name), { recursive: true });
  }
  await cp(join(root, 'package.json'), join(folder, 'package.json'));
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

async function judged(folder: string, proposals: string): Promise<Tally> {
  const args = ['test/guards/r17.ts', '--proposals', proposals, '--workers', '1'];
  const output = await run(process.execPath, args, { cwd: folder, maxBuffer: 2 ** 24 }).catch(
    (error: unknown) => error as { stdout: string; stderr: string },
  );
  const last = output.stdout.trim().split('\n').at(-1) ?? '';
  if (!last.startsWith('{')) throw new Error(`the copy did not run: ${output.stderr}`);
  return JSON.parse(last) as Tally;
}

type Found = { name: string; by: string | null; count: number };

/** The class that grew most: what the planted error lets pass. */
function grown(clean: Tally, now: Tally): [name: string, count: number] | undefined {
  const classes = Object.entries({ ...now.layers, ...now.dangerous }).map(
    ([name, { count }]): [string, number] => [name, count - (clean.layers[name]?.count ?? 0)],
  );
  return classes.filter(([, count]) => count > 0).toSorted(([, a], [, b]) => b - a)[0];
}

type Asked = { folder: string; proposals: string; clean: Tally };

async function plant({ folder, proposals, clean }: Asked, mutant: Mutant): Promise<Found> {
  const path = join(folder, mutant.file);
  const text = await readFile(path, 'utf8');
  if (text.split(mutant.from).length !== 2) {
    throw new Error(`${mutant.name}: ${mutant.file} holds its line not exactly once`);
  }
  await writeFile(path, text.replace(mutant.from, mutant.to));
  try {
    const first = grown(clean, await judged(folder, proposals));
    return { name: mutant.name, by: first?.[0] ?? null, count: first?.[1] ?? 0 };
  } finally {
    await writeFile(path, text);
  }
}

const { values } = parseArgs({
  options: {
    proposals: { type: 'string', default: '20000' },
    only: { type: 'string', default: '' },
  },
});
const folder = await copyOfSources();
try {
  const clean = await judged(folder, values.proposals);
  const found: Found[] = [];
  for (const mutant of mutants.filter(({ name }) => name.includes(values.only))) {
    const one = await plant({ folder, proposals: values.proposals, clean }, mutant);
    process.stdout.write(`${one.by === null ? 'MISSED' : 'found'}  ${one.name}: ${one.by}\n`);
    found.push(one);
  }
  const missed = found.filter(({ by }) => by === null).map(({ name }) => name);
  const isClean = Object.keys(clean.dangerous).length === 0;
  const figures = { experiment: 'R17 mutants', planted: found.length, missed, isClean };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  process.exitCode = missed.length === 0 && isClean ? 0 : 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
