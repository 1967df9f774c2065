/**
 * The packages as an administrator meets them: built twice, installed into a throw-away copy of
 * this machine, started from their own units' command lines against a real server, and purged.
 * There is no systemd in the copy, so what the units would set up is done by the test; which system
 * calls they would allow is held against those that the processes make.
 */
import { type ChildProcess, execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Overlay, startOverlay, whyNoOverlay } from '../support/overlay.ts';
import { until } from '../support/servers.ts';
import { type Stack, startStack } from '../support/stack.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..', '..');
const isAsked = process.env['KR_TEST_INSTALL'] === '1';
const why = isAsked ? whyNoOverlay() : 'builds 150 MB; set KR_TEST_INSTALL=1';
const reason = why === null ? '' : ` (skipped: ${why})`;

/** What dpkg and useradd keep of every package that ever came by. */
const leftByTools =
  /^\/(var\/(lib\/dpkg|log|cache)(\/|\s)|var\/lib\/systemd\s|etc\/(passwd|group|shadow|gshadow|subuid|subgid)-? |etc\/\.pwd\.lock )/;

async function build(product: string, architectures: string, out: string): Promise<string> {
  const script = ['--disable-warning=ExperimentalWarning', join(root, 'packaging/build.ts')];
  const args = [...script, product, '--arch', architectures, '--out', out];
  const { stdout } = await run(process.execPath, args, {
    cwd: root,
    env: { ...process.env, SOURCE_DATE_EPOCH: '1700000000' },
  });
  return stdout.trim().split('\n').at(-1) ?? '';
}

const digestsOf = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(folder).map((name) => {
      const hash = createHash('sha256').update(readFileSync(join(folder, name)));
      return [name, hash.digest('hex')];
    }),
  );

/** The values of one setting in a unit as it was installed. */
const settingOf = (text: string, name: string): string[] =>
  [...text.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value = '']) => value);

/** Names of system calls in a list of names and @sets, as systemd knows them. */
async function callsIn(list: string): Promise<Set<string>> {
  const calls = new Set<string>();
  for (const name of list.split(/\s+/).filter(Boolean)) {
    if (!name.startsWith('@')) {
      calls.add(name);
      continue;
    }
    const { stdout } = await run('systemd-analyze', ['syscall-filter', name]);
    const inner = stdout
      .split('\n')
      .slice(1)
      .map((line) => line.trim())
      .filter((line) => line !== '' && !line.startsWith('#'));
    for (const call of await callsIn(inner.join(' '))) calls.add(call);
  }
  return calls;
}

/** As systemd reads the lines: a first allow list, then what is taken away and given back. */
async function allowedBy(unit: string): Promise<Set<string>> {
  const allowed = await callsIn('@default execve');
  for (const line of settingOf(unit, 'SystemCallFilter')) {
    const isDenied = line.startsWith('~');
    for (const call of await callsIn(line.replace('~', ''))) {
      if (isDenied) allowed.delete(call);
      else allowed.add(call);
    }
  }
  return allowed;
}

