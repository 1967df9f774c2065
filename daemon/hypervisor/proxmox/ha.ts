/**
 * High availability as the manager writes it down, and who moves a guest: we or the scheduler's
 * own balancer. Maintenance is asked of three places, since `/nodes` goes on saying online. Pure.
 */
import { z } from 'zod';
import type { NodeFacts } from '../../../broker/contract/facts.ts';
import { Flag, Properties } from './scalars.ts';

const text = z.string();

/** `/cluster/ha/status/manager_status`; without any HA resource the manager never wrote it. */
export const ManagerStatus = z.object({
  manager_status: z
    .object({
      node_status: z.record(text, text).default({}),
      node_request: z.record(text, z.object({ maintenance: Flag.default(false) })).default({}),
    })
    .default({ node_status: {}, node_request: {} }),
  lrm_status: z
    .record(text, z.object({ mode: text.optional(), state: text.optional() }))
    .default({}),
});
export type ManagerStatus = z.infer<typeof ManagerStatus>;

const HaService = z.object({
  type: z.literal('service'),
  sid: text,
  node: text,
  state: text.optional(),
  status: text.optional(),
  'auto-rebalance': Flag.optional(),
});
type HaService = z.infer<typeof HaService>;

/** A service that is not understood must not pass as something else. */
const HaOther = z.object({ type: text.refine((type) => type !== 'service') }).transform(() => null);

/** `/cluster/ha/status/current`: services among rows of quorum, master, lrm and fencing. */
export const HaCurrent = z
  .array(z.union([HaService, HaOther]))
  .transform((rows) => rows.filter((row) => row !== null));

/** `/cluster/options`: each option as an object or as text. */
export const ClusterOptions = z.object({
  crs: Properties.optional(),
  ha: Properties.optional(),
  bwlimit: Properties.optional(),
});
export type ClusterOptions = z.infer<typeof ClusterOptions>;

export const isInMaintenance = (
  { manager_status: manager, lrm_status: lrm }: ManagerStatus,
  node: string,
): boolean =>
  manager.node_status[node] === 'maintenance' ||
  manager.node_request[node]?.maintenance === true ||
  lrm[node]?.mode === 'maintenance';

/** `vm:100` and `ct:101` -> `100`, `101`. */
const vmidOf = (sid: string): string => sid.slice(sid.indexOf(':') + 1);

export const serviceOf = (services: readonly HaService[], vmid: string): HaService | undefined =>
  services.find(({ sid }) => vmidOf(sid) === vmid);

const isOn = (value: string | undefined): boolean => value === '1' || value === 'true';

/** Where the scheduler balances by itself, every HA guest is its own unless it is opted out. */
export const isOwnedByBalancer = (
  { crs = {} }: ClusterOptions,
  service: HaService | undefined,
): boolean =>
  service !== undefined && isOn(crs['ha-auto-rebalance']) && service['auto-rebalance'] !== false;

/** The agent of a node feeds its watchdog from when it has its lock until it gives it back. */
function watchdogOf(lrmState: string | undefined): boolean | null {
  if (lrmState === 'active' || lrmState === 'lost_agent_lock') return true;
  return lrmState === 'wait_for_agent_lock' || lrmState === 'maintenance' ? false : null;
}

/** States in which the manager leaves a service where it is, not running. */
const atRest: ReadonlySet<string> = new Set(['stopped', 'disabled', 'ignored']);

/** Services on the node that HA still keeps alive there, or is still moving. */
export const servicesLeft = ({ services }: HaAnswers, node: string): string[] =>
  services
    .filter((service) => service.node === node && !atRest.has(service.state ?? 'unknown'))
    .map(({ sid }) => sid);

/** Maintenance was reached: asked for, nothing of HA is left, and nothing feeds the watchdog. */
export const isAtRest = (answers: HaAnswers, node: string): boolean =>
  isInMaintenance(answers.manager, node) &&
  servicesLeft(answers, node).length === 0 &&
  watchdogOf(answers.manager.lrm_status[node]?.state) === false;

export type HaAnswers = {
  manager: ManagerStatus;
  services: readonly HaService[];
  options: ClusterOptions;
};

/** `nodeId` spells a Proxmox node name as our id. */
export function haFacts(
  { manager, services, options }: HaAnswers,
  node: string,
  nodeId: (name: string) => string,
): NonNullable<NodeFacts['ha']> {
  const lrm = manager.lrm_status[node];
  return {
    managed: services.length > 0,
    lrmState: lrm?.state ?? null,
    mode: lrm?.mode ?? null,
    watchdogOpen: watchdogOf(lrm?.state),
    shutdownPolicy: options.ha?.['shutdown_policy'] ?? 'conditional',
    services: services.map((service) => ({
      sid: service.sid,
      state: service.state ?? service.status ?? 'unknown',
      node: nodeId(service.node),
    })),
  };
}
