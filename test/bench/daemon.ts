/**
 * What a host daemon costs: agent and executor as they are packaged, with the flags of their
 * units, on a fake Proxmox host of 30 guests at 5 s, for `--minutes` (10). CPU is what the kernel
 * counted for each process, tools included, so a busy machine does not change it. The last line is
 * JSON.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { packagesFrom, sourcesFrom } from '../../packaging/closure.ts';
import { products } from '../../packaging/products.ts';
import { layOut, settle } from '../../packaging/tree.ts';
import { pauseMs } from '../support/experiment.ts';
import { type House, openHouse } from '../support/proxmox-house.ts';
import { until } from '../support/servers.ts';
import { type Stack, startStack } from '../support/stack.ts';

const root = join(import.meta.dirname, '..', '..');
const product = products.daemon;
const intervalMs = 5_000;
const guestsPerNode = 30;
/** Until caches are warm and the first minute's questions are asked. */
const warmUpMs = 75_000;
const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK']).toString());

type Installed = { home: string; bytes: number };

/** The package as it would lie on this machine, without being installed. */
function install(into: string): Installed {
  const sources = sourcesFrom(root, product.entry);
  const cpu = process.arch === 'arm64' ? 'arm64' : 'x64';
  const packages = packagesFrom(root, sources.packages);
  const nodePackage = `node_modules/node-linux-${cpu}`;
  layOut(
    { product, version: '0.0.0', root, installed: root, sources, packages, nodePackage },
    into,
  );
  return { home: join(into, 'usr/lib', product.name), bytes: settle(into, 0) };
}

/** The executor of the package, but for the host that it looks at. */
const executorProgram = (host: { tools: object; root: string; node: string; address: string }) => `
import { readExecutorConfig } from './daemon/config.js';
import { startExecutor } from './daemon/executor.js';
import { partsOf, untilStopped, version } from './daemon/process/main.js';
import { createProxmoxHypervisor } from './daemon/hypervisor/proxmox/driver.js';
import { createSampler } from './daemon/sample/sampler.js';
const { tools, root, node, address } = ${JSON.stringify(host)};
const config = readExecutorConfig();
const { clock, log, ...parts } = partsOf(config.logLevel);
const own = { address: '', netmask: '', family: 'IPv4', internal: false, mac: '02:00:00:00:00:01' };
const addresses = () => ({ eno1: [{ ...own, cidr: address }] });
const sampler = createSampler({ clock, root, addresses });
const outputFolder = config.dataDir + '/output';
const seen = { node, sampler, daemonVersion: version, clock, log, tools, simulated: true, root };
const options = { ...seen, outputFolder };
const hypervisor = createProxmoxHypervisor(options);
const running = await startExecutor(config, { ...parts, clock, log, version, hypervisor });
await untilStopped(() => running.stop());
`;

type Side = { name: 'agent' | 'executor'; child: ChildProcess; pid: number };

function start(name: Side['name'], argv: string[], environment: Record<string, string>): Side {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, {
    env: { PATH: '/usr/bin:/bin', ...environment },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return { name, child, pid: child.pid ?? 0 };
}

/** Seconds of CPU of the process, and of the programs that it ran and waited for. */
function cpuOf(pid: number): { own: number; tools: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const seconds = (...at: number[]): number =>
    at.reduce((sum, index) => sum + Number(fields[index]), 0) / ticksPerSecond;
  return { own: seconds(11, 12), tools: seconds(13, 14) };
}

const kibibytesIn = (file: string, name: string): number =>
  Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync(file, 'utf8'))?.[1] ?? 0);

/** Resident, of that its own data, its share where pages are shared, and the peak; in MiB. */
function memoryOf(pid: number) {
  const mebibytes = (kibibytes: number): number => Math.round(kibibytes / 102.4) / 10;
  return {
    residentMib: mebibytes(kibibytesIn(`/proc/${pid}/status`, 'VmRSS')),
    ownMib: mebibytes(kibibytesIn(`/proc/${pid}/status`, 'RssAnon')),
    proportionalMib: mebibytes(kibibytesIn(`/proc/${pid}/smaps_rollup`, 'Pss')),
    peakMib: mebibytes(kibibytesIn(`/proc/${pid}/status`, 'VmHWM')),
  };
}

const ratio = (seconds: number, overMs: number): number =>
  Number(((seconds * 1_000) / overMs).toPrecision(3));

