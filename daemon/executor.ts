/**
 * The executor as a process of its own: root, without a network, with the driver, the journal and
 * the last word. It samples, too: guests, votes and energy counters stand in files that only root
 * may read, and the tools that list the rest need its rights. It goes on with what had started
 * before anyone connects, and it must never open anything but the unix socket.
 */
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Clock, Log, NewId, Random } from '../broker/contract/ports.ts';
import { createExecutor } from './command/executor.ts';
import { nodeFiles } from './command/files.ts';
import { type ExecutorServer, serveExecutor } from './command/socket/server.ts';
import { openTrust } from './command/socket/trust.ts';
import { missingForUnits } from './command/transient-unit.ts';
import type { ExecutorConfig } from './config.ts';
import { driverOf, ownWords, scriptsOf } from './drivers.ts';
import type { Hypervisor } from './hypervisor/port.ts';
import type { Addresses } from './sample/links.ts';
import { createSampler } from './sample/sampler.ts';
import { createRemoteWakers } from './waker/remote.ts';
import { WakeError } from './waker/port.ts';

export type ExecutorProcessDeps = {
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
  version: string;
  /** Instead of the driver that the configuration names. */
  hypervisor?: Hypervisor;
};

export type RunningExecutor = { stop(): Promise<void> };

/** The kernel lists addresses by a netlink socket, which this process may not open. */
function addressesIfAllowed(): Addresses {
  try {
    return networkInterfaces();
  } catch {
    return {};
  }
}

/** Resolves when agents are let in. */
export async function startExecutor(
  config: ExecutorConfig,
  deps: ExecutorProcessDeps,
): Promise<RunningExecutor> {
  const { clock, random, newId, log } = deps;
  const { cluster, dataDir, executorSocket: path } = config;
  const sampler = createSampler({ clock, addresses: addressesIfAllowed });
  for (const missing of missingForUnits()) log.warn({ missing }, 'tools run without a unit');
  const hypervisor = deps.hypervisor ?? (await driverOf(config, deps, sampler));
  const trust = await openTrust({ file: join(dataDir, 'server-keys.json'), cluster }, log);
  let server: ExecutorServer | null = null;
  const wakers = createRemoteWakers(config.wakers ?? {}, scriptsOf(config), (name, request) => {
    if (server) return server.wake(name, request);
    throw new WakeError('KR_WAKE_SEND', 'the agent is not here: start it');
  });
  const executor = createExecutor({
    cluster,
    files: nodeFiles(join(dataDir, 'journal')),
    serverKeys: () => trust.keys(),
    ...ownWords(config),
    watchesHold: true,
    observeOnly: false,
    hypervisor,
    wakers,
    clock,
    random,
    newId,
    log,
  });
  for (const node of hypervisor.nodes()) await executor.introduce(node);
  const running = await serveExecutor({ path, executor, hypervisor, trust, clock, log });
  server = running;
  log.info({ path }, 'the executor listens');
  return {
    async stop() {
      await running.close();
      await executor.close();
      await hypervisor.close();
    },
  };
}
