/**
 * Sleeping and waking by the API. A power-off is begun only when two members other than the target
 * both see it empty, idle and quorate, each asked at its own URL: one that has lost touch with the
 * cluster, or answers from an old state, must not be believed alone. A wake is sent by a member.
 */
import type { z } from 'zod';
import { WakeError, type Waker } from '../../waker/port.ts';
import type { Observation, Performed, Work, WorkContext } from '../port.ts';
import { ClusterStatus, GuestList, TaskList } from '../proxmox/answers.ts';
import { nodeIdOf } from '../proxmox/context.ts';
import { HaCurrent } from '../proxmox/ha.ts';
import { notStarted } from '../proxmox/power-off.ts';
import { PveApiError } from './client.ts';
import type { Context } from './context.ts';

const witnessesNeeded = 2;

type Status = z.infer<typeof ClusterStatus>;
type Witness = { url: string; name: string; status: Status };

/** Members that answer at their own URL, without `node` itself. */
async function membersBeside({ api }: Context, node: string): Promise<Witness[]> {
  const asked = api.urls.map(async (url): Promise<Witness[]> => {
    const status = await api.get(ClusterStatus, '/cluster/status', { via: url });
    const name = status.nodes.find(({ local }) => local)?.name;
    return name === undefined || nodeIdOf(name) === node ? [] : [{ url, name, status }];
  });
  const answered = await Promise.allSettled(asked);
  const all = answered.flatMap((one) => (one.status === 'fulfilled' ? one.value : []));
  // Two URLs may lead to one member, which is one witness.
  return all.filter(({ name }, index) => all.findIndex((other) => other.name === name) === index);
}

/** Why this member's view of the node forbids its power-off, or undefined. */
async function objection(
  { api }: Context,
  { url: via, name, status }: Witness,
  node: string,
): Promise<string | undefined> {
  const row = status.nodes.find((other) => nodeIdOf(other.name) === node);
  if (status.cluster?.quorate !== true) return `${name} sees no quorum`;
  if (!row?.online) return `${name} does not see ${node} online`;
  const path = `/nodes/${row.name}`;
  const tasksOf = { params: { source: 'active' }, via };
  const [vms, containers, tasks, services] = await Promise.all([
    api.get(GuestList, `${path}/qemu`, { via }),
    api.get(GuestList, `${path}/lxc`, { via }),
    api.get(TaskList, `${path}/tasks`, tasksOf),
    api.get(HaCurrent, '/cluster/ha/status/current', { via }),
  ]);
  const running = [...vms, ...containers].filter((guest) => guest.status !== 'stopped');
  const locked = [...vms, ...containers].find(({ lock }) => lock !== null);
  if (running.length > 0) return `${name} sees ${running.length} guests run on ${node}`;
  if (locked) return `${name} sees guest ${locked.vmid} locked (${locked.lock})`;
  if (tasks[0]) return `${name} sees ${tasks[0].type} at work on ${node}`;
  return services.length === 0
    ? undefined
    : 'HA is in use, and only the daemon on the host can put its node into maintenance';
}

/** Who confirmed that the node may go, or why it must stay. */
async function confirmed(
  context: Context,
  node: string,
): Promise<{ ok: true; by: Witness[] } | { ok: false; why: string }> {
  const witnesses = (await membersBeside(context, node)).slice(0, witnessesNeeded);
  if (witnesses.length < witnessesNeeded) {
    const why = `a power-off by API needs ${witnessesNeeded} other members that answer, ${witnesses.length} did`;
    return {
      ok: false,
      why: `${why}: name their URLs in KR_PVE_URLS, or run the daemon on the host`,
    };
  }
  for (const witness of witnesses) {
    const why = await objection(context, witness, node);
    if (why !== undefined) return { ok: false, why };
  }
  return { ok: true, by: witnesses };
}

export async function powerOff(
  context: Context,
  { action, node }: Work,
  { signal }: WorkContext,
): Promise<Performed> {
  if (action.kind !== 'node.shutdown') {
    return notStarted(`this driver does not perform ${action.kind}`);
  }
  if (action.args.mode !== 'poweroff') return notStarted('only mode poweroff is possible here');
  if (context.declared[node] === undefined) {
    return notStarted(`nobody has declared what ${node} does: see nodes in daemon.yaml`);
  }
  try {
    const answer = await confirmed(context, node);
    if (!answer.ok) return notStarted(answer.why);
    const [{ url: via, status } = { url: '', status: null }] = answer.by;
    const name = status?.nodes.find((row) => nodeIdOf(row.name) === node)?.name ?? node;
    const path = `/nodes/${name}/status`;
    await context.api.send({ method: 'POST', path, params: { command: 'shutdown' }, via, signal });
    const by = answer.by.map((witness) => witness.name).join(' and ');
    return { exitCode: 0, detail: `confirmed by ${by}, told to shut down`, output: '' };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const isUnclear = error instanceof PveApiError && error.code === 'KR_PVE_UNCLEAR';
    return isUnclear ? { exitCode: null, detail: why, output: '' } : notStarted(why);
  } finally {
    context.cluster.expire();
  }
}

/** Off is what two members say; one alone may only have lost touch. */
export async function observeNode(context: Context, node: string): Promise<Observation> {
  const witnesses = await membersBeside(context, node);
  const sees = witnesses.filter(({ status }) =>
    status.nodes.some((row) => nodeIdOf(row.name) === node && row.online),
  );
  if (sees.length > 0) return { postcondition: null, detail: `${sees[0]?.name} sees it online` };
  const isOff = witnesses.length >= witnessesNeeded;
  const names = witnesses.map(({ name }) => name).join(', ');
  return { postcondition: isOff ? true : null, detail: `not online for ${names || 'nobody'}` };
}

/** `wakeonlan` of a member: Proxmox takes the address from its own settings of the target. */
export const apiWaker = (context: Context): Waker => ({
  name: 'wol',
  isUnanswered: true,
  async wake({ node }, signal) {
    const { api } = context;
    const members = await membersBeside(context, node);
    const failures: string[] = [];
    for (const { url: via, name, status } of members) {
      const target = status.nodes.find((row) => nodeIdOf(row.name) === node)?.name ?? node;
      try {
        const path = `/nodes/${target}/wakeonlan`;
        const mac = await api.send({ method: 'POST', path, via, signal });
        return { packets: 1, detail: `${name} sent a magic packet to ${mac ?? target}` };
      } catch (error) {
        failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    const why = failures.join('; ') || 'no other member of the cluster answers';
    throw new WakeError(failures.length > 0 ? 'KR_WAKE_REFUSED' : 'KR_WAKE_SEND', why);
  },
});
