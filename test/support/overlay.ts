/**
 * This very machine as a throw-away copy: a mount namespace with an overlay above its root. What
 * is installed there is written to a temporary folder, and nothing outside ever sees it. Needs
 * root and a kernel with overlayfs.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export type Overlay = {
  /** The root of the copy, as seen inside its namespace. */
  root: string;
  /** Runs in the copy, as root; answers what it printed. */
  inside(argv: readonly string[]): Promise<string>;
  /** A program of the host, in the namespace of the copy but not below its root. */
  start(argv: readonly string[]): ChildProcess;
  /** Paths that differ from the machine below, sorted, each with what became of it. */
  changes(): string[];
  remove(): Promise<void>;
};

/** Why this machine cannot lend itself, or null. */
export function whyNoOverlay(): string | null {
  if (process.getuid?.() !== 0) return 'needs root';
  const folder = mkdtempSync(join(tmpdir(), 'kr-overlay-'));
  for (const name of ['u', 'w', 'm']) mkdirSync(join(folder, name));
  try {
    execFileSync('unshare', ['-m', 'sh', '-c', mountOf(folder)], { stdio: 'ignore' });
    return null;
  } catch {
    return 'this kernel mounts no overlay';
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const mountOf = (folder: string): string =>
  `mount -t overlay overlay -o lowerdir=/,upperdir=${folder}/u,workdir=${folder}/w ${folder}/m`;

/** Whiteouts are character devices 0/0. */
function changeOf(path: string, below: string): string | null {
  const now = lstatSync(path);
  const before = lstatSync(below, { throwIfNoEntry: false });
  if (now.isCharacterDevice()) return before ? 'removed' : null;
  if (!before) return 'added';
  const same = now.mode === before.mode && now.uid === before.uid && now.gid === before.gid;
  if (!same) return 'changed';
  if (!now.isFile()) return null;
  return readFileSync(path).equals(readFileSync(below)) ? null : 'changed';
}

function changesBelow(upper: string, under = ''): string[] {
  return readdirSync(join(upper, under), { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(under, entry.name);
      const change = changeOf(join(upper, path), join('/', path));
      const own = change === null ? [] : [`/${path} ${change}`];
      return entry.isDirectory() ? [...own, ...changesBelow(upper, path)] : own;
    })
    .toSorted();
}

export async function startOverlay(): Promise<Overlay> {
  const folder = mkdtempSync(join(tmpdir(), 'kr-overlay-'));
  for (const name of ['u', 'w', 'm']) mkdirSync(join(folder, name));
  const root = join(folder, 'm');
  const script = `${mountOf(folder)} && mount -t proc proc ${root}/proc && mount --rbind /dev \
${root}/dev && mount --rbind /sys ${root}/sys && mount -t tmpfs tmpfs ${root}/run && echo ready; \
exec sleep infinity`;
  const holder = spawn('unshare', ['-m', 'sh', '-c', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [first] = (await once(holder.stdout, 'data')) as [Buffer];
  if (first.toString().trim() !== 'ready') throw new Error('the overlay was not mounted');
  const enter = ['nsenter', '--target', String(holder.pid), '--mount', '--'];
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', DEBIAN_FRONTEND: 'x' };
  return {
    root,
    async inside(argv) {
      const [program = '', ...args] = [...enter, 'chroot', root, ...argv];
      const { stdout, stderr } = await run(program, args, { env, maxBuffer: 2 ** 26 });
      return stdout + stderr;
    },
    start(argv) {
      const [program = '', ...args] = [...enter, ...argv];
      return spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    },
    changes: () => changesBelow(join(folder, 'u')),
    async remove() {
      const ended = once(holder, 'exit');
      holder.kill('SIGKILL');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
