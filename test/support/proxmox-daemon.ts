/**
 * A daemon of a Proxmox host as a process of its own: the production executor, journal, link and
 * host driver, with the fake tools of one node instead of /usr/bin. Its one argument is a file with
 * the settings. Ended by SIGTERM, or killed by the test.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { pino } from 'pino';
import { uuidv7 } from '../../broker/contract/ids.ts';
import type { Clock, Log } from '../../broker/contract/ports.ts';
import { runTool } from '../../daemon/command/sandbox.ts';
import type { DaemonConfig } from '../../daemon/config.ts';
import { createProxmoxHypervisor } from '../../daemon/hypervisor/proxmox/driver.ts';
import type { ToolPaths } from '../../daemon/hypervisor/proxmox/toolbox.ts';
import type { Credential } from '../../daemon/link/credential.ts';
import { startDaemon } from '../../daemon/main.ts';
import { createSampler } from '../../daemon/sample/sampler.ts';
import { WakeError, type Waker } from '../../daemon/waker/port.ts';

export type HouseDaemon = {
  config: DaemonConfig;
  credential: Credential;
  tools: ToolPaths & { pvenode: string };
  /** Where the fake /proc, /sys, /etc and /var of the host lie. */
  root: string;
  /** IPv4 with prefix length, of link eno1. */
  address: string;
};

const clock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => Math.floor(performance.now()),
  after(delayMs, run) {
    const timer = setTimeout(() => void run(), delayMs);
    return () => clearTimeout(timer);
  },
};

/** `pvenode wakeonlan` of this node, which the world hears as it would hear a magic packet. */
const wakerOf = (pvenode: string): Waker => ({
  name: 'wol',
  isUnanswered: true,
  async wake({ node }, signal) {
    const argv = ['wakeonlan', node];
    const sent = await runTool({ path: pvenode, argv, env: {}, timeoutMs: 20_000, signal });
    if (sent.exitCode !== 0) throw new WakeError('KR_WAKE_SEND', sent.stderr.trim());
    return { packets: 1, detail: sent.stdout.trim() };
  },
});

const settings = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as HouseDaemon;
const { config, credential, tools, root, address } = settings;
const log: Log = pino({ level: config.logLevel }, pino.destination({ dest: 2, sync: true }));
const mac = '02:00:00:00:00:01';
const link = { address: '', netmask: '', family: 'IPv4', internal: false, mac } as const;
const sampler = createSampler({
  clock,
  root,
  addresses: () => ({ eno1: [{ ...link, cidr: address }] }),
});
const hypervisor = createProxmoxHypervisor({
  node: config.node,
  sampler,
  daemonVersion: '1',
  clock,
  log,
  tools,
  simulated: true,
  root,
  outputFolder: join(config.dataDir, 'output'),
});
const random = {
  bytes: (count: number) => randomBytes(count),
  ratio: () => randomBytes(4).readUInt32BE() / 2 ** 32,
};
mkdirSync(config.dataDir, { recursive: true, mode: 0o700 });
const stopped = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
const daemon = await startDaemon(config, {
  clock,
  random,
  newId: () => uuidv7(Date.now(), randomBytes(16)),
  log,
  version: '1.0.0',
  credential,
  hypervisor,
  wakers: [wakerOf(tools.pvenode)],
});
await stopped;
await daemon.stop();
process.exit(0);
