/**
 * One daemon of `kernreaktor upgrade`: waits until nothing runs there, has the package installed by
 * a person or the person's ssh, waits until the daemon says the new version itself, and watches it.
 * Whatever is not as before ends it here.
 */
import { z } from 'zod';
import type { Clock } from '../../broker/contract/ports.ts';
import { duration } from '../format.ts';
import { ApiRefused, type ClientApi } from './api.ts';
import { pause } from '../pause.ts';
import type { Person } from './prove-wake.ts';
import type { RunRemote } from './remote.ts';
import { askHost, hostIs, installScript, lineFor, otherwise, PackageRow } from './upgrade-lines.ts';
import { type DaemonSeen, nameOf, type NodeSeen, type Planned, worseThan } from './upgrade-plan.ts';
import { CommandRow, pageOf } from './views.ts';

export type Deps = { api: ClientApi; person: Person; clock: Clock; signal: AbortSignal };
export type StepOrder = {
  target: string;
  /** null: told to the person, line by line. */
  ssh: { destinations: ReadonlyMap<string, string>; run: RunRemote } | null;
  watchMs: number;
};

/** Ends it at this daemon. */
export class Stopped extends Error {}

/** The person went; what was begun may be gone on with. */
export class Left extends Error {}

const pollEveryMs = 2_000;
/** A package is unpacked, units restart, a first sample comes. */
const backWithinMs = 300_000;
const quietWithinMs = 900_000;

export const Offered = z.object({
  serverVersion: z.string(),
  baseUrl: z.string().nullable(),
  items: z.array(PackageRow),
});
export type Offered = z.infer<typeof Offered>;
const NodeDetail = z.object({
  id: z.string(),
  state: z.string(),
  versions: z.looseObject({ daemon: z.string() }).nullable(),
  incarnation: z.number(),
  driver: z.string().nullable(),
  simulated: z.boolean(),
  protected: z.boolean(),
  guestCount: z.number().nullable(),
  capabilities: z.array(z.string()),
});
const Hold = z.object({ all: z.boolean(), clusters: z.array(z.string()) });

export const at = (cluster: string): string => `/api/v1/clusters/${encodeURIComponent(cluster)}`;

export async function readNode({ api }: Deps, cluster: string, node: string): Promise<NodeSeen> {
  const path = `${at(cluster)}/nodes/${encodeURIComponent(node)}`;
  const { versions, ...seen } = await api.ask(NodeDetail, { method: 'GET', path });
  return { ...seen, version: versions?.daemon ?? null };
}

/** States in which something happens on a node, or may. */
const busyStates = ['GRANTED', 'RUNNING', 'VERIFYING', 'CANCELLING', 'INDETERMINATE'];

async function whatRuns({ api }: Deps, { cluster, nodes }: DaemonSeen): Promise<string | null> {
  const ids = new Set(nodes.map(({ id }) => id));
  for (const state of busyStates) {
    const asked = new URLSearchParams({ cluster, state, limit: '1000' });
    const path = `/api/v1/commands?${asked.toString()}`;
    const { items } = await api.ask(pageOf(CommandRow), { method: 'GET', path });
    const here = items.find(
      ({ node, target }) => ids.has(node) || (target.kind === 'node' && ids.has(target.id)),
    );
    if (here) return `${here.kind} ${here.target.id} is ${state.toLowerCase()} (${here.id})`;
  }
  return null;
}

async function requireNoHold({ api }: Deps, { cluster }: DaemonSeen): Promise<void> {
  const hold = await api.ask(Hold, { method: 'GET', path: '/api/v1/hold' });
  if (!hold.all && !hold.clusters.includes(cluster)) return;
  throw new Stopped('HOLD is on; look why, then: kernreaktor hold --release');
}

const goneIfAborted = ({ signal }: Deps): void => {
  if (signal.aborted) throw new Left();
};

async function untilQuiet(deps: Deps, step: Planned): Promise<void> {
  const { clock, person } = deps;
  const untilMs = clock.monotonicMs() + quietWithinMs;
  let told: string | null = null;
  for (;;) {
    await requireNoHold(deps, step);
    const busy = await whatRuns(deps, step);
    if (busy === null) return;
    if (busy !== told) person.say(`   waits: ${busy}`);
    told = busy;
    if (clock.monotonicMs() > untilMs) throw new Stopped(`${busy}; nothing was changed here`);
    await pause(deps, pollEveryMs);
    goneIfAborted(deps);
  }
}

/** A server that is asked while it is busy answers the next time. */
async function nodesNow(deps: Deps, step: Planned): Promise<NodeSeen[] | null> {
  try {
    const seen: NodeSeen[] = [];
    for (const { id } of step.nodes) seen.push(await readNode(deps, step.cluster, id));
    return seen;
  } catch (error) {
    if (error instanceof ApiRefused && error.code === 'KR_UNREACHABLE') return null;
    throw error;
  }
}