/** What the process itself called, from the moment at which it became Node. */
function callsOf(trace: string): Set<string> {
  const lines = trace.split('\n');
  const from = lines.findIndex((line) => /execve\("\/usr\/lib\/kernreaktor-/.test(line));
  return new Set(
    lines.slice(from).flatMap((line) => /^\d+\s+([a-z0-9_]+)\(/.exec(line)?.[1] ?? []),
  );
}

/** Programs that were started, the process itself included. */
const startsIn = (trace: string): number =>
  trace.slice(trace.indexOf('execve("/usr/lib/kernreaktor-')).match(/execve(at)?\(/g)?.length ?? 0;

describe.skipIf(why !== null)(`the packages${reason}`, () => {
  const own = process.arch === 'arm64' ? 'arm64' : 'amd64';
  let folder: string;
  let overlay: Overlay | undefined;
  let stack: Stack | undefined;
  const started: ChildProcess[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'kr-packages-'));
    await build('daemon', 'amd64,arm64', join(folder, 'a'));
    await build('daemon', own, join(folder, 'b'));
    await build('server', own, join(folder, 'server'));
  }, 1_800_000);
  afterAll(async () => {
    for (const child of started) child.kill('SIGKILL');
    await stack?.remove();
    await overlay?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  const debOf = (out: string, architecture: string): string =>
    join(
      folder,
      out,
      readdirSync(join(folder, out)).find((name) => name.endsWith(`_${architecture}.deb`)) ?? '',
    );

  it('are the same twice, byte for byte', () => {
    const first = digestsOf(join(folder, 'a'));
    const again = digestsOf(join(folder, 'b'));
    expect([Object.keys(first).length, Object.keys(again).length]).toEqual([4, 2]);
    expect(first).toMatchObject(again);
  });

  it.each([
    ['amd64', 62],
    ['arm64', 183],
  ])('hold the Node of %s', async (architecture, machine) => {
    const deb = debOf('a', architecture);
    const { stdout } = await run('dpkg-deb', ['--field', deb, 'Architecture']);
    expect(stdout.trim()).toBe(architecture);
    const tree = join(folder, `tree-${architecture}`);
    await run('dpkg-deb', ['--extract', deb, tree]);
    const node = readFileSync(join(tree, 'usr/lib/kernreaktor-daemon/node'));
    // ELF: e_machine stands at byte 18.
    expect([node.toString('latin1', 1, 4), node.readUInt16LE(18)]).toEqual(['ELF', machine]);
  });

  /** Starts what a unit would start, with the environment and folders that it would have. */
  async function startUnit(
    copy: Overlay,
    name: string,
    { user, isNoExec = false }: { user: string; isNoExec?: boolean },
  ): Promise<{ child: ChildProcess; output: () => string; unit: string; trace: string }> {
    const unit = await copy.inside(['cat', `/usr/lib/systemd/system/${name}.service`]);
    const [start = ''] = settingOf(unit, 'ExecStart');
    const [file = ''] = settingOf(unit, 'EnvironmentFile');
    const fromFile = (await copy.inside(['cat', file])).trim().split('\n');
    const environment = [...settingOf(unit, 'Environment'), ...fromFile];
    const trace = join(folder, `${name}.strace`);
    const walls = `mount --rbind ${copy.root} ${copy.root} && mount -o remount,bind,noexec \
${copy.root} && for f in $(readlink -f ${copy.root}/usr/lib ${copy.root}/usr/lib64); do mount \
--bind $f $f && mount -o remount,bind,exec $f; done;`;
    const [capabilities = ''] = settingOf(unit, 'CapabilityBoundingSet');
    const kept = capabilities.toLowerCase().replaceAll('cap_', '+').replaceAll(' ', ',');
    // Who is not root has none to lose, and may not execute setpriv behind those walls.
    const bounded = kept === '' ? '' : `/usr/bin/setpriv --bounding-set -all,${kept} --`;
    const command = `exec strace -D -f -o ${trace} chroot --userspec=${user} --groups= ${copy.root} \
${bounded} ${start}`;
    const script = `${isNoExec ? walls : ''} ${command}`;
    const child = copy.start(['unshare', '-m', 'env', ...environment, 'sh', '-c', script]);
    started.push(child);
    let output = '';
    child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    return { child, output: () => output, unit, trace };
  }

  async function stop(child: ChildProcess): Promise<void> {
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await ended;
  }

  it('installs, runs as its units say, and leaves nothing when it is purged', async () => {
    const copy = await startOverlay();
    overlay = copy;
    const before = copy.changes();
    for (const deb of [debOf('a', own), debOf('server', own)]) {
      await copy.inside(['mkdir', '-p', '/root/debs']);
      const bytes = join(copy.root, 'root/debs/package.deb');
      const copying = copy.start(['cp', deb, bytes]);
      await once(copying, 'exit');
      const said = await copy.inside(['dpkg', '--install', '/root/debs/package.deb']);
      expect(said).toContain('not started; write');
      await copy.inside(['rm', '-r', '/root/debs']);
    }
    expect(await copy.inside(['getent', 'passwd', 'kernreaktor'])).toContain('/nonexistent');
    expect(await copy.inside(['kernreaktor', '--version'])).toMatch(/^\d+\.\d+\.\d+/);

    stack = await startStack();
    const target = { cluster: 'packages', node: 'n1' };
    const enrolment = await stack.api.post<{ token: string }>('enrolments', target);
    const settings = {
      KR_MQTT_URL: stack.runtime().mqttUrl,
      KR_CLUSTER: target.cluster,
      KR_NODE: target.node,
      KR_ENROL_TOKEN: enrolment.body.token,
      KR_SAMPLE_INTERVAL_MS: '500',
    };
    const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
    const write = `umask 077; cat > /etc/kernreaktor/daemon.env <<'END'\n${lines.join('\n')}\nEND\n
install -d -m 750 -o root -g kernreaktor /run/kernreaktor
install -d -m 700 /var/lib/kernreaktor-executor
install -d -m 700 -o kernreaktor -g kernreaktor /var/lib/kernreaktor`;
    await copy.inside(['sh', '-c', write]);
    const executor = await startUnit(copy, 'kernreaktor-executor', { user: '0:kernreaktor' });
    const agent = await startUnit(copy, 'kernreaktor-agent', {
      user: 'kernreaktor:kernreaktor',
      isNoExec: true,
    });
    const { api } = stack;
    const nodePath = '/api/v1/clusters/packages/nodes/n1';
    await until(
      async () => (await api.send<{ state: string }>('GET', nodePath)).body.state === 'awake',
      { withinMs: 60_000, what: 'the node awake' },
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${executor.output()}\n${agent.output()}`);
    });
    const socket = await copy.inside(['stat', '-c', '%a %U %G', '/run/kernreaktor/executor.sock']);
    expect(socket.trim()).toBe('660 root kernreaktor');
    await stop(agent.child);
    await stop(executor.child);
    for (const { unit, trace } of [executor, agent]) {
      const allowed = await allowedBy(unit);
      const calls = [...callsOf(readFileSync(trace, 'utf8'))];
      expect(calls.length).toBeGreaterThan(30);
      expect(calls.filter((call) => !allowed.has(call))).toEqual([]);
    }
    // Netlink is how libc lists addresses: the unit refuses it, and the executor does without.
    const sockets = [...readFileSync(executor.trace, 'utf8').matchAll(/ socket\((\w+)/g)];
    expect(new Set(sockets.map(([, family]) => family))).toEqual(
      new Set(['AF_UNIX', 'AF_NETLINK']),
    );

    expect(startsIn(readFileSync(agent.trace, 'utf8'))).toBe(1);

    const packages = ['kernreaktor-daemon', 'kernreaktor-server'];
    await copy.inside(['dpkg', '--purge', ...packages]);
    const left = copy.changes().filter((change) => !before.includes(change));
    expect(left.filter((change) => !leftByTools.test(change))).toEqual([]);
    for (const file of ['passwd', 'group', 'shadow', 'gshadow']) {
      expect(await copy.inside(['cat', `/etc/${file}`])).toBe(readFileSync(`/etc/${file}`, 'utf8'));
    }
    expect(existsSync('/usr/lib/kernreaktor-daemon')).toBe(false);
  }, 300_000);
});
