/**
 * The real servers tests talk to: each on a free loopback port with a temporary folder, ended by
 * its own process id. Never system-wide, never a fixed port.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, cp, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fetchInto, program, programEnv, unpackedPath } from './debian.ts';

const run = promisify(execFile);
const cache = join(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'kernreaktor');

export type Server = { port: number; url: string; pid: number; stop(): Promise<void> };

const required = (name: string): string => {
  const path = program(name);
  if (path === undefined) throw new Error(`${name} is missing: run the tests through npm test`);
  return path;
};

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(socket.destroy() !== undefined));
    socket.once('error', () => resolve(false));
  });

/** Waits until `check` holds; a deadline, never a fixed sleep. */
export async function until(
  check: () => boolean | Promise<boolean>,
  { withinMs = 30_000, what = 'the condition' } = {},
): Promise<void> {
  const deadlineMs = performance.now() + withinMs;
  while (!(await check())) {
    if (performance.now() > deadlineMs) throw new Error(`${what} did not come in ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

type Launch = { port: number; folder: string; scheme: string; path?: string };

async function launch(
  name: string,
  args: string[],
  { port, folder, scheme, path = required(name) }: Launch,
): Promise<Server & { kill9(): Promise<void>; halt(): Promise<void> }> {
  const child: ChildProcess = spawn(path, args, {
    env: programEnv(),
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const keep = (chunk: Buffer) => (output = (output + chunk.toString()).slice(-8_000));
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  const exited = once(child, 'exit');
  try {
    await until(
      () => {
        if (child.exitCode !== null) throw new Error(`${name} ended: ${output}`);
        return accepts(port);
      },
      { what: `${name} on port ${port}` },
    );
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  const halt = async (): Promise<void> => {
    child.kill('SIGTERM');
    const killer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await exited;
    clearTimeout(killer);
  };
  return {
    port,
    url: `${scheme}://127.0.0.1:${port}`,
    pid: child.pid ?? 0,
    async kill9() {
      child.kill('SIGKILL');
      await exited;
    },
    halt,
    async stop() {
      await halt();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const temporary = (name: string): Promise<string> => mkdtemp(join(tmpdir(), `kr-${name}-`));

/** An initialised data folder, made once and copied: the bootstrap takes seconds, a copy does not. */
async function mariadbTemplate(): Promise<string> {
  const template = join(cache, 'mariadb-template');
  if (existsSync(template)) return template;
  const folder = await mkdtemp(join(cache, 'mariadb-'));
  await run(
    required('mariadb-install-db'),
    [
      '--no-defaults',
      `--basedir=${unpackedPath('usr')}`,
      `--datadir=${folder}`,
      '--auth-root-authentication-method=normal',
      '--skip-test-db',
      '--skip-name-resolve',
      '--innodb-log-file-size=16M',
      ...(process.getuid?.() === 0 ? ['--user=root'] : []),
    ],
    { env: { ...programEnv(), PATH: `${unpackedPath('usr/sbin')}:${process.env['PATH'] ?? ''}` } },
  );
  // Whoever finishes first wins; both folders hold the same.
  await rename(folder, template).catch(() => rm(folder, { recursive: true, force: true }));
  return template;
}

export type Mariadb = Server & {
  /** As a crash: nothing is flushed, the folder stays. */
  kill9(): Promise<void>;
  /** On the same folder and port, after `kill9`. */
  restart(): Promise<void>;
};

/**
 * A MariaDB with an empty database `kernreaktor`; options are further mariadbd arguments, `parent`
 * is where its folder is made.
 */
export async function startMariadb(options: string[] = [], parent = tmpdir()): Promise<Mariadb> {
  const template = await mariadbTemplate();
  const folder = await mkdtemp(join(parent, 'kr-mariadb-'));
  const data = join(folder, 'data');
  await cp(template, data, { recursive: true });
  const start = join(folder, 'init.sql');
  await writeFile(
    start,
    [
      'CREATE DATABASE IF NOT EXISTS kernreaktor CHARACTER SET utf8mb4;',
      "CREATE USER IF NOT EXISTS 'kr'@'127.0.0.1' IDENTIFIED BY 'secret';",
      "GRANT ALL ON kernreaktor.* TO 'kr'@'127.0.0.1';",
    ].join('\n'),
  );
  const port = await freePort();
  const args = [
    '--no-defaults',
    `--basedir=${unpackedPath('usr')}`,
    `--datadir=${data}`,
    // A server that starts removes what it takes for its own left-overs in a folder that others share.
    `--tmpdir=${folder}`,
    `--socket=${join(folder, 'mariadb.sock')}`,
    `--pid-file=${join(folder, 'mariadb.pid')}`,
    `--init-file=${start}`,
    `--port=${port}`,
    '--bind-address=127.0.0.1',
    '--skip-name-resolve',
    '--innodb-log-file-size=16M',
    '--innodb-buffer-pool-size=64M',
    ...(process.getuid?.() === 0 ? ['--user=root'] : []),
    ...options,
  ];
  const run = () => launch('mariadbd', args, { port, folder, scheme: 'mariadb' });
  let server = await run();
  return {
    port,
    get pid() {
      return server.pid;
    },
    url: `mariadb://kr:secret@127.0.0.1:${port}/kernreaktor`,
    stop: () => server.stop(),
    kill9: () => server.kill9(),
    async restart() {
      server = await run();
    },
  };
}

/** SIGSTOP, and the wait until every thread of it stands still: the signal alone comes later. */
export async function freeze(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  const isStill = (thread: string): boolean =>
    / T /.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8').replace(/^.*\)/s, ''));
  await until(() => readdirSync(`/proc/${pid}/task`).every(isStill));
}

/** A Mosquitto with the given configuration lines; files are written beside it first. */
export async function startMosquitto(
  config: string[],
  files: Record<string, string> = {},
): Promise<Server> {
  const folder = await temporary('mosquitto');
  const port = await freePort();
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(folder, name), content);
    await chmod(join(folder, name), 0o600);
  }
  const lines = [
    // Mosquitto drops root for a user that need not exist here.
    ...(process.getuid?.() === 0 ? ['user root'] : []),
    `listener ${port} 127.0.0.1`,
    'persistence false',
    ...config.map((line) => line.replaceAll('%FOLDER%', folder)),
  ];
  await writeFile(join(folder, 'mosquitto.conf'), `${lines.join('\n')}\n`);
  return launch('mosquitto', ['-c', join(folder, 'mosquitto.conf')], {
    port,
    folder,
    scheme: 'mqtt',
  });
}

export type VictoriaMetrics = Server & {
  folder: string;
  /** Ends in order, so that what it has taken is on its disk; the folder stays. */
  halt(): Promise<void>;
  /** On the same folder and port, after `halt`. */
  restart(): Promise<void>;
};

export async function startVictoriaMetrics(): Promise<VictoriaMetrics> {
  const folder = await temporary('victoria-metrics');
  const port = await freePort();
  const args = [
    `-storageDataPath=${join(folder, 'data')}`,
    `-httpListenAddr=127.0.0.1:${port}`,
    // As docs/telemetry.md asks for: of what was sent twice, one is kept.
    '-dedup.minScrapeInterval=1ms',
  ];
  const run = () => launch('victoria-metrics', args, { port, folder, scheme: 'http' });
  let server = await run();
  return {
    port,
    folder,
    url: server.url,
    get pid() {
      return server.pid;
    },
    stop: () => server.stop(),
    halt: () => server.halt(),
    async restart() {
      server = await run();
    },
  };
}

/** Scrapes `/metrics` of these addresses every second. */
export async function startPrometheus(targets: readonly string[]): Promise<Server> {
  const unpacked = join(await fetchInto('prometheus', ['prometheus']), 'usr', 'bin', 'prometheus');
  const path = existsSync(unpacked) ? unpacked : required('prometheus');
  const folder = await temporary('prometheus');
  const port = await freePort();
  const job = { job_name: 'kernreaktor', static_configs: [{ targets }] };
  const config = { global: { scrape_interval: '1s' }, scrape_configs: [job] };
  // Its YAML is a superset of JSON.
  await writeFile(join(folder, 'prometheus.yml'), JSON.stringify(config));
  const args = [
    `--config.file=${join(folder, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ];
  return launch('prometheus', args, { port, folder, scheme: 'http', path });
}

/** Foreign MQTT clients, as programs to run. */
export const mosquittoTools = (): {
  pub: string;
  sub: string;
  env: NodeJS.ProcessEnv;
} => ({ pub: required('mosquitto_pub'), sub: required('mosquitto_sub'), env: programEnv() });
