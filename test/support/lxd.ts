/**
 * A real LXD for tests: Debian's package, installed where that was asked for, run on a folder of
 * its own with a `dir` pool and a busybox image made here. Its end takes every instance with it.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { installPackages } from './debian.ts';
import { freePort, until } from './servers.ts';

const run = promisify(execFile);
const isAsked = process.env['KR_TEST_INSTALL'] === '1' && process.getuid?.() === 0;
/** Empty where a real LXD may be installed, else why these tests are skipped. */
export const noLxd = isAsked ? '' : ' (skipped: installs lxd; set KR_TEST_INSTALL=1 and be root)';

export type RealLxd = {
  socket: string;
  /** Alias of the image. */
  image: string;
  lxc(...args: string[]): Promise<string>;
  /** Operations of LXD that began to work, by their description. */
  begun(): Promise<string[]>;
  stop(): Promise<void>;
};

export async function installLxd(): Promise<void> {
  if (existsSync('/usr/bin/lxd') && existsSync('/bin/busybox')) return;
  await installPackages(['lxd', 'lxd-client', 'busybox-static']);
}

const applets = ['sh', 'init', 'mount', 'sleep', 'poweroff', 'halt', 'reboot', 'sync', 'dd', 'cat'];
const inittab = `::sysinit:/bin/mount -t proc proc /proc
::respawn:/bin/sleep 3600
::shutdown:/bin/sync
`;
const metadata = `architecture: ${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}
creation_date: 1700000000
properties: {description: busybox, os: busybox, release: "1"}
`;
const pools = `storage_pools:
- {name: default, driver: dir}
profiles:
- name: default
  devices:
    root: {path: /, pool: default, type: disk}
`;

