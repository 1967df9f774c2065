/**
 * `kernreaktor upgrade`: gives the daemons another version, one by one, and stops at the first that
 * does not come back well. It keeps no state of its own: what a daemon says of itself is where it
 * goes on, so that it may be ended and repeated at any time. Never during HOLD, and never while a
 * command runs on the node. The server installs nothing anywhere: a person does, or the person's ssh.
 */
import { z } from 'zod';
import { allNodes, allOf } from './find.ts';
import { json } from './output.ts';
import {
  type DaemonSeen,
  isNewer,
  nameOf,
  type NodeSeen,
  type Plan,
  type Planned,
  planUpgrade,
} from './upgrade-plan.ts';
import {
  at,
  type Deps,
  Left,
  Offered,
  readNode,
  type StepOrder,
  Stopped,
  upgradeOne,
} from './upgrade-step.ts';
import { ClusterRow, pageOf } from './views.ts';

export type UpgradeOrder = {
  /** Daemons by id or `<cluster>/<id>`; none named: every one. */
  only: readonly string[];
  cluster: string | undefined;
  /** null: the newest that the server hands out, else the server's own. */
  to: string | null;
  canary: string | null;
  ssh: StepOrder['ssh'];
  watchMs: number;
  canaryWatchMs: number;
  dryRun: boolean;
  yes: boolean;
  json: boolean;
};

export class UpgradeRefused extends Error {
  override readonly name = 'UpgradeRefused';
  readonly code = 'KR_UPGRADE';
}
/** As for `act`: 3, it did not go well; 5, something is left to do. */
const exitCodes = { done: 0, stopped: 3, left: 5 } as const;
const DaemonRow = z.object({
  id: z.string(),
  nodes: z.array(z.string()),
  revokedAt: z.string().nullable(),
});
async function readDaemons(deps: Deps, { cluster, only }: UpgradeOrder): Promise<DaemonSeen[]> {
  const clusters = await allOf(deps.api, pageOf(ClusterRow), 'clusters');
  const wanted = clusters.filter(({ id, simulated }) => !simulated && (cluster ?? id) === id);
  const nodes = await allNodes(deps.api);
  const found: DaemonSeen[] = [];
  for (const { id } of wanted) {
    const call = { method: 'GET', path: `${at(id)}/daemons` } as const;
    const { items } = await deps.api.ask(z.object({ items: z.array(DaemonRow) }), call);
    for (const row of items.filter(({ revokedAt }) => revokedAt === null)) {
      const known = row.nodes.filter((node) =>
        nodes.some((one) => one.cluster === id && one.id === node),
      );
      const seen: NodeSeen[] = [];
      for (const node of known) seen.push(await readNode(deps, id, node));
      found.push({ cluster: id, daemon: row.id, nodes: seen });
    }
  }
  if (only.length === 0) return found;
  return only.map((name) => {
    const [daemon, ...more] = found.filter((one) => one.daemon === name || nameOf(one) === name);
    if (daemon && more.length === 0) return daemon;
    const wayOut = daemon ? 'write <cluster>/<daemon>' : 'kernreaktor nodes lists them';
    throw new UpgradeRefused(
      `${name}: ${daemon ? 'there are several' : 'no such daemon'}; ${wayOut}`,
    );
  });
}

function targetOf({ items, serverVersion }: Offered, { to }: UpgradeOrder): string {
  const newest = items.reduce<string | null>(
    (best, { version }) => (best === null || isNewer(version, best) ? version : best),
    null,
  );
  const target = to ?? newest ?? serverVersion;
  if (!isNewer(target, serverVersion)) return target;
  throw new UpgradeRefused(
    `the server has ${serverVersion}, older than ${target}: upgrade the server first (docs/upgrade.md)`,
  );
}

function tellPlan({ steps, leftOut }: Plan, target: string, { person }: Deps): void {
  for (const [index, step] of steps.entries()) {
    const nodes = step.nodes.length > 1 ? ` (${step.nodes.map(({ id }) => id).join(', ')})` : '';
    const role = index === 0 && steps.length > 1 ? ', the canary' : '';
    person.say(`${index + 1}. ${nameOf(step)}${nodes}: ${step.before} -> ${target}${role}`);
  }
  for (const one of leftOut) person.say(`-  ${nameOf(one)}: left out, ${one.why}`);
  if (steps.length === 0) person.say(`nothing is to be done for ${target}`);
}

/** `<daemon>=<destination of ssh>`. @throws UpgradeRefused */
export function destinationsOf(pairs: readonly string[]): Map<string, string> {
  return new Map(
    pairs.map((pair) => {
      const [, daemon, destination] = /^([^=]+)=([^-].*)$/.exec(pair) ?? [];
      if (daemon !== undefined && destination !== undefined) return [daemon, destination];
      throw new UpgradeRefused(`--host ${pair}: write <daemon>=root@address`);
    }),
  );
}

async function requireConsent({ person }: Deps, { yes, ssh }: UpgradeOrder): Promise<void> {
  if (yes || ssh === null) return;
  const typed = await person.ask('Install by ssh, in this order? Type yes: ');
  if (typed?.trim() === 'yes') return;
  throw new UpgradeRefused(
    typed === null ? 'nobody is there to agree: add --yes' : 'nothing was done',
  );
}

function tellStop(step: Planned, why: string, { person }: Deps, { items }: Offered): number {
  const old = items.find(({ version }) => version === step.before);
  person.say(`stopped at ${nameOf(step)}: ${why}`);
  person.say(
    'The daemons after it were not touched. Look at it (journalctl -u kernreaktor-agent -u ' +
      `kernreaktor-executor), ${old ? `or go back: kernreaktor upgrade ${nameOf(step)} --to ${step.before}` : `or put ${step.before} back by its package`}. ` +
      'The same command goes on where this one ended.',
  );
  return exitCodes.stopped;
}

async function go(plan: Plan, order: UpgradeOrder, offered: Offered, deps: Deps): Promise<number> {
  const target = targetOf(offered, order);
  for (const [index, step] of plan.steps.entries()) {
    deps.person.say(`${nameOf(step)}:`);
    const isCanary = index === 0 && plan.steps.length > 1;
    const watchMs = isCanary ? order.canaryWatchMs : order.watchMs;
    try {
      await upgradeOne(step, { target, ssh: order.ssh, watchMs }, offered, deps);
    } catch (error) {
      if (error instanceof Left) {
        deps.person.say('ended; the same command goes on where this one was');
        return exitCodes.left;
      }
      if (error instanceof Stopped) return tellStop(step, error.message, deps, offered);
      throw error;
    }
  }
  const later = plan.leftOut.filter(({ isLater }) => isLater);
  if (later.length === 0) return exitCodes.done;
  deps.person.say(`left for later: ${later.map(nameOf).join(', ')}`);
  return exitCodes.left;
}

/** Answers the exit code. @throws ApiRefused, UpgradeRefused */
export async function upgrade(order: UpgradeOrder, deps: Deps): Promise<number> {
  const offered = await deps.api.ask(Offered, { method: 'GET', path: '/api/v1/packages' });
  const target = targetOf(offered, order);
  const plan = planUpgrade(await readDaemons(deps, order), { target, canary: order.canary });
  if (order.json) deps.person.say(json({ target, ...plan }));
  else tellPlan(plan, target, deps);
  if (order.dryRun || order.json) return exitCodes.done;
  if (plan.steps.length > 0) await requireConsent(deps, order);
  return go(plan, order, offered, deps);
}
