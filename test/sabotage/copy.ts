/**
 * A copy of the product and its tests in which one patch at a time is applied, and taken back. The
 * product itself holds no switch for faults: what is broken is broken only there. Packages are
 * those of this checkout.
 */
import { execFile, spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..', '..');
export const patchFolder = join(import.meta.dirname, 'patches');
/** What is not copied: too large, and the same for all. */
const shared: ReadonlySet<string> = new Set(['node_modules', '.git']);

export type Group = 'protocol' | 'guards' | 'journal';
export type Tier = 'core' | 'full';

/** What the head of a patch says of it. */
export type Sabotage = {
  name: string;
  path: string;
  /** In one sentence, what is wrong now. */
  what: string;
  group: Group;
  tier: Tier;
  /** At which the simulation finds it; 0: not looked for yet. */
  seed: number;
  /** The invariants that it violates there. */
  judge: string;
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
    judge: field('Judge'),
    changes: [...text.matchAll(/^\+\+\+ b\/(\S+)/gm)].map((match) => match[1] ?? ''),
  };
}

export const allSabotages = (folder = patchFolder): Sabotage[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.patch'))
    .sort()
    .map((name) => read(join(folder, name)));

/** Writes into the head of a patch where it was found, and by whom. */
export function enter({ path }: Sabotage, { seed, judge }: { seed: number; judge: string }): void {
  const text = readFileSync(path, 'utf8');
  const entered = text
    .replace(/^Seed: .*$/m, `Seed: ${seed}`)
    .replace(/^Judge: .*$/m, `Judge: ${judge}`);
  writeFileSync(path, entered);
}

export type Copy = {
  folder: string;
  /** @throws Error when the patch does not apply: the code it breaks has changed. */
  broken<T>(by: Sabotage, use: () => Promise<T>): Promise<T>;
};

export async function inCopy<T>(use: (copy: Copy) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'kr-sabotage-'));
  const patch = (args: readonly string[]) =>
    run('git', ['apply', '--whitespace=nowarn', ...args], { cwd: folder });
  const copy: Copy = {
    folder,
    async broken({ path }, work) {
      await patch([path]);
      try {
        return await work();
      } finally {
        await patch(['--reverse', path]);
      }
    },
  };
  try {
    for (const part of readdirSync(root)) {
      if (shared.has(part)) continue;
      await cp(join(root, part), join(folder, part), { recursive: true });
    }
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
    return await use(copy);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export type Found = { seed: number; judge: string };
export type Search = { tier: Tier; from: number; seeds: number };

/** A seed takes a fraction of a second; broken code may stand still. */
const standstillMs = 120_000;

/**
 * Runs seeds in the copy until one violates an invariant; null when none does. Code that throws or
 * stands still has broken no invariant, so the search ends there without a result.
 */
export async function simulateIn(
  folder: string,
  { tier, from, seeds }: Search,
): Promise<Found | null> {
  const argv = ['test/sabotage/seek.ts', tier, `${from}`, `${seeds}`];
  const child = spawn(process.execPath, argv, {
    cwd: folder,
    env: { ...process.env, NODE_COMPILE_CACHE: join(folder, '.compiled') },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = new Promise<void>((resolve) => void child.once('close', () => resolve()));
  let timer: NodeJS.Timeout | undefined;
  const watch = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => child.kill('SIGKILL'), standstillMs);
  };
  watch();
  let found: Found | null = null;
  for await (const line of createInterface({ input: child.stdout })) {
    const { seed, judge } = JSON.parse(line) as { seed: number; judge: string | null };
    if (judge !== null) found = { seed, judge };
    watch();
  }
  await ended;
  clearTimeout(timer);
  return found;
}