async function makeImage(folder: string): Promise<string> {
  const rootfs = join(folder, 'image', 'rootfs');
  for (const name of ['bin', 'sbin', 'etc', 'proc', 'sys', 'dev', 'tmp', 'root', 'run']) {
    await mkdir(join(rootfs, name), { recursive: true });
  }
  await cp('/bin/busybox', join(rootfs, 'bin', 'busybox'), { dereference: true });
  for (const applet of applets) await symlink('busybox', join(rootfs, 'bin', applet));
  await symlink('../bin/busybox', join(rootfs, 'sbin', 'init'));
  await writeFile(join(rootfs, 'etc', 'inittab'), inittab);
  await writeFile(join(rootfs, 'etc', 'passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  await writeFile(join(folder, 'image', 'metadata.yaml'), metadata);
  const file = join(folder, 'image.tar.gz');
  await run('tar', ['-C', join(folder, 'image'), '-czf', file, 'metadata.yaml', 'rootfs']);
  return file;
}

type LxdEvent = {
  type: string;
  metadata: { id?: string; description?: string; class?: string; action?: string };
};

/** Every operation of this LXD, told by itself. */
async function monitorOf(env: NodeJS.ProcessEnv, lxc: RealLxd['lxc']) {
  const child = spawn('lxc', ['monitor', '--type=operation', '--type=lifecycle', '--format=json'], {
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  let marks = 0;
  const events = (): LxdEvent[] =>
    text
      .split('\n')
      .flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as LxdEvent] : []));
  const markCount = (): number =>
    events().filter(({ metadata }) => metadata.action === 'config-updated').length;
  /** Events come in order: when the mark was told, all before it was. */
  const catchUp = async (): Promise<void> => {
    marks += 1;
    const before = markCount();
    await lxc('config', 'set', `user.mark=${marks}`);
    await until(async () => markCount() > before, { withinMs: 10_000, what: 'the events of LXD' });
  };
  await until(
    async () => {
      marks += 1;
      await lxc('config', 'set', `user.mark=${marks}`);
      return markCount() > 0;
    },
    { withinMs: 10_000, what: 'the monitor of LXD' },
  );
  return {
    async begun(): Promise<string[]> {
      await catchUp();
      const tasks = events().filter(({ metadata }) => metadata.class === 'task');
      return [
        ...new Map(tasks.map(({ metadata }) => [metadata.id, metadata.description])).values(),
      ].map((description) => description ?? '');
    },
    stop: () => void child.kill(),
  };
}

type Running = { dir: string; env: NodeJS.ProcessEnv; lxc: RealLxd['lxc']; stop(): Promise<void> };

/** One daemon on a folder of its own, not yet initialised. */
async function startDaemon(folder: string, name: string): Promise<Running> {
  const dir = join(folder, name);
  await mkdir(dir, { mode: 0o711 });
  const env = { PATH: process.env['PATH'], LXD_DIR: dir, HOME: folder };
  const server = spawn('lxd', ['--group', 'root'], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  server.stderr.on('data', (chunk: Buffer) => (log = (log + chunk.toString()).slice(-8_000)));
  const ended = once(server, 'exit');
  const lxc = async (...args: string[]): Promise<string> => {
    const running = run('lxc', args, { env, maxBuffer: 2 ** 24 });
    // It reads the configuration of a new instance from there.
    running.child.stdin?.end();
    return (await running).stdout;
  };
  await until(
    async () => {
      if (server.exitCode !== null) throw new Error(`lxd ended: ${log}`);
      return lxc('info').then(
        () => true,
        () => false,
      );
    },
    { withinMs: 60_000, what: 'lxd' },
  );
  return {
    dir,
    env,
    lxc,
    async stop() {
      server.kill('SIGPWR');
      const killer = setTimeout(() => server.kill('SIGKILL'), 15_000);
      await ended;
      clearTimeout(killer);
    },
  };
}

async function initialise({ env }: Running, preseed: string): Promise<void> {
  const running = run('lxd', ['init', '--preseed'], { env });
  running.child.stdin?.end(preseed);
  await running;
}

async function removeInstances({ lxc }: Running): Promise<void> {
  const names = (await lxc('list', '--all-projects', '-f', 'csv', '-c', 'n')).split('\n');
  for (const name of names) if (name !== '') await lxc('delete', '--force', name);
}

/** A path of a unix socket has at most 107 bytes. */
async function newFolder(): Promise<string> {
  await installLxd();
  const folder = await mkdtemp('/tmp/kr-lxd-');
  await chmod(folder, 0o711);
  return folder;
}

const remove = (folder: string): Promise<void> =>
  rm(folder, { recursive: true, force: true, maxRetries: 5 });

export async function startLxd(): Promise<RealLxd> {
  const folder = await newFolder();
  const daemon = await startDaemon(folder, 'd');
  await initialise(daemon, pools);
  await daemon.lxc('image', 'import', await makeImage(folder), '--alias', 'busybox');
  const monitor = await monitorOf(daemon.env, daemon.lxc);
  return {
    socket: join(daemon.dir, 'unix.socket'),
    image: 'busybox',
    lxc: daemon.lxc,
    begun: () => monitor.begun(),
    async stop() {
      await removeInstances(daemon);
      monitor.stop();
      await daemon.stop();
      await remove(folder);
    },
  };
}

export type LxdMember = Pick<RealLxd, 'socket' | 'lxc'>;

/** Two members, `a` and `b`, on one machine; disks are each member's own. */
export async function startLxdCluster() {
  const folder = await newFolder();
  const [a, b] = [await startDaemon(folder, 'a'), await startDaemon(folder, 'b')];
  const address = async (): Promise<string> => `127.0.0.1:${await freePort()}`;
  const own = `config: {core.https_address: "${await address()}"}\n`;
  await initialise(a, `${own}${pools}cluster: {server_name: a, enabled: true}\n`);
  const token = (await a.lxc('cluster', 'add', 'b', '-q')).trim().split('\n').at(-1);
  const joining = `server_address: "${await address()}", cluster_token: ${token}, member_config: []`;
  await initialise(b, `cluster: {enabled: true, server_name: b, ${joining}}\n`);
  await a.lxc('image', 'import', await makeImage(folder), '--alias', 'busybox');
  const memberOf = ({ dir, lxc }: Running): LxdMember => ({
    socket: join(dir, 'unix.socket'),
    lxc,
  });
  return {
    a: memberOf(a),
    b: memberOf(b),
    image: 'busybox',
    async stop() {
      await removeInstances(a);
      await b.stop();
      await a.stop();
      await remove(folder);
    },
  };
}
