/**
 * A Docker of its own for tests: Debian's packages, installed where that was asked for, the daemon
 * on a temporary folder and socket. It leaves the packet filter of this machine alone. No image can
 * be pulled: a Debian made by debootstrap stands in under the names that our files pin.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, cpSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { realpathSync, writeFileSync } from 'node:fs';
import { mkdtemp, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { installPackages } from './debian.ts';
import { until } from './servers.ts';

const run = promisify(execFile);
const isAsked = process.env['KR_TEST_INSTALL'] === '1' && process.getuid?.() === 0;
/** Empty where a real Docker may be installed, else why these tests are skipped. */
export const noDocker = isAsked
  ? ''
  : ' (skipped: installs docker; set KR_TEST_INSTALL=1, be root)';

const root = join(import.meta.dirname, '..', '..');
const maxBuffer = 2 ** 26;

export type Docker = {
  folder: string;
  docker(...args: string[]): Promise<string>;
  compose(environment: Readonly<Record<string, string>>, ...args: string[]): Promise<string>;
  stop(): Promise<void>;
};

async function installDocker(): Promise<void> {
  const programs = ['/usr/sbin/dockerd', '/usr/bin/docker-compose', '/usr/sbin/debootstrap'];
  if (programs.every((path) => existsSync(path))) return;
  await installPackages(['docker.io', 'docker-compose', 'debootstrap', 'iptables']);
}

/** The images of the lines `FROM name`, in their order. */
function pinnedImages(dockerfile: string): string[] {
  const text = readFileSync(dockerfile, 'utf8');
  return [...text.matchAll(/^FROM (\S+)/gm)].map(([, name = '']) => name);
}

/**
 * No rule of a packet filter, no forwarding, no bridge before compose makes one: published ports go
 * through Docker's own proxy, and other tests keep their networks.
 */
const aside = `--iptables=false --ip6tables=false --ip-forward=false --bridge=none
  --default-address-pool base=10.213.0.0/16,size=24`.split(/\s+/);
const startAs = (folder: string): string[] => [
  `--host=unix://${folder}/docker.sock`,
  `--data-root=${join(folder, 'data')}`,
  `--exec-root=${join(folder, 'exec')}`,
  `--pidfile=${join(folder, 'pid')}`,
  `--cgroup-parent=/${basename(folder)}`,
  ...aside,
];

const cpuGroups = '/sys/fs/cgroup/cpu';
/** All containers together would otherwise weigh as much as one process of the other tests. */
function makeRoom(folder: string): void {
  const group = join(cpuGroups, basename(folder));
  if (!existsSync(cpuGroups)) return;
  mkdirSync(group, { recursive: true });
  writeFileSync(join(group, 'cpu.shares'), String(20 * 1_024));
}

/** As npm of this machine reaches its registry: with the certificates it was given. */
async function nodeImage(running: Docker, [node, debian]: [string, string]): Promise<void> {
  const context = join(running.folder, 'node');
  mkdirSync(context);
  copyFileSync(process.execPath, join(context, 'node'));
  const npm = realpathSync((await run('sh', ['-c', 'command -v npm'])).stdout.trim());
  cpSync(dirname(dirname(npm)), join(context, 'npm'), { recursive: true });
  const extra = process.env['NODE_EXTRA_CA_CERTS'] ?? '';
  await writeFile(join(context, 'ca.pem'), existsSync(extra) ? readFileSync(extra) : '');
  const lines = [
    `FROM ${debian}`,
    'COPY node /usr/local/bin/node',
    'COPY npm /usr/lib/npm',
    'COPY ca.pem /etc/ssl/ca.pem',
    ...(existsSync(extra) ? ['ENV NODE_EXTRA_CA_CERTS=/etc/ssl/ca.pem'] : []),
    'RUN ln -s /usr/lib/npm/bin/npm-cli.js /usr/local/bin/npm',
  ];
  await writeFile(join(context, 'Dockerfile'), `${lines.join('\n')}\n`);
  await running.docker('build', '--network', 'host', '-t', node, context);
}

/** Made once and kept beside the other things that tests fetch; a bootstrap takes minutes. */
async function debianArchive(folder: string): Promise<string> {
  const archive = join(root, 'node_modules', '.cache', 'kernreaktor', 'debian-bookworm.tar');
  if (existsSync(archive)) return archive;
  const base = join(folder, 'base');
  await run('nice', ['debootstrap', '--variant=minbase', 'bookworm', base], { maxBuffer });
  mkdirSync(dirname(archive), { recursive: true });
  const content = ['-C', base, '--exclude=./var/cache/apt/archives/*', '.'];
  await run('tar', ['-cf', `${archive}.new`, ...content]);
  await rename(`${archive}.new`, archive);
  await rm(base, { recursive: true, force: true });
  return archive;
}

async function baseImages(running: Docker): Promise<void> {
  const [node = '', , debian = ''] = pinnedImages(join(root, 'Dockerfile'));
  await running.docker('import', await debianArchive(running.folder), debian);
  await nodeImage(running, [node, debian]);
}

export async function startDocker(): Promise<Docker> {
  await installDocker();
  const folder = await mkdtemp(join(tmpdir(), 'kr-docker-'));
  makeRoom(folder);
  const log = openSync(join(folder, 'dockerd.log'), 'w');
  const server = spawn('dockerd', startAs(folder), { stdio: ['ignore', log, log] });
  const ended = once(server, 'exit');
  const env = {
    PATH: process.env['PATH'],
    HOME: folder,
    DOCKER_HOST: `unix://${folder}/docker.sock`,
  };
  const running: Docker = {
    folder,
    docker: async (...args) => (await run('/usr/bin/docker', args, { env, maxBuffer })).stdout,
    async compose(environment, ...args) {
      const options = { cwd: root, env: { ...env, ...environment }, maxBuffer };
      const { stdout, stderr } = await run('/usr/bin/docker-compose', args, options);
      return stdout + stderr;
    },
    async stop() {
      server.kill('SIGTERM');
      await ended;
      // It leaves the name of the network that containers shared with this machine mounted.
      await run('umount', ['--lazy', join(folder, 'exec', 'netns', 'default')]).catch(() => null);
      await rmdir(join(cpuGroups, basename(folder))).catch(() => null);
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  try {
    await until(
      async () => {
        if (server.exitCode !== null)
          throw new Error(readFileSync(join(folder, 'dockerd.log'), 'utf8'));
        return running.docker('version').then(
          () => true,
          () => false,
        );
      },
      { withinMs: 60_000, what: 'dockerd' },
    );
    await baseImages(running);
  } catch (error) {
    await running.stop();
    throw error;
  }
  return running;
}
