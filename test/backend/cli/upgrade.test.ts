/**
 * `kernreaktor upgrade` against a fleet played in memory and hosts whose ssh, dpkg, apt and curl are
 * fakes on PATH: the scripts themselves run in a real shell, on real bytes with real checksums.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Call, ClientApi } from '../../../backend/cli/api.ts';
import { sshRunner } from '../../../backend/cli/remote.ts';
import { destinationsOf, upgrade, type UpgradeOrder } from '../../../backend/cli/upgrade.ts';
import { isNewer } from '../../../backend/cli/upgrade-plan.ts';
import type { Clock } from '../../../broker/contract/ports.ts';

const bytes = Buffer.from('a package of the daemon');
const sum = createHash('sha256').update(bytes).digest('hex');
const packageOf = (version: string, sha256 = sum) => ({
  name: `kernreaktor-daemon_${version}_amd64.deb`,
  version,
  architecture: 'amd64',
  bytes: bytes.length,
  sha256,
});

type Node = {
  version: string;
  state: string;
  guestCount: number;
  protected: boolean;
  capabilities: string[];
  incarnation: number;
};
const node = (change: Partial<Node> = {}): Node => ({
  version: '0.1.0',
  state: 'awake',
  guestCount: 2,
  protected: false,
  capabilities: ['guest.start', 'guest.migrate'],
  incarnation: 4,
  ...change,
});

let folder = '';
let house: Record<string, Node> = {};
let items = [packageOf('0.2.0')];
let hold = false;
/** Answers to each question for running commands, oldest first; then none runs. */
let running: string[] = [];
/** Called with each node that is read, so that something may happen meanwhile. */
let onRead: (id: string) => void = () => undefined;
const said: string[] = [];

/** What a host says in its telemetry: the version that apt was given there last. */
function seen(id: string) {
  onRead(id);
  const own = house[id] ?? node();
  const path = join(folder, id, 'installed');
  const installed = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
  const version = installed.at(-1) ?? own.version;
  return {
    ...own,
    id,
    versions: { daemon: version },
    incarnation: own.incarnation + installed.length,
    driver: 'proxmox',
    simulated: false,
  };
}

function answerTo({ path }: Call): unknown {
  const page = (rows: object[]) => ({ items: rows, total: rows.length, nextCursor: null });
  const url = new URL(path, 'http://localhost');
  const ids = Object.keys(house);
  const [, one] = /\/clusters\/home\/nodes\/(\w+)$/.exec(url.pathname) ?? [];
  if (one !== undefined) return seen(one);
  const cluster = { id: 'home', simulated: false, hold, autonomy: {}, nodeCount: 3, guestCount: 6 };
  const row = { cluster: 'home', ageMs: 0, cpuRatio: 0, cpuCount: 4, powerWatts: null };
  const empty = { memoryUsedBytes: null, memoryTotalBytes: null };
  switch (url.pathname) {
    case '/api/v1/packages':
      return { serverVersion: '0.2.0', baseUrl: 'https://kr.home:8443', items };
    case '/api/v1/clusters':
      return page([
        { ...cluster, nodeStates: {} },
        { ...cluster, id: 'sim', simulated: true, nodeStates: {} },
      ]);
    case '/api/v1/nodes':
      return page(ids.map((id) => ({ ...row, ...empty, ...house[id], id })));
    case '/api/v1/clusters/home/daemons':
      return { items: ids.map((id) => ({ id, nodes: [id], revokedAt: null })) };
    case '/api/v1/hold':
      return { all: hold, clusters: [] };
    case '/api/v1/commands': {
      const id = url.searchParams.get('state') === 'RUNNING' ? running.shift() : undefined;
      const what = { cluster: 'home', kind: 'guest.migrate', target: { kind: 'guest', id: '104' } };
      const how = { state: 'RUNNING', stateReason: null, actor: 'a', plannedAt: '' };
      return page(id === undefined ? [] : [{ id: 'c1', node: id, ...what, ...how }]);
    }
    default:
      throw new Error(`nobody answers ${path}`);
  }
}

const api: ClientApi = {
  ask: async (schema, call) => schema.parse(answerTo(call)),
  download: async () => Readable.from([bytes]),
  close: async () => undefined,
};

/** Time passes as fast as it is waited for. */
function clockOf(): Clock {
  let nowMs = 0;
  return {
    wallMs: () => nowMs,
    monotonicMs: () => nowMs,
    after(delayMs, run) {
      nowMs += delayMs;
      const timer = setImmediate(() => void run());
      return () => clearImmediate(timer);
    },
  };
}

