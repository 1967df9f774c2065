/**
 * Which driver moves this host, and where its administrator's word stands. Kept apart from the
 * network, so that the executor's own process loads nothing that speaks to one.
 */
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Clock, Log } from '../broker/contract/ports.ts';
import { holdFile, policyFile, strictest } from './command/local-policy.ts';
import { createScriptRunner, type ScriptRunner } from './command/script-trust.ts';
import { sweepOutputs } from './command/tool-output.ts';
import type { DaemonConfig } from './config.ts';
import { type DriverChoice, hostRoot } from './hypervisor/choice.ts';
import type { Hypervisor } from './hypervisor/port.ts';
import { watchMembers } from './hypervisor/membership.ts';
import { withPower } from './hypervisor/power-program.ts';
import { createSampler, type Sampler } from './sample/sampler.ts';

/** Of the administrator's word on this machine, above whatever the server says. */
const usualFolder = '/etc/kernreaktor';
const policyBelow = (folder: string) => policyFile(join(folder, 'policy.yaml'));
const holdBelow = (folder: string) => holdFile(join(folder, 'HOLD'));

export type DriverConfig = Pick<
  DaemonConfig,
  'node' | 'dataDir' | 'etcDir' | keyof DriverChoice
> & {
  /** All that this daemon was enrolled for; one, unless it speaks for a cluster by its API. */
  nodes?: readonly string[];
};

type DriverDeps = { clock: Clock; log: Log; version: string };

/** In a container on a host the word of either counts; what the host forbids stays forbidden. */
export function ownWords(config: Pick<DriverConfig, 'isInContainer' | 'etcDir'>) {
  const { isInContainer = false, etcDir = usualFolder } = config;
  const own = { readPolicy: policyBelow(etcDir), isHeld: holdBelow(etcDir) };
  if (!isInContainer) return own;
  const readOuter = policyBelow(hostRoot + usualFolder);
  const isOuterHeld = holdBelow(hostRoot + usualFolder);
  return {
    readPolicy: () => strictest(own.readPolicy, readOuter),
    isHeld: async () => (await own.isHeld()) || isOuterHeld(),
  };
}

export const scriptsOf = ({
  dataDir,
  etcDir = usualFolder,
}: Pick<DriverConfig, 'dataDir' | 'etcDir'>): ScriptRunner =>
  createScriptRunner({ folder: join(dataDir, 'run'), readPolicy: policyBelow(etcDir) });

const outputsOf = ({ dataDir }: Pick<DriverConfig, 'dataDir'>): string => join(dataDir, 'output');

const nsenter = '/usr/bin/nsenter';
const sweepEveryMs = 10_000;

/** Until the driver is closed, what acting tools print is bounded, whoever began them. */
function withSweeping(driver: Hypervisor, folder: string, clock: Clock): Hypervisor {
  let isClosed = false;
  let cancel = (): void => undefined;
  async function sweep(): Promise<void> {
    await sweepOutputs(folder, clock.wallMs());
    if (!isClosed) cancel = clock.after(sweepEveryMs, sweep);
  }
  void sweep();
  return {
    ...driver,
    async close() {
      isClosed = true;
      cancel();
      await driver.close();
    },
  };
}

async function proxmoxOf(
  config: DriverConfig,
  deps: DriverDeps,
  sampler: Sampler,
): Promise<Hypervisor> {
  const { createProxmoxHypervisor } = await import('./hypervisor/proxmox/driver.ts');
  const { clock, log, version: daemonVersion } = deps;
  const { node, proxmox, isInContainer = false } = config;
  const migrationBytesPerSecond = proxmox?.migrationBytesPerSecond ?? null;
  const outputFolder = outputsOf(config);
  const own = { node, daemonVersion, clock, log, migrationBytesPerSecond, outputFolder };
  if (!isInContainer) return createProxmoxHypervisor({ ...own, sampler });
  // Its files and tools are those of the host, whatever this container's own root holds.
  const outside = createSampler({ clock, addresses: networkInterfaces, root: hostRoot });
  return createProxmoxHypervisor({ ...own, sampler: outside, root: hostRoot, nsenter });
}

/** Loads the one driver that is used: some bring an HTTP client, which takes memory. */
async function bareDriver(
  config: DriverConfig,
  deps: DriverDeps,
  sampler: Sampler,
): Promise<Hypervisor> {
  const { clock, log, version: daemonVersion } = deps;
  const { node, script, hypervisor, lxd, pveApi } = config;
  if (hypervisor === 'proxmox') return proxmoxOf(config, deps, sampler);
  if (pveApi) {
    const { createProxmoxApiHypervisor } = await import('./hypervisor/proxmox-api/driver.ts');
    const { nodes = [node], proxmox } = config;
    return createProxmoxApiHypervisor({
      nodes,
      endpoint: pveApi,
      daemonVersion,
      clock,
      log,
      declared: proxmox?.nodes ?? {},
      hasNoQdevice: proxmox?.quorumDevice === 'none',
      migrationBytesPerSecond: proxmox?.migrationBytesPerSecond ?? null,
    });
  }
  if (lxd) {
    const { createLxdApi } = await import('./hypervisor/lxd/api.ts');
    const { createLxdHypervisor } = await import('./hypervisor/lxd/driver.ts');
    // Over the network it is another machine, whose /proc cannot be read from here.
    const own = 'socket' in lxd ? sampler : null;
    const api = createLxdApi(lxd);
    return createLxdHypervisor({ node, api, sampler: own, daemonVersion, clock, log });
  }
  if (script === null) {
    const { createHostHypervisor } = await import('./hypervisor/host.ts');
    return createHostHypervisor({ node, sampler, daemonVersion });
  }
  const { createScriptHypervisor } = await import('./hypervisor/script.ts');
  const scripts = scriptsOf(config);
  const outputFolder = outputsOf(config);
  const own = { node, config: script, sampler, scripts, outputFolder };
  return createScriptHypervisor({ ...own, daemonVersion, clock, log });
}

/** The driver, with the watts of the machine it runs on. */
export async function driverOf(
  config: DriverConfig,
  deps: DriverDeps,
  sampler: Sampler,
): Promise<Hypervisor> {
  const bare = await bareDriver(config, deps, sampler);
  const watched = watchMembers(bare, deps.clock);
  const driver = withSweeping(watched, outputsOf(config), deps.clock);
  const { node, power: settings = null, pveApi, lxd } = config;
  // These speak of other machines, whose power is not measured from here.
  if (pveApi || (lxd && !('socket' in lxd))) return driver;
  const { clock, log } = deps;
  return withPower(driver, { node, settings, scripts: scriptsOf(config), clock, log });
}
