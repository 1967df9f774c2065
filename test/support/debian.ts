/**
 * Debian packages for tests without root and without a trace on the system: apt resolves and
 * downloads with its own private lists, dpkg only unpacks, and nothing is installed. Where there
 * is no apt, what stands on PATH is used instead.
 */
import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..', '..');
const cache = join(root, 'node_modules', '.cache', 'kernreaktor');
const unpacked = join(cache, 'root');

export const serverPackages = [
  'mariadb-server-core',
  'mariadb-client-core',
  'mosquitto',
  'mosquitto-clients',
  'victoria-metrics',
] as const;

/** Keeps apt away from the system's lists, caches and locks. */
const aptOptions = (state: string): string[] =>
  [
    `Dir::State=${state}`,
    'Dir::State::Status=/var/lib/dpkg/status',
    `Dir::Cache=${state}/cache`,
    'APT::Sandbox::User=',
    'Debug::NoLocking=true',
    'APT::Get::List-Cleanup=false',
  ].flatMap((option) => ['-o', option]);

const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

const onPath = (name: string): string | undefined =>
  [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
    .map((folder) => join(folder, name))
    .find(isExecutable);

const inCache = (name: string): string | undefined =>
  ['usr/sbin', 'usr/bin', 'sbin', 'bin']
    .map((folder) => join(unpacked, folder, name))
    .find(isExecutable);

/** Where a server's program is, or undefined when this machine has no way to it. */
export const program = (name: string): string | undefined => inCache(name) ?? onPath(name);

/** The environment under which an unpacked program finds its own libraries. */
export const programEnv = (): NodeJS.ProcessEnv => ({
  PATH: process.env['PATH'],
  LC_ALL: 'C',
  LD_LIBRARY_PATH: ['usr/lib', 'lib']
    .flatMap((folder) =>
      ['x86_64-linux-gnu', 'aarch64-linux-gnu'].map((arch) => `${folder}/${arch}`),
    )
    .map((folder) => join(unpacked, folder))
    .join(':'),
});

export const unpackedPath = (path: string): string =>
  existsSync(join(unpacked, path)) ? join(unpacked, path) : join('/', path);

export const fetchServers = (): Promise<void> => fetchPackages(serverPackages, unpacked);

/** Packages and what they need, in a folder of their own under the cache; answers that folder. */
export async function fetchInto(folder: string, packages: readonly string[]): Promise<string> {
  await fetchPackages(packages, join(cache, folder));
  return join(cache, folder);
}

/**
 * Packages of this system itself, for tests that were asked to install. Test files run side by side
 * and apt lets only one in, so they wait for each other.
 */
export async function installPackages(packages: readonly string[]): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const update = 'apt-get update -qq';
  const install = `apt-get install -y -qq --no-install-recommends ${packages.join(' ')}`;
  await mkdir(cache, { recursive: true });
  const lock = join(cache, 'apt.lock');
  await run('flock', [lock, 'sh', '-ec', `${update}; ${install}`], { env, maxBuffer: 2 ** 26 });
}

/** Downloads and unpacks what is missing; a second run finds the folder and does nothing. */
async function fetchPackages(packages: readonly string[], into: string): Promise<void> {
  if (existsSync(into) || onPath('apt-get') === undefined) return;
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'apt-'));
  try {
    for (const folder of ['lists/partial', 'cache/archives/partial', 'debs', 'root']) {
      await mkdir(join(work, folder), { recursive: true });
    }
    const apt = aptOptions(work);
    const env = { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' };
    await run('apt-get', ['update', '-qq', ...apt], { env });
    const plan = await run(
      'apt-get',
      ['install', '--simulate', '--no-install-recommends', ...apt, ...packages],
      { env, maxBuffer: 2 ** 24 },
    );
    const missing = [...plan.stdout.matchAll(/^Inst (\S+)/gm)].map((match) => match[1] ?? '');
    if (missing.length > 0) {
      await run('apt-get', ['download', '-qq', ...apt, ...missing], {
        env,
        cwd: join(work, 'debs'),
      });
    }
    for (const deb of await readdir(join(work, 'debs'))) {
      await run('dpkg', ['-x', join(work, 'debs', deb), join(work, 'root')]);
    }
    // Renamed last, so that an interrupted fetch is never taken for a complete one.
    await rename(join(work, 'root'), into);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
