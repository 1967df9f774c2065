/**
 * Fail awake with processes alone: a server and nine daemons over fake Proxmox hosts, three of
 * them asleep by command. Backend and broker are killed: all must be awake after the bound, and
 * nothing else may have begun. Then the same with a power cut in the middle: every process is gone,
 * those that slept stay off when the power returns, and the others start cold without a server.
 * The fake tools alone write what began. `n` counts nights; each has both outages.
 */
import type { LoggedEffect } from '../../simulator/proxmox/cluster.ts';
import type { World } from '../../simulator/world/model.ts';
import { crash, powerOn } from '../../simulator/world/node-effects.ts';
import { isTerminal, type CommandState } from '../../broker/contract/command.ts';
import { experiment, type Figures, type Scope, upperBound } from '../support/experiment.ts';
import { type House, openHouse, untilHeard } from '../support/proxmox-house.ts';
import { until } from '../support/servers.ts';
import { type Stack, startStack } from '../support/stack.ts';

const cluster = 'pve-1';
const sleepers = ['n7', 'n8', 'n9'];
/** Ten minutes without a server are ten seconds here. */
const timeScale = 60;
const wakeAfterMs = 600_000 / timeScale;

type Site = { stack: Stack; house: House; say: Scope['say'] };
type Command = { id: string; state: CommandState; stateReason?: string | null };
type Outage = { asleep: number; wokenAfterMs: number; wakes: number; others: string[] };

const isOn = ({ nodes }: World, node: string): boolean =>
  nodes.get(`${cluster}/${node}`)?.power === 'on';

const daemonOf = ({ house }: Site, node: string) => house.daemons.get(`${cluster}/${node}`);

/** The public API, as a person who asks again while it is refused. */
async function order({ stack, say }: Site, kind: string, node: string): Promise<void> {
  let refused = '';
  const tried = async (): Promise<boolean> => {
    const wish = { cluster, kind, node, args: {} };
    const { status, body } = await stack.api.post<Command>('commands', wish);
    if (status !== 202) {
      refused = JSON.stringify(body);
      return false;
    }
    let last = body;
    await until(async () => isTerminal((last = await stack.api.get(`commands/${body.id}`)).state), {
      withinMs: 120_000,
      what: `the end of ${kind} of ${node}`,
    });
    refused = `${last.state}: ${last.stateReason ?? ''}`;
    return last.state === 'SUCCEEDED';
  };
  await until(tried, {
    withinMs: 240_000,
    what: `${kind} of ${node}, refused by ${refused}`,
  }).catch((error: unknown) => {
    throw new Error(`${(error as Error).message}: ${refused}`, { cause: error });
  });
  say(`${kind} ${node}`);
}

/** Every daemon hears of all the others once they all have said who they are. */
async function meet(site: Site): Promise<void> {
  const { house, stack } = site;
  for (const daemon of house.daemons.values()) {
    await daemon.stop();
    daemon.start();
  }
  await untilHeard(house, (method, path) => stack.api.send(method, path));
}

async function sleep(site: Site): Promise<void> {
  for (const node of sleepers) await order(site, 'node.shutdown', node);
  await until(() => sleepers.every((node) => daemonOf(site, node)?.isRunning() === false), {
    withinMs: 30_000,
    what: 'the daemons of those asleep to be gone',
  });
}

/** Every machine loses its power, and each daemon with it; the sleepers stay off after it. */
async function cutPower({ house }: Site): Promise<void> {
  house.live.change((world) => {
    for (const node of world.nodes.values()) crash(world, node);
  });
  await until(() => [...house.daemons.values()].every((daemon) => !daemon.isRunning()), {
    withinMs: 30_000,
    what: 'every daemon to be gone',
  });
  house.live.change((world) => {
    for (const node of world.nodes.values()) {
      if (!sleepers.includes(node.spec.node)) powerOn(world, node, 'node.boot', null);
    }
  });
}

const isWake = ({ kind, id }: LoggedEffect): boolean =>
  kind === 'wakeonlan' && sleepers.includes(id ?? '');

async function outage(site: Site, hasPowerCut: boolean): Promise<Outage> {
  const { stack, house, say } = site;
  const { world } = house.live;
  await sleep(site);
  const asleep = sleepers.filter((node) => !isOn(world, node)).length;
  const from = house.effects().length;
  await stack.kill9();
  const startMs = performance.now();
  if (hasPowerCut) await cutPower(site);
  await until(() => [...world.nodes.values()].every(({ power }) => power === 'on'), {
    withinMs: 180_000,
    what: 'every node to be awake without a server',
  });
  const wokenAfterMs = Math.round(performance.now() - startMs);
  const after = house.effects().slice(from);
  const others = after.filter((effect) => !isWake(effect)).map(({ kind, id }) => `${kind} ${id}`);
  say(`${hasPowerCut ? 'power cut' : 'outage'}: all awake after ${wokenAfterMs} ms`);
  await stack.start();
  await untilHeard(house, (method, path) => stack.api.send(method, path));
  return { asleep, wokenAfterMs, wakes: after.filter(isWake).length, others };
}

function complaints({ asleep, wokenAfterMs, wakes, others }: Outage, what: string): string[] {
  return [
    ...(asleep === sleepers.length ? [] : [`${what}: ${asleep} nodes slept`]),
    ...(wakes >= sleepers.length ? [] : [`${what}: ${wakes} wakes`]),
    ...(wokenAfterMs >= wakeAfterMs ? [] : [`${what}: woken early, after ${wokenAfterMs} ms`]),
    ...others.map((effect) => `${what}: ${effect} without a server`),
  ];
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const stack = await startStack({ KR_LOG_LEVEL: 'warn' }, { hasFixedPorts: true });
  const house = await openHouse({ nodesPerCluster: 9, guestsPerNode: 0, timeScale, seed });
  const site: Site = { stack, house, say };
  const outages: { what: string; outage: Outage }[] = [];
  try {
    await house.startDaemons({
      mqttUrl: stack.runtime().mqttUrl,
      post: async (path, body) => stack.api.post(path, body),
    });
    await stack.api.send('PATCH', `/api/v1/clusters/${cluster}`, { body: { timeScale } });
    await untilHeard(house, (method, path) => stack.api.send(method, path));
    for (let night = 1; night <= n; night += 1) {
      for (const what of ['outage', 'power cut']) {
        await meet(site);
        outages.push({ what, outage: await outage(site, what === 'power cut') });
      }
    }
    const of = (kind: string) =>
      outages.flatMap(({ what, outage: { wokenAfterMs } }) => (what === kind ? wokenAfterMs : []));
    return {
      nights: n,
      daemonProcesses: house.daemons.size,
      asleepEach: sleepers.length,
      wakeAfterMs,
      outageAwakeAfterMs: of('outage'),
      powerCutAwakeAfterMs: of('power cut'),
      wakes: outages.reduce((sum, { outage: { wakes } }) => sum + wakes, 0),
      otherEffects: outages.reduce((sum, { outage: { others } }) => sum + others.length, 0),
      upperBound: upperBound(outages.length),
      violations: outages.flatMap(({ what, outage: one }) => complaints(one, what)),
    };
  } finally {
    await house.close();
    await stack.remove();
  }
}

export const failAwake = experiment(import.meta, { name: 'fail awake', short: 1, long: 10, run });
