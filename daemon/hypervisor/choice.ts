/**
 * Which driver moves this host, by daemon.yaml, by the environment, or by what is found here, and
 * what that driver needs to know. A block of another driver's is a problem, not silently ignored.
 */
import { existsSync } from 'node:fs';
import { z } from 'zod';
import type { Problem } from '../../broker/contract/environment.ts';
import type { LxdEndpoint } from './lxd/api.ts';
import { findLxd, LxdSettings } from './lxd/settings.ts';
import { PowerProgram } from './power-program.ts';
import { program } from './program-path.ts';
import { hostTools } from './proxmox/toolbox.ts';
import type { ApiEndpoint } from './proxmox-api/client.ts';
import { endpointOf, ProxmoxFile, pveEnvironment } from './proxmox-api/settings.ts';
import { type ScriptConfig, scriptActions } from './script.ts';

const HypervisorName = z.enum(['proxmox', 'proxmox-api', 'lxd', 'script', 'host'], {
  error: 'use proxmox, proxmox-api, lxd, script or host',
});
export type HypervisorName = z.infer<typeof HypervisorName>;

/** What daemon.yaml may say of the driver. */
export const driverFile = {
  hypervisor: HypervisorName.optional(),
  script: z
    .strictObject({
      guests: program,
      probe: program.optional(),
      actions: z.partialRecord(z.enum(scriptActions), program).default({}),
      queryTimeoutMs: z.int().min(100).max(60_000).default(10_000),
      stopWithinMs: z.int().min(100).max(180_000).default(5_000),
    })
    .optional(),
  lxd: LxdSettings.optional(),
  proxmox: ProxmoxFile.optional(),
  power: PowerProgram.optional(),
};
type DriverFile = z.infer<z.ZodObject<typeof driverFile>>;

/** What the environment may say of the driver. */
export const driverEnvironment = {
  ...pveEnvironment,
  KR_PVE_NSENTER: z
    .enum(['0', '1'], { error: 'use 1 in a container with the pids of its Proxmox host, else 0' })
    .optional(),
};
type DriverEnvironment = z.infer<z.ZodObject<typeof driverEnvironment>>;

export type DriverChoice = {
  hypervisor: HypervisorName;
  /** The administrator's programs; null where none are named. */
  script: ScriptConfig | null;
  /** Where LXD is, when it drives this host. */
  lxd?: LxdEndpoint;
  proxmox?: ProxmoxFile;
  /** The administrator's program that prints watts. */
  power?: PowerProgram;
  /** Proxmox's tools are those of the host around this container. */
  isInContainer?: boolean;
  /** Where the API is, when it drives the cluster. */
  pveApi?: ApiEndpoint;
};

export type DriverSources = {
  /** Whose presence tells a host of Proxmox VE. */
  pvesh?: string;
  /** Where LXD's socket is looked for when nothing names it. */
  lxdSockets?: readonly string[];
};

/** The root of the first process: the host's own, for a container that shares its pids. */
export const hostRoot = '/proc/1/root';

const isBeside = (pvesh: string): boolean => !existsSync(pvesh) && existsSync(hostRoot + pvesh);

/** What drives this host when nobody says it. */
export const detectHypervisor = (pvesh = hostTools.pvesh): HypervisorName =>
  existsSync(pvesh) || isBeside(pvesh) ? 'proxmox' : 'host';

function nameOf(file: Partial<DriverFile>, given: Partial<DriverEnvironment>, pvesh?: string) {
  if (file.hypervisor) return file.hypervisor;
  if (given.KR_PVE_URLS) return 'proxmox-api';
  return file.script ? 'script' : file.lxd ? 'lxd' : detectHypervisor(pvesh);
}

function checkBlocks(name: HypervisorName, file: Partial<DriverFile>, problems: Problem[]): void {
  const { script, lxd, proxmox, power } = file;
  if (name === 'script' && !script) {
    problems.push({ field: 'hypervisor', hint: 'name the programs under script, too' });
  }
  if (name !== 'script' && script) {
    problems.push({ field: 'hypervisor', hint: 'set it to script, or remove the script block' });
  }
  if (name !== 'lxd' && lxd) {
    problems.push({ field: 'hypervisor', hint: 'set it to lxd, or remove the lxd block' });
  }
  if (name === 'proxmox-api' && power) {
    const hint = 'this daemon sits on none of its nodes: name the program on a host, or map a plug';
    problems.push({ field: 'power', hint });
  }
  if (!name.startsWith('proxmox') && proxmox) {
    const hint = 'set it to proxmox or proxmox-api, or remove the proxmox block';
    problems.push({ field: 'hypervisor', hint });
  }
}

export function chooseDriver(
  { file, given }: { file: Partial<DriverFile> | null; given: Partial<DriverEnvironment> },
  sources: DriverSources,
  problems: Problem[],
): DriverChoice {
  const { script = null, proxmox, power, lxd: named } = file ?? {};
  const hypervisor = nameOf(file ?? {}, given, sources.pvesh);
  checkBlocks(hypervisor, file ?? {}, problems);
  const lxd = hypervisor === 'lxd' ? (named ?? findLxd(sources.lxdSockets)) : null;
  if (hypervisor === 'lxd' && lxd === null) {
    const hint = 'name the unix socket: none is where packages put it';
    problems.push({ field: 'lxd.socket', hint });
  }
  const pveApi = hypervisor === 'proxmox-api' ? endpointOf(given, problems) : null;
  const nsenter = given.KR_PVE_NSENTER;
  const isInContainer =
    nsenter === undefined ? isBeside(sources.pvesh ?? hostTools.pvesh) : nsenter === '1';
  return {
    hypervisor,
    script: script ?? null,
    ...(lxd && { lxd }),
    ...(proxmox && { proxmox }),
    ...(power && { power }),
    ...(pveApi && { pveApi }),
    ...(hypervisor === 'proxmox' && isInContainer && { isInContainer }),
  };
}