async function measure(sides: readonly Side[], stack: Stack, minutes: number) {
  const received = async () => (await stack.api.ingestFigures())['received'] ?? 0;
  const before = sides.map(({ pid }) => cpuOf(pid));
  const [startMs, samples] = [performance.now(), await received()];
  await pauseMs(minutes * 60_000);
  const overMs = performance.now() - startMs;
  const figures = sides.map(({ name, pid }, index) => {
    const now = cpuOf(pid);
    const was = before[index] ?? { own: 0, tools: 0 };
    const cpuRatio = ratio(now.own - was.own, overMs);
    return [name, { cpuRatio, toolsRatio: ratio(now.tools - was.tools, overMs), ...memoryOf(pid) }];
  });
  // The server's own daemon samples at the same pace.
  const samplesOfBoth = (await received()) - samples;
  return { minutes, samplesOfBoth, ...Object.fromEntries(figures) };
}

type Enrolled = {
  credentials: { node: string; daemon: string; secret: string }[];
  serverId: string;
  serverKeys: object[];
};

/** Both halves on the first node of the house; the rest of it stands still. */
async function startSides(
  folder: string,
  { home }: Installed,
  { house, stack, running }: { house: House; stack: Stack; running: Side[] },
): Promise<number> {
  const [fake] = house.clusters;
  if (!fake) throw new Error('the house is empty');
  const cluster = fake.id;
  const node = Object.keys(fake.tools)[0] ?? '';
  const asked = { cluster, nodes: [node], simulated: true };
  const { body } = await stack.api.post<Enrolled>('enrolments', asked);
  const { credentials, serverId, serverKeys } = body;
  const { daemon, secret } = credentials[0] ?? { daemon: '', secret: '' };
  const dataDirs = { agent: join(folder, 'agent'), executor: join(folder, 'executor') };
  for (const dataDir of Object.values(dataDirs)) mkdirSync(dataDir, { mode: 0o700 });
  const own = { cluster, daemon, nodes: [node], secret, serverId, serverKeys };
  const credential = { ...own, simulated: true, caSha256: null };
  const file = join(dataDirs.agent, 'credential.json');
  writeFileSync(file, JSON.stringify(credential), { mode: 0o600 });
  const spec = house.live.world.nodes.get(`${cluster}/${node}`)?.spec;
  const host = { tools: fake.tools[node] ?? {}, root: fake.trees[node]?.root ?? '', node };
  const program = join(home, 'bench-executor.mjs');
  writeFileSync(program, executorProgram({ ...host, address: `${spec?.address}/24` }));
  const environment = {
    KR_MQTT_URL: stack.runtime().mqttUrl,
    KR_CLUSTER: cluster,
    KR_NODE: node,
    KR_SAMPLE_INTERVAL_MS: String(intervalMs),
    KR_EXECUTOR_SOCKET: join(folder, 'run', 'executor.sock'),
    KR_LOG_LEVEL: 'warn',
    MALLOC_ARENA_MAX: '1',
  };
  const runtime = [join(home, 'node'), ...product.nodeFlags];
  const entry = join(home, product.entry.replace('.ts', '.js'));
  const executorEnvironment = { ...environment, KR_DATA_DIR: dataDirs.executor };
  running.push(start('executor', [...runtime, program], executorEnvironment));
  const agentEnvironment = { ...environment, KR_DATA_DIR: dataDirs.agent };
  running.push(start('agent', [...runtime, entry, '--role', 'agent'], agentEnvironment));
  const path = `/api/v1/clusters/${cluster}/nodes/${node}`;
  type Node = { state: string; guestCount: number };
  const state = async () => (await stack.api.send<Node>('GET', path)).body;
  const isSeen = async () => (await state()).guestCount === guestsPerNode;
  await until(isSeen, { withinMs: 120_000, what: 'every guest' });
  return (await state()).guestCount;
}

async function main(): Promise<void> {
  const options = { minutes: { type: 'string', default: '10' } } as const;
  const minutes = Number(parseArgs({ options }).values.minutes);
  if (!(minutes > 0)) throw new Error('--minutes: write a number above 0');
  const folder = mkdtempSync(join(tmpdir(), 'kr-bench-daemon-'));
  const house = await openHouse({ nodesPerCluster: 3, guestsPerNode });
  const stack = await startStack({
    KR_LOG_LEVEL: 'warn',
    KR_SAMPLE_INTERVAL_MS: String(intervalMs),
  });
  const running: Side[] = [];
  try {
    const installed = install(join(folder, 'package'));
    const guests = await startSides(folder, installed, { house, stack, running });
    await pauseMs(Math.min(warmUpMs, minutes * 60_000));
    const figures = await measure(running, stack, minutes);
    const node = process.version;
    const { bytes: installedBytes } = installed;
    const line = { bench: 'daemon', node, guests, intervalMs, installedBytes, ...figures };
    process.stdout.write(`${JSON.stringify(line)}\n`);
  } finally {
    for (const { child } of running) {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    }
    await stack.remove();
    await house.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