function program(name: string, body: string): void {
  writeFileSync(join(folder, 'bin', name), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
}

const pathOfHost = (): string => `${join(folder, 'bin')}:/usr/bin:/bin`;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-upgrade-'));
  mkdirSync(join(folder, 'bin'));
  for (const id of ['a', 'b', 'c']) mkdirSync(join(folder, id));
  house = { a: node({ protected: true, guestCount: 0 }), b: node(), c: node({ guestCount: 1 }) };
  items = [packageOf('0.2.0')];
  hold = false;
  running = [];
  onRead = () => undefined;
  said.length = 0;
  // ssh: options, --, root@<host>, script
  program(
    'ssh',
    `while [ "$1" != -- ]; do shift; done; export KR_HOST="${folder}/\${2#root@}"\n` +
      `echo "$2" >> "${folder}/calls"; export PATH="${pathOfHost()}"; exec sh -c "$3"`,
  );
  program('dpkg-query', '[ ! -e "$KR_HOST/by-hand" ] && echo installed');
  program('dpkg', 'echo amd64');
  program('sudo', 'while [ "$1" = -n ]; do shift; done; exec env "$@"');
  program(
    'apt-get',
    `for last; do :; done; [ ! -e "$KR_HOST/broken" ] || exit 100
     grep -q 'a package of the daemon' "$last" || exit 101
     v=\${last##*kernreaktor-daemon_}; echo "\${v%_amd64.deb}" >> "$KR_HOST/installed"`,
  );
});
afterEach(() => rm(folder, { recursive: true }));

const stop = { current: new AbortController() };

async function run(change: Partial<UpgradeOrder> = {}): Promise<number> {
  stop.current = new AbortController();
  const person = {
    say: (line: string) => void said.push(line),
    ask: async () => null,
    askSecret: async () => null,
  };
  const order: UpgradeOrder = {
    only: [],
    cluster: undefined,
    to: null,
    canary: null,
    ssh: { destinations: destinationsOf([]), run: sshRunner(join(folder, 'bin', 'ssh')) },
    watchMs: 10_000,
    canaryWatchMs: 20_000,
    dryRun: false,
    yes: true,
    json: false,
    ...change,
  };
  return upgrade(order, { api, person, clock: clockOf(), signal: stop.current.signal });
}

const installedOn = (id: string): string =>
  existsSync(join(folder, id, 'installed'))
    ? readFileSync(join(folder, id, 'installed'), 'utf8').trim()
    : '';
/** Hosts in the order in which ssh was first asked for them. */
const asked = (): string[] =>
  existsSync(join(folder, 'calls'))
    ? [...new Set(readFileSync(join(folder, 'calls'), 'utf8').trim().split('\n'))]
    : [];

