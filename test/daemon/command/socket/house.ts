/**
 * An executor behind a real unix socket, between honest twins: a world that writes down each
 * effect, a server that signs. `crash` ends the executor's side as a killed process would, and
 * `start` opens the same disk again.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Claim, GrantContent, Offer } from '../../../../broker/contract/command.ts';
import { uuidv7 } from '../../../../broker/contract/ids.ts';
import type { Clock } from '../../../../broker/contract/ports.ts';
import type { FromExecutor } from '../../../../daemon/command/executor-port.ts';
import { createExecutor } from '../../../../daemon/command/executor.ts';
import { LocalPolicy } from '../../../../daemon/command/local-policy.ts';
import {
  type ClientOptions,
  connectExecutor,
  type RemoteExecutor,
} from '../../../../daemon/command/socket/client.ts';
import { serveExecutor } from '../../../../daemon/command/socket/server.ts';
import { openTrust } from '../../../../daemon/command/socket/trust.ts';
import type { Hypervisor } from '../../../../daemon/hypervisor/port.ts';
import { createRemoteWakers } from '../../../../daemon/waker/remote.ts';
import { seededRandom } from '../../../support/clock.ts';
import { memoryLog } from '../../../support/log.ts';
import { cluster, createSigner, createWorld, node, offerOf, type World } from '../rig.ts';
import { tornDisk } from '../torn-files.ts';

export const realClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => Math.floor(performance.now()),
  after(delayMs, run) {
    const timer = setTimeout(() => void run(), delayMs);
    return () => clearTimeout(timer);
  },
};

const random = seededRandom(7);
export const newId = (): string => uuidv7(Date.now(), random.bytes(16));

const driverOf = (world: World): Hypervisor => ({
  nodes: () => [node],
  describe: async () => world.description,
  sample: () => world.sample(),
  async perform(work, context) {
    world.effects.push(work.commandId);
    return world.perform(work, context);
  },
  observe: (work) => world.observe(work),
  close: async () => undefined,
});

export type Agent = RemoteExecutor & { said: FromExecutor[] };

export async function createHouse() {
  const folder = await mkdtemp(join(tmpdir(), 'kr-socket-'));
  const path = join(folder, 'run', 'executor.sock');
  const disk = tornDisk();
  const world = createWorld();
  const signer = createSigner();
  const log = memoryLog();
  const agents: Agent[] = [];
  let end: (() => Promise<void>) | null = null;

  const house = {
    folder,
    path,
    disk,
    world,
    signer,
    log,
    async start() {
      const trust = await openTrust({ file: join(folder, 'server-keys.json'), cluster }, log);
      const hypervisor = driverOf(world);
      const scripts = { run: () => Promise.reject(new Error('no script here')) };
      const wakers = createRemoteWakers({}, scripts, (name, request) => server.wake(name, request));
      const executor = createExecutor({
        cluster,
        files: disk.files(),
        hypervisor,
        wakers,
        serverKeys: () => trust.keys(),
        readPolicy: async () => ({ ok: true, policy: LocalPolicy.parse({}) }),
        isHeld: async () => false,
        observeOnly: false,
        clock: realClock,
        random,
        newId,
        log,
      });
      await executor.introduce(node);
      const parts = { path, executor, hypervisor, trust, clock: realClock, log };
      const server = await serveExecutor(parts);
      end = async () => {
        await server.close();
        await executor.close();
      };
    },
    async stop() {
      await end?.();
      end = null;
    },
    async agent(more: Partial<ClientOptions> = {}): Promise<Agent> {
      const remote = await connectExecutor({
        path,
        run: newId(),
        cluster,
        serverKeys: [signer.key],
        wakers: [],
        clock: realClock,
        log,
        signal: AbortSignal.timeout(20_000),
        ...more,
      });
      const said: FromExecutor[] = [];
      remote.executor.onOutgoing((message) => void said.push(message));
      remote.executor.connected(node, true);
      const agent = { ...remote, said };
      agents.push(agent);
      return agent;
    },
    offer: offerOf(newId),
    grantOf: (offer: Offer, { nonce }: Pick<Claim, 'nonce'>): GrantContent => {
      const { ttlMs: _ttlMs, ...same } = offer;
      const rest = { simulated: false, timeoutMs: 60_000, timeScale: 1, policyHash: null };
      return { v: 1, type: 'grant', cluster, node, ...same, nonce, ...rest };
    },
    async remove() {
      for (const agent of agents) agent.close();
      await house.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return house;
}
export type House = Awaited<ReturnType<typeof createHouse>>;
