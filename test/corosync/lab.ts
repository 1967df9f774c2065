/**
 * Real corosync in network namespaces of its own: one bridge, one namespace per node, all inside
 * one private network, mount and process namespace that ends with its first process. Nothing of
 * it is seen outside. A node is switched off by cutting its link, or by killing its corosync.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

export type Layout = {
  votes: readonly number[];
  /** 0 without a quorum device. */
  deviceVotes: number;
  algorithm: 'ffsplit' | 'lms';
};

export const nameOf = (index: number): string => `n${index + 1}`;
const addressOf = (index: number): string => `10.99.0.${index + 1}`;
const deviceAddress = '10.99.0.254';
const devicePort = 5403;

const nodeBlock = (votes: number, index: number): string => `  node {
    name: ${nameOf(index)}
    nodeid: ${index + 1}
    quorum_votes: ${votes}
    ring0_addr: ${addressOf(index)}
  }`;

const deviceBlock = ({ deviceVotes, algorithm }: Layout): string =>
  deviceVotes === 0
    ? ''
    : `  device {
    model: net
    votes: ${deviceVotes}
    timeout: 2000
    sync_timeout: 4000
    net {
      host: ${deviceAddress}
      port: ${devicePort}
      algorithm: ${algorithm}
      tls: off
    }
  }`;

/** As Proxmox writes it, but over plain UDP and with shorter timeouts. */
export const configOf = (layout: Layout): string => `totem {
  version: 2
  cluster_name: lab
  transport: udpu
  token: 700
  token_coefficient: 0
  crypto_cipher: none
  crypto_hash: none
}
system {
  move_to_root_cgroup: no
}
logging {
  to_stderr: yes
  to_syslog: no
}
nodelist {
${layout.votes.map(nodeBlock).join('\n')}
}
quorum {
  provider: corosync_votequorum
${deviceBlock(layout)}
}
`;

const ip = (...args: string[]): Promise<unknown> => run('ip', args);

/** Once per private namespace: a bridge with the device's address. */
export async function prepare(): Promise<void> {
  await run('mount', ['--make-rprivate', '/']);
  await run('mount', ['-t', 'tmpfs', 'tmpfs', '/run']);
  await run('mkdir', ['-p', '/run/netns', '/run/corosync-qnetd']);
  await ip('link', 'set', 'lo', 'up');
  await ip('link', 'add', 'lab0', 'type', 'bridge');
  await ip('addr', 'add', `${deviceAddress}/24`, 'dev', 'lab0');
  await ip('link', 'set', 'lab0', 'up');
}

const port = (index: number): string => `lab-${nameOf(index)}`;

async function plugIn(index: number): Promise<void> {
  const name = nameOf(index);
  await ip('netns', 'add', name);
  await ip('link', 'add', port(index), 'type', 'veth', 'peer', 'name', 'e0', 'netns', name);
  await ip('link', 'set', port(index), 'master', 'lab0', 'up');
  await ip('-n', name, 'addr', 'add', `${addressOf(index)}/24`, 'dev', 'e0');
  await ip('-n', name, 'link', 'set', 'e0', 'up');
  await ip('-n', name, 'link', 'set', 'lo', 'up');
}

/** Folders of its own for what corosync keeps, in the mount namespace that `ip netns exec` makes. */
const ownFolders =
  'mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && ' +
  'mkdir -p /var/lib/corosync /run/corosync /run/corosync-qdevice && ';

export class Lab {
  readonly layout: Layout;
  #folder = '';
  readonly #corosync = new Map<number, ChildProcess>();
  readonly #qdevice = new Map<number, ChildProcess>();
  #qnetd: ChildProcess | null = null;

  constructor(layout: Layout) {
    this.layout = layout;
  }

  get size(): number {
    return this.layout.votes.length;
  }

  async start(): Promise<void> {
    this.#folder = await mkdtemp(join(tmpdir(), 'kr-corosync-'));
    await writeFile(this.#config, configOf(this.layout));
    if (this.layout.deviceVotes > 0) this.startQnetd();
    for (let index = 0; index < this.size; index += 1) {
      await plugIn(index);
      this.startNode(index);
    }
    if (this.layout.deviceVotes === 0) return;
    for (let index = 0; index < this.size; index += 1) {
      await this.#until(() => this.status(index), `corosync of ${nameOf(index)}`);
      this.startDevice(index);
    }
  }

  get #config(): string {
    return join(this.#folder, 'corosync.conf');
  }

  #inNode(index: number, command: string): ChildProcess {
    const args = ['netns', 'exec', nameOf(index), 'sh', '-c', command];
    return spawn('ip', args, { stdio: 'ignore', detached: true });
  }

  startNode(index: number): void {
    const command = `${ownFolders} exec corosync -f -c ${this.#config}`;
    this.#corosync.set(index, this.#inNode(index, command));
  }

  startDevice(index: number): void {
    this.#qdevice.set(index, this.#inNode(index, `${ownFolders} exec corosync-qdevice -f`));
  }

  startQnetd(): void {
    const args = ['-f', '-s', 'off', '-p', String(devicePort), '-l', deviceAddress];
    this.#qnetd = spawn('corosync-qnetd', args, { stdio: 'ignore', detached: true });
  }

  async stopQnetd(): Promise<void> {
    await end(this.#qnetd);
    this.#qnetd = null;
  }

  async kill(index: number): Promise<void> {
    await end(this.#qdevice.get(index) ?? null);
    await end(this.#corosync.get(index) ?? null);
  }

  /** Starts again whatever of the node does not run. */
  revive(index: number): void {
    const isGone = (child: ChildProcess | undefined): boolean =>
      !child || child.exitCode !== null || child.signalCode !== null;
    if (isGone(this.#corosync.get(index))) this.startNode(index);
    if (this.layout.deviceVotes > 0 && isGone(this.#qdevice.get(index))) this.startDevice(index);
  }

  cut(index: number): Promise<unknown> {
    return ip('link', 'set', port(index), 'down');
  }

  heal(index: number): Promise<unknown> {
    return ip('link', 'set', port(index), 'up');
  }

  /** What `pvecm status` prints; null while its corosync does not answer. */
  async status(index: number): Promise<string | null> {
    const args = ['netns', 'exec', nameOf(index), 'corosync-quorumtool', '-s'];
    try {
      return (await run('ip', args, { timeout: 5_000 })).stdout;
    } catch (error) {
      // Its exit code is 2 while the node is not quorate, and the text is whole.
      const { stdout } = error as { stdout?: string };
      return stdout?.includes('Membership information') ? stdout : null;
    }
  }

  async #until<T>(look: () => Promise<T | null>, what: string): Promise<T> {
    const deadline = performance.now() + 30_000;
    for (;;) {
      const seen = await look();
      if (seen !== null) return seen;
      if (performance.now() > deadline) throw new Error(`${what} did not come within 30 s`);
      await pause(100);
    }
  }

  async stop(): Promise<void> {
    for (let index = 0; index < this.size; index += 1) await this.kill(index);
    await this.stopQnetd();
    for (let index = 0; index < this.size; index += 1) {
      await ip('link', 'del', port(index));
      await ip('netns', 'del', nameOf(index));
    }
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** The whole process group: `ip netns exec` and sh replace themselves, their children do not. */
async function end(child: ChildProcess | null): Promise<void> {
  if (!child?.pid || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  process.kill(-child.pid, 'SIGKILL');
  await gone;
}