describe('an upgrade by ssh', () => {
  it('begins with the canary, ends with what is protected, and installs the very file', async () => {
    expect(await run()).toBe(0);
    expect(asked()).toEqual(['root@c', 'root@b', 'root@a']);
    expect(['a', 'b', 'c'].map(installedOn)).toEqual(['0.2.0', '0.2.0', '0.2.0']);
    expect(said[0]).toBe('1. home/c: 0.1.0 -> 0.2.0, the canary');
  });

  it('does nothing in a dry run but say the plan', async () => {
    expect(await run({ dryRun: true, canary: 'b' })).toBe(0);
    expect(said[0]).toContain('1. home/b');
    expect(asked()).toEqual([]);
  });

  it('asks before it begins, and does nothing where nobody answers', async () => {
    await expect(run({ yes: false })).rejects.toThrow('add --yes');
    expect(asked()).toEqual([]);
  });

  it('installs nothing whose checksum is not the one that the server told', async () => {
    items = [packageOf('0.2.0', '0'.repeat(64))];
    expect(await run()).toBe(3);
    expect(said.join('\n')).toContain('stopped at home/c: the installation ended with 1');
    expect(['a', 'b', 'c'].map(installedOn)).toEqual(['', '', '']);
  });

  it('stops at the first that fails, leaves the rest alone, and goes on there later', async () => {
    writeFileSync(join(folder, 'b', 'broken'), '');
    expect(await run()).toBe(3);
    expect(['c', 'b', 'a'].map(installedOn)).toEqual(['0.2.0', '', '']);
    await rm(join(folder, 'b', 'broken'));
    said.length = 0;
    expect(await run()).toBe(0);
    expect(said).toContain('-  home/c: left out, has 0.2.0');
    expect(['c', 'b', 'a'].map(installedOn)).toEqual(['0.2.0', '0.2.0', '0.2.0']);
  });

  it.each([
    ['is lost', (own: Node) => (own.state = 'lost'), 'c is lost'],
    ['forgets what it could do', (own: Node) => own.capabilities.pop(), 'guest.migrate'],
    ['starts again and again', (own: Node) => (own.incarnation += 1), 'started 1 more times'],
  ])('stops at a canary that came back and then %s', async (_, change, why) => {
    let reads = 0;
    onRead = (id) => {
      if (id !== 'c' || installedOn('c') === '') return;
      reads += 1;
      if (reads === 4 && house['c']) change(house['c']);
    };
    expect(await run()).toBe(3);
    expect(said.join('\n')).toContain(why);
    expect(['b', 'a'].map(installedOn)).toEqual(['', '']);
  });

  it('stops at one that never says the new version', async () => {
    program('apt-get', 'exit 0');
    expect(await run()).toBe(3);
    expect(said.join('\n')).toContain('it did not come back with 0.2.0: c is awake with 0.1.0');
  });

  it('does nothing while HOLD is on', async () => {
    hold = true;
    expect(await run()).toBe(3);
    expect(asked()).toEqual([]);
    expect(said.join('\n')).toContain('HOLD is on');
  });

  it('waits until no command runs on the node', async () => {
    running = ['c', 'c', 'c'];
    let wasBusy = false;
    onRead = () => (wasBusy ||= running.length > 0 && installedOn('c') !== '');
    expect(await run()).toBe(0);
    expect(wasBusy).toBe(false);
    expect(said).toContain('   waits: guest.migrate 104 is running (c1)');
  });

  it('leaves who sleeps for later, and says so by its exit code', async () => {
    house['b'] = node({ state: 'asleep' });
    expect(await run()).toBe(5);
    expect(installedOn('b')).toBe('');
    expect(said.at(-1)).toBe('left for later: home/b');
  });

  it('refuses a version that the server itself does not have', async () => {
    items = [packageOf('0.3.0')];
    await expect(run()).rejects.toThrow('upgrade the server first');
    expect(isNewer('0.10.0', '0.9.9')).toBe(true);
    expect(isNewer('1.0.0', '1.0.0')).toBe(false);
  });
});

describe('an upgrade by hand', () => {
  /** What a person does who pastes the line that was said last on one host. */
  const paste = (host: string, download = bytes): Promise<number> => {
    const line = said.find((one) => one.includes('curl'))?.split('\n\n')[1] ?? '';
    writeFileSync(join(folder, 'download'), download);
    program('curl', `for last; do :; done; cp "${folder}/download" "\${last##*/}"`);
    const env = { PATH: pathOfHost(), KR_HOST: join(folder, host), TMPDIR: folder };
    return new Promise((resolve) => {
      execFile('sh', ['-c', line], { env }, (error) => resolve(error ? 1 : 0));
    });
  };

  it('tells the line, waits until the daemon says the new version, and goes on', async () => {
    const pasted: Promise<number>[] = [];
    onRead = (id) => {
      const isTold = said.some((one) => one.includes('curl'));
      if (isTold && id === 'c' && pasted.length === 0) pasted.push(paste('c'));
      // The others are done elsewhere, once it is their turn.
      if (installedOn('c') !== '' && id !== 'c' && house[id] && said.includes(`home/${id}:`)) {
        house[id].version = '0.2.0';
      }
    };
    expect(await run({ ssh: null })).toBe(0);
    expect(await Promise.all(pasted)).toEqual([0]);
    expect(installedOn('c')).toBe('0.2.0');
  });

  it('gives a line that installs nothing else than the file of that checksum', async () => {
    onRead = () => {
      if (said.some((one) => one.includes('curl'))) stop.current.abort();
    };
    expect(await run({ ssh: null })).toBe(5);
    expect(await paste('c', Buffer.from('a package of the daemon, and more'))).toBe(1);
    expect(installedOn('c')).toBe('');
    expect(await paste('c')).toBe(0);
  });

  it('says the other ways where no package brought the daemon, and waits for the person', async () => {
    writeFileSync(join(folder, 'c', 'by-hand'), '');
    onRead = (id) => {
      if (said.some((one) => one.includes('docker compose pull')))
        (house[id] ?? node()).version = '0.2.0';
    };
    expect(await run({ only: ['c'] })).toBe(0);
    expect(said.join('\n')).toContain('no package brought its daemon');
    expect(installedOn('c')).toBe('');
  });
});
