/**
 * `npm run demo`: the homelab on a running server, day and night at 60x, until it is stopped. Its
 * clusters let the engine migrate guests by itself; everything else it may only recommend.
 */
import { join } from 'node:path';
import { openDaemonClient } from '../broker/client.ts';
import type { Clock, Log, NewId, Random } from '../broker/contract/ports.ts';
import { nodeFiles } from '../daemon/command/files.ts';
import { createApi } from './api.ts';
import { localServer } from './config.ts';
import { createFleet } from './fleet.ts';
import { liveWorld } from './live-world.ts';
import { executorMaker } from './parts.ts';
import { openDemoRack } from './proxmox/demo.ts';
import { enrolAll } from './target.ts';
import { buildHomelab } from './world/homelab.ts';

export type DemoOptions = {
  /** Of the server, which runs already; the demo's journals go to `<dataDir>/demo`. */
  dataDir: string;
  intervalMs: number;
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
  version: string;
};

const demoTimeScale = 60;
/** Shortly before the first machine gets hot, so that nobody waits for half a day to see why. */
const demoStartHour = 12;
const demoSeed = 7;
const connectMaxMs = 10_000;

/** Resolves when the homelab is connected. */
export async function startDemo(options: DemoOptions): Promise<{ stop(): Promise<void> }> {
  const { dataDir, clock, newId, log, version, intervalMs } = options;
  const server = localServer(dataDir);
  const world = buildHomelab({
    seed: demoSeed,
    startMs: clock.wallMs(),
    timeScale: demoTimeScale,
    startHour: demoStartHour,
  });
  const live = liveWorld(world, clock);
  const rack = await openDemoRack({ ...options, live, cluster: 'rack', apiNode: 'pve3' });
  const api = createApi(server);
  try {
    const credentials = await enrolAll(api, world);
    const autonomy = { default: 'recommend', 'guest.migrate': 'auto' };
    for (const cluster of world.clusters.keys()) {
      await api.changeCluster(cluster, { autonomy, timeScale: demoTimeScale });
    }
    const fleet = createFleet({
      live,
      mqttUrl: server.mqttUrl,
      intervalMs,
      credentials,
      diskOf: ({ cluster, node }) => nodeFiles(join(dataDir, 'demo', cluster, node)),
      makeExecutor: executorMaker(options),
      openClient: openDaemonClient,
      hypervisorOf: (place) => rack.hypervisorOf(place),
      version,
      clock,
      newId,
      log,
    });
    await fleet.start(connectMaxMs);
    return {
      async stop() {
        live.stop();
        await fleet.stop();
        await rack.stop();
      },
    };
  } finally {
    await api.close();
  }
}
