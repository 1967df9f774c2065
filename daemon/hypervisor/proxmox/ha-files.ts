/**
 * High availability as pmxcfs shows it in files: what is managed (`ha/resources.cfg`), what the
 * manager decided (`ha/manager_status`), what each node's agent does (`nodes/<node>/lrm_status`),
 * and the options of the cluster (`datacenter.cfg`). No process is started, and nothing is older
 * than the file. A file that is there and cannot be read or understood makes everything unknown.
 */
import { z } from 'zod';
import type { Files } from '../../sample/files.ts';
import { type HaAnswers, ManagerStatus } from './ha.ts';
import { parseConfig, type VmList } from './pmxcfs.ts';
import { propertiesOf, readJson } from './scalars.ts';

const text = z.string();

const ServiceStatus = z.object({
  service_status: z.record(text, z.object({ node: text, state: text })).default({}),
});

type Section = { sid: string; options: ReadonlyMap<string, string> };

/** `vm: 100`, then indented `key value` lines up to an empty one. */
export function parseHaResources(file: string): Section[] {
  return file.split(/^(?=(?:vm|ct): )/m).flatMap((section) => {
    const [, kind, vmid] = /^(vm|ct): (\d+)\s*$/m.exec(section) ?? [];
    if (kind === undefined || vmid === undefined) return [];
    const lines = [...section.matchAll(/^\s+([\w-]+) (.*?)\s*$/gm)];
    const options = new Map(lines.map(([, key = '', value = '']) => [key, value]));
    return [{ sid: `${kind}:${vmid}`, options }];
  });
}

const isOff = (value: string | undefined): boolean => value === '0' || value === 'no';

/** '' where there is no such file; null where it cannot be read. */
async function textOf(files: Files, path: string): Promise<string | null> {
  const found = await files.text(path);
  return found ?? ((await files.exists(path)) ? null : '');
}

async function agents(files: Files, nodes: readonly string[]) {
  const states: [string, unknown][] = [];
  for (const node of nodes) {
    const found = await textOf(files, `etc/pve/nodes/${node}/lrm_status`);
    const parsed = readJson(z.record(text, z.unknown()), found === '' ? '{}' : (found ?? ''));
    if (!parsed.ok) return null;
    states.push([node, parsed.value]);
  }
  return Object.fromEntries(states);
}

type Decided = z.infer<typeof ServiceStatus>['service_status'];

/** What the manager has not taken up yet is where its guest is, and on its way. */
function servicesOf(
  sections: readonly Section[],
  decided: Decided,
  placement: VmList | null,
): HaAnswers['services'] {
  return sections.map(({ sid, options }) => {
    const wanted = options.get('state');
    const place = placement?.get(sid.slice(sid.indexOf(':') + 1));
    const rebalance = options.get('auto-rebalance');
    return {
      type: 'service' as const,
      sid,
      node: decided[sid]?.node ?? place?.node ?? 'unknown',
      state: decided[sid]?.state ?? (wanted === 'ignored' ? 'ignored' : 'queued'),
      ...(rebalance === undefined ? {} : { 'auto-rebalance': !isOff(rebalance) }),
    };
  });
}

export async function readHa(
  files: Files,
  nodes: readonly string[],
  placement: VmList | null,
): Promise<HaAnswers | null> {
  const [resources, status, options, lrm] = await Promise.all([
    textOf(files, 'etc/pve/ha/resources.cfg'),
    textOf(files, 'etc/pve/ha/manager_status'),
    textOf(files, 'etc/pve/datacenter.cfg'),
    agents(files, nodes),
  ]);
  if (resources === null || status === null || options === null || lrm === null) return null;
  // Without any resource the manager never wrote it.
  const written = status === '' ? '{}' : status;
  const manager = readJson(ManagerStatus.shape.manager_status, written);
  const decided = readJson(ServiceStatus, written);
  const agentsRead = ManagerStatus.shape.lrm_status.safeParse(lrm);
  if (!manager.ok || !decided.ok || !agentsRead.success) return null;
  const config = parseConfig(options);
  const properties = (key: string) => propertiesOf(config.get(key) ?? '');
  return {
    manager: { manager_status: manager.value, lrm_status: agentsRead.data },
    services: servicesOf(parseHaResources(resources), decided.value.service_status, placement),
    options: { crs: properties('crs'), ha: properties('ha'), bwlimit: properties('bwlimit') },
  };
}
