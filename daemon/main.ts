/**
 * Puts a daemon together: sampler, driver, wakers, executor and link, in the order in which each
 * needs the other. The same function runs on a host, inside `npm start` and 2048 times inside the
 * simulator, which brings its own hypervisor and credential. It must never act by itself.
 */
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { openDaemonClient } from '../broker/client.ts';
import type { Clock, Log, NewId, Random } from '../broker/contract/ports.ts';
import { createExecutor } from './command/executor.ts';
import type { ExecutorPort } from './command/executor-port.ts';
import { nodeFiles } from './command/files.ts';
import type { DaemonConfig } from './config.ts';
import { driverOf, ownWords, scriptsOf } from './drivers.ts';
import type { Hypervisor } from './hypervisor/port.ts';
import { type LinkCounters, type LinkDeps, type LinkSettings, within } from './link/agent.ts';
import { startLink } from './link/connection.ts';
import { createReach } from './link/reach.ts';
import type { Credential } from './link/credential.ts';
import { ownHouse, withOwnWords } from './link/own-words.ts';
import { credentialOf, diskOf, marksOf, settingsOf, stopMaxMs } from './link/setup.ts';
import { filesBelow } from './sample/files.ts';
import { createSampler, type Sampler } from './sample/sampler.ts';
import { createWakers } from './waker/order.ts';
import type { Waker } from './waker/port.ts';

export type ExecutorParts = { credential: Credential; hypervisor: Hypervisor; wakers: Waker[] };

export type DaemonDeps = {
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
  /** Of this software. */
  version: string;
  /** Refuses every command; for a host that is only to be watched. */
  observeOnly?: boolean;
  /** Instead of the executor with its journal in the data folder. */
  createExecutor?: (parts: ExecutorParts) => Promise<ExecutorPort>;
  /** Instead of the driver that the configuration names. */
  hypervisor?: Hypervisor;
  wakers?: Waker[];
  /** Instead of the one in the data folder. */
  credential?: Credential;
  /** null: what outgrows the ring is dropped, nothing is written to disk. */
  outboxBytesMax?: number | null;
  link?: Partial<Pick<LinkSettings, 'ring' | 'replayEveryMs' | 'phaseMs'>>;
  openClient?: LinkDeps['openClient'];
  usage?: LinkDeps['usage'];
  /** Ends a start that still waits for its enrolment. */
  signal?: AbortSignal;
};

export type RunningDaemon = {
  isConnected(): boolean;
  counters(): Readonly<LinkCounters>;
  /** Samples at this interval until the server asks for another. */
  setPace(intervalMs: number): void;
  /** Ends within 2 s; what the server has not confirmed is kept on disk. */
  stop(): Promise<void>;
};

function wakersOf(config: DaemonConfig, deps: DaemonDeps, sampler: Sampler): Waker[] {
  const { clock, random, newId, log, openClient = openDaemonClient } = deps;
  const links = () => sampler.links();
  const scripts = scriptsOf(config);
  const own = { clock, random, newId, log, openClient, links, scripts };
  return createWakers(config.wakers ?? {}, own);
}

function executorOf(config: DaemonConfig, deps: DaemonDeps, parts: ExecutorParts) {
  if (deps.createExecutor) return deps.createExecutor(parts);
  const { clock, random, newId, log, observeOnly = false } = deps;
  const { credential, hypervisor, wakers } = parts;
  return createExecutor({
    cluster: credential.cluster,
    files: nodeFiles(join(config.dataDir, 'journal')),
    serverKeys: () => credential.serverKeys,
    ...ownWords(config),
    watchesHold: true,
    observeOnly,
    hypervisor,
    wakers,
    clock,
    random,
    newId,
    log,
  });
}

async function ownDriver(
  config: DaemonConfig,
  deps: DaemonDeps,
  { nodes, sampler }: { nodes: readonly string[]; sampler: Sampler },
): Promise<Hypervisor> {
  const driver = await driverOf({ ...config, nodes }, deps, sampler);
  const { wakers = {}, mqttUrl } = config;
  // One that speaks for a cluster by its API sits on none of its nodes, and wakes by its members.
  if (config.pveApi) return driver;
  return withOwnWords(driver, { wakers, house: ownHouse(mqttUrl, deps.clock) });
}

/**
 * Resolves when the daemon samples and connects; the network may still be away.
 * @throws CredentialError when it may not speak for this node and no token helps.
 */
export async function startDaemon(config: DaemonConfig, deps: DaemonDeps): Promise<RunningDaemon> {
  const { clock, random, newId, log, usage, openClient = openDaemonClient } = deps;
  const sampler = createSampler({ clock, addresses: networkInterfaces });
  const credential = await credentialOf(config, deps, sampler);
  const { nodes } = credential;
  const hypervisor = deps.hypervisor ?? (await ownDriver(config, deps, { nodes, sampler }));
  const wakers = deps.wakers ?? [
    ...(hypervisor.waker ? [hypervisor.waker] : []),
    ...wakersOf(config, deps, sampler),
  ];
  const executor = await executorOf(config, deps, { credential, hypervisor, wakers });
  const disk = await diskOf(config, deps);
  // Who keeps no samples on disk has no folder for what was taken from the hypervisor either.
  const marks = disk && hypervisor.history ? marksOf(config) : null;
  const link = await startLink(settingsOf(config, deps, credential), {
    clock,
    random,
    newId,
    log,
    hypervisor,
    executor,
    openClient,
    ...(disk && { disk }),
    ...(marks && { marks }),
    ...(usage && { usage }),
    // A host of a simulated world stands in no network.
    ...(!deps.hypervisor && {
      reach: createReach({ links: () => sampler.links(), files: filesBelow('/'), clock }),
    }),
  });
  async function stop(): Promise<void> {
    try {
      await link.stop();
      await executor.close();
      await hypervisor.close();
    } catch (error) {
      log.error({ err: error }, 'the daemon did not stop cleanly');
    }
  }
  return {
    isConnected: () => link.isConnected(),
    counters: () => link.counters(),
    setPace: (intervalMs) => link.setPace(intervalMs),
    stop: () => within(clock, stopMaxMs, stop()),
  };
}
