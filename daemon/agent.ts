/**
 * The agent as a process of its own: unprivileged, the only part with a network. It owns the
 * connection, telemetry and outbox, relays commands it cannot judge to the executor, and sends the
 * wakes that the executor orders. It must never start a program, and it decides nothing.
 */
import { networkInterfaces } from 'node:os';
import { openDaemonClient } from '../broker/client.ts';
import { type ClientOptions, connectExecutor } from './command/socket/client.ts';
import { SandboxError } from './command/sandbox.ts';
import type { DaemonConfig } from './config.ts';
import type { Hypervisor } from './hypervisor/port.ts';
import { within } from './link/agent.ts';
import { ownHouse, withOwnWords } from './link/own-words.ts';
import { type Link, startLink } from './link/connection.ts';
import { createReach } from './link/reach.ts';
import { credentialOf, diskOf, marksOf, settingsOf, stopMaxMs } from './link/setup.ts';
import type { DaemonDeps, RunningDaemon } from './main.ts';
import { filesBelow } from './sample/files.ts';
import { createSampler, type Sampler } from './sample/sampler.ts';
import { createWakers } from './waker/order.ts';
import { networkWays } from './waker/remote.ts';

export type AgentConfig = DaemonConfig & { executorSocket: string };

const reopenAgainMs = 5_000;

/** The executor sees no addresses, so the agent adds them to what it describes. */
const withLinks = (remote: Hypervisor, sampler: Sampler): Hypervisor => ({
  ...remote,
  async describe(node) {
    const description = await remote.describe(node);
    const links = description.facts.links;
    const own = new Map((await sampler.links())?.map((link) => [link.name, link]));
    const known = links?.map((link) => {
      const { address = link.address, broadcast = link.broadcast } = own.get(link.name) ?? {};
      return { ...link, address, broadcast };
    });
    return { ...description, facts: { ...description.facts, links: known ?? links } };
  },
});

function wakersOf(config: AgentConfig, deps: DaemonDeps, sampler: Sampler) {
  const { clock, random, newId, log, openClient = openDaemonClient } = deps;
  const scripts = {
    run: async () => {
      const wayOut = "programs are the executor's";
      throw new SandboxError('KR_TOOL_DENIED', 'the agent starts no program', { wayOut });
    },
  };
  const links = () => sampler.links();
  const own = { clock, random, newId, log, openClient, links, scripts };
  return createWakers(networkWays(config.wakers ?? {}), own);
}

/**
 * Resolves when the executor is there and sampling has begun; the network may still be away.
 * @throws CredentialError when it may not speak for this node and no token helps.
 */
export async function startAgent(config: AgentConfig, deps: DaemonDeps): Promise<RunningDaemon> {
  const { clock, random, newId, log, usage, openClient = openDaemonClient } = deps;
  const sampler = createSampler({ clock, addresses: networkInterfaces });
  const credential = await credentialOf(config, deps, sampler);
  const options: ClientOptions = {
    path: config.executorSocket,
    run: newId(),
    cluster: credential.cluster,
    serverKeys: credential.serverKeys,
    wakers: wakersOf(config, deps, sampler),
    clock,
    log,
    signal: deps.signal ?? new AbortController().signal,
  };
  const remote = await connectExecutor(options);
  const hypervisor = withOwnWords(withLinks(remote.hypervisor, sampler), {
    wakers: config.wakers ?? {},
    house: ownHouse(config.mqttUrl, clock),
  });
  const open = async (): Promise<Link> => {
    const disk = await diskOf(config, deps);
    return startLink(settingsOf(config, deps, credential), {
      clock,
      random,
      newId,
      log,
      hypervisor,
      executor: remote.executor,
      openClient,
      ...(disk && { disk }),
      marks: marksOf(config),
      reach: createReach({ links: () => sampler.links(), files: filesBelow('/'), clock }),
      ...(usage && { usage }),
    });
  };
  let link = await open();
  let turn: Promise<void> = Promise.resolve();
  let isStopped = false;
  async function reopen(): Promise<void> {
    if (isStopped) return;
    log.info({}, 'the executor was started anew: a new session begins');
    await link.stop();
    link = await open();
  }
  const renew = (): void => {
    turn = turn.then(reopen).catch((error: unknown) => {
      log.error({ err: error }, 'the session could not begin again; it is tried once more');
      clock.after(reopenAgainMs, renew);
    });
  };
  remote.onReborn(renew);
  async function stop(): Promise<void> {
    isStopped = true;
    try {
      await turn;
      await link.stop();
    } catch (error) {
      log.error({ err: error }, 'the agent did not stop cleanly');
    }
    remote.close();
  }
  return {
    isConnected: () => link.isConnected(),
    counters: () => link.counters(),
    setPace: (intervalMs) => link.setPace(intervalMs),
    stop: () => within(clock, stopMaxMs, stop()),
  };
}
