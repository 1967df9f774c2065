/**
 * What a simulation is made of besides the world: the real executor with a journal on the node's
 * own disk, no local policy and no HOLD file, since simulated machines have no administrator.
 */
import type { Clock, NewId, Random } from '../broker/contract/ports.ts';
import { createExecutor } from '../daemon/command/executor.ts';
import { LocalPolicy } from '../daemon/command/local-policy.ts';
import type { MakeExecutor } from './seat.ts';

const nothingForbidden = LocalPolicy.parse({});

export const executorMaker =
  ({ clock, random, newId }: { clock: Clock; random: Random; newId: NewId }): MakeExecutor =>
  async ({ credential, hypervisor, wakers }, { cluster, files, log }) =>
    createExecutor({
      cluster,
      files,
      hypervisor,
      wakers,
      serverKeys: () => credential.serverKeys,
      readPolicy: async () => ({ ok: true, policy: nothingForbidden }),
      isHeld: async () => false,
      observeOnly: false,
      clock,
      random,
      newId,
      log,
    });
