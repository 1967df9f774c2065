/**
 * A copy of the product and its tests in which one patch was applied. The product itself holds no
 * switch for faults: what is broken is broken only there. Packages are those of this checkout.
 */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..', '..');
/** Proven ones, and those whose proof is still to be made: their seed is 0. */
export type Shelf = 'patches' | 'candidates';
const parts = ['broker', 'backend', 'daemon', 'simulator', 'test', 'docs', 'bin', 'packaging'];
const files = ['kernreaktor.ts', 'package.json', 'tsconfig.json', 'README.md'];

export type Group = 'protocol' | 'guards' | 'journal';

/** What the head of a patch says of it. */
export type Sabotage = {
  name: string;
  path: string;
  /** In one sentence, what is wrong now. */
  what: string;
  group: Group;
  tier: 'core' | 'full';
  /** At which the simulation finds it; 0 for a candidate. */
  seed: number;
  /** Product files that it changes. */
  changes: string[];
};

function read(path: string): Sabotage {
  const text = readFileSync(path, 'utf8');
  const field = (name: string): string => {
    const value = new RegExp(`^${name}: (.+)$`, 'm').exec(text)?.[1];
    if (value === undefined) throw new Error(`${path}: its head names no ${name}`);
    return value;
  };
  const [group, tier] = [field('Group'), field('Tier')];
  if (group !== 'protocol' && group !== 'guards' && group !== 'journal') {
    throw new Error(`${path}: Group is protocol, guards or journal`);
  }
  if (tier !== 'core' && tier !== 'full') throw new Error(`${path}: Tier is core or full`);
  return {
    name: basename(path, '.patch'),
    path,
    what: field('What'),
    group,
    tier,
    seed: Number(field('Seed')),
    changes: [...text.matchAll(/^\+\+\+ b\/(\S+)/gm)].map((match) => match[1] ?? ''),
  };
}

export function allSabotages(shelf: Shelf): Sabotage[] {
  const folder = join(import.meta.dirname, shelf);
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => name.endsWith('.patch'));
  return names.sort().map((name) => read(join(folder, name)));
}

/** @throws Error when the patch does not apply: the code it breaks has changed. */
export async function inCopy<T>(sabotage: Sabotage, use: (folder: string) => Promise<T>) {
  const folder = await mkdtemp(join(tmpdir(), 'kr-sabotage-'));
  try {
    for (const part of [...parts, ...files]) {
      await cp(join(root, part), join(folder, part), { recursive: true }).catch(
        (error: unknown) => {
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        },
      );
    }
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
    await run('git', ['apply', '--whitespace=nowarn', sabotage.path], { cwd: folder });
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export type Found = { isFound: boolean; seed: number | null; said: string };

/** Runs the simulation of the copy; found = it saw an invariant violated. */
export async function simulateIn(
  folder: string,
  { tier, from, seeds }: { tier: string; from: number; seeds: number },
): Promise<Found> {
  const argv = [
    'test/protocol/main.ts',
    '--tier',
    tier,
    '--seeds',
    `${seeds}`,
    '--from',
    `${from}`,
  ];
  const ended = await run(process.execPath, [...argv, '--until-violation'], {
    cwd: folder,
    maxBuffer: 2 ** 26,
    timeout: 1_800_000,
  }).catch((error: { stdout?: string; stderr?: string }) => error);
  const said = `${ended.stdout ?? ''}${ended.stderr ?? ''}`;
  const seed = /^seed (\d+) is violated:/m.exec(said)?.[1];
  return { isFound: seed !== undefined, seed: seed === undefined ? null : Number(seed), said };
}