/** Those of its nodes that were there before. */
const awakeOf = ({ nodes }: Planned): NodeSeen[] =>
  nodes.filter(({ version, state }) => version !== null && state !== 'asleep');

async function untilBack(deps: Deps, step: Planned, target: string, withinMs: number | null) {
  const { clock } = deps;
  const untilMs = withinMs === null ? Infinity : clock.monotonicMs() + withinMs;
  const ids = new Set(awakeOf(step).map(({ id }) => id));
  for (;;) {
    const now = (await nodesNow(deps, step))?.filter(({ id }) => ids.has(id));
    if (now?.every(({ version, state }) => version === target && state !== 'lost')) return now;
    if (clock.monotonicMs() > untilMs) {
      const said = now?.map(
        ({ id, version, state }) => `${id} is ${state} with ${version ?? 'nothing'}`,
      );
      throw new Stopped(`it did not come back with ${target}: ${said?.join(', ') ?? 'no answer'}`);
    }
    await pause(deps, pollEveryMs);
    goneIfAborted(deps);
  }
}

async function watch(deps: Deps, step: Planned, back: NodeSeen[], forMs: number): Promise<void> {
  const { clock, person } = deps;
  person.say(`   back with ${back[0]?.version ?? ''}; watched for ${duration(forMs)}`);
  const untilMs = clock.monotonicMs() + forMs;
  const before = new Map(step.nodes.map((node) => [node.id, node]));
  do {
    await pause(deps, pollEveryMs);
    goneIfAborted(deps);
    for (const now of (await nodesNow(deps, step)) ?? []) {
      const was = before.get(now.id);
      const since = back.find(({ id }) => id === now.id);
      if (!was || !since) continue;
      const worse = worseThan(was, now);
      if (worse !== null) throw new Stopped(worse);
      if (now.incarnation !== since.incarnation) {
        throw new Stopped(`${now.id} started ${now.incarnation - since.incarnation} more times`);
      }
    }
  } while (clock.monotonicMs() < untilMs);
}

const hintWithout = (target: string): string =>
  `the server hands out no package of ${target}: npm run package:daemon -- --out ` +
  '<KR_DATA_DIR>/packages on its machine, or lay the .deb files there';

function tellLines(deps: Deps, { items, baseUrl }: Offered, target: string): void {
  const { person } = deps;
  const fitting = items.filter(({ version }) => version === target);
  if (fitting.length === 0) person.say(`   ${hintWithout(target)}`);
  else if (baseUrl === null) {
    person.say('   hosts cannot reach this server: set KR_TLS_HOST or KR_PUBLIC_URL, or use --ssh');
  } else
    person.say(
      `   where a package brought the daemon, type there:\n\n${lineFor(baseUrl, fitting)}\n`,
    );
  for (const line of otherwise) person.say(`   ${line}`);
  person.say('   waiting for it; Ctrl-C ends this, and the same command goes on later');
}

/** False where a person has to do it. */
async function installBySsh(deps: Deps, step: Planned, offered: Offered, order: StepOrder) {
  const { ssh, target } = order;
  if (ssh === null) return false;
  const { api, person } = deps;
  const named = ssh.destinations.get(step.daemon) ?? ssh.destinations.get(nameOf(step));
  const [only, ...more] = step.nodes;
  if (named === undefined && more.length > 0) {
    person.say(
      `   it speaks for several nodes: say where it runs by --host ${step.daemon}=root@...`,
    );
    return false;
  }
  const destination = named ?? `root@${only?.id ?? step.daemon}`;
  const asked = await ssh.run(destination, askHost);
  if (asked.code !== 0) {
    throw new Stopped(`ssh ${destination} ended with ${String(asked.code)}: ${asked.output}`);
  }
  const host = hostIs(asked.output);
  const fitting = offered.items.find(
    ({ version, architecture }) => version === target && architecture === host.architecture,
  );
  if (!host.isPackaged) person.say('   no package brought its daemon');
  if (!host.isPackaged) return false;
  if (!fitting) throw new Stopped(`${hintWithout(target)} (${host.architecture})`);
  const stream = await api.download(`/packages/${encodeURIComponent(fitting.name)}`);
  person.say(`   ${destination} installs ${fitting.name}`);
  const ran = await ssh.run(destination, installScript(fitting), stream);
  if (ran.code === 0) return true;
  throw new Stopped(`the installation ended with ${String(ran.code)}: ${ran.output}`);
}

/** @throws Stopped, Left */
export async function upgradeOne(
  step: Planned,
  order: StepOrder,
  offered: Offered,
  deps: Deps,
): Promise<void> {
  const { target, watchMs } = order;
  await untilQuiet(deps, step);
  const isDone = await installBySsh(deps, step, offered, order);
  if (!isDone) tellLines(deps, offered, target);
  const back = await untilBack(deps, step, target, isDone ? backWithinMs : null);
  await watch(deps, step, back, watchMs);
  deps.person.say(`   ${nameOf(step)} is well`);
}
