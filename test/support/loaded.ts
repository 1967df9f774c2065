/**
 * The product under work: `kernreaktor start` on a real MariaDB, a simulated fleet of real
 * daemons in a process of its own, and clients that send commands. A fault run disturbs one of
 * them and lets the checker judge the end.
 */
import type { Database } from '../../backend/store/sql/database.ts';
import { judge, openStore, settled, type Verdict } from './checker.ts';
import { type Load, type LoadOptions, startLoad } from './load.ts';
import { type Mariadb, startMariadb, until } from './servers.ts';
import { type Settings, simulate, type Simulation, type Stack, startStack } from './stack.ts';

export type Loaded = {
  mariadb: Mariadb;
  stack: Stack;
  simulation: Simulation;
  load: Load;
  store: Database;
  /** Ends the work, waits for the end of every command, and judges. */
  conclude(options?: { withinMs?: number }): Promise<Verdict & { settledMs: number }>;
  remove(): Promise<void>;
};

export type LoadedOptions = {
  seed: number;
  nodes?: number;
  nodesPerCluster?: number;
  guests?: number;
  timeScale?: number;
  /** Lets the engine carry out its own proposals. */
  isAutomatic?: boolean;
  load?: Partial<LoadOptions>;
  settings?: Settings;
  /** Where the backend finds the store, and the daemons the broker, when a proxy is between. */
  sqlUrl?: (mariadb: Mariadb) => Promise<string>;
  simulateMqttUrl?: (stack: Stack) => Promise<string>;
  journalDir?: string;
  /** For the environment of the simulated fleet. */
  simulateSettings?: Settings;
  mariadbParent?: string;
};

export async function startLoaded(options: LoadedOptions): Promise<Loaded> {
  const { seed, nodes = 16, nodesPerCluster = 4, guests = 6, timeScale = 60 } = options;
  const ends: (() => Promise<unknown>)[] = [];
  const remove = async (): Promise<void> => {
    for (const end of ends.splice(0).toReversed()) await end();
  };
  try {
    const mariadb = await startMariadb([], options.mariadbParent);
    ends.push(() => mariadb.stop());
    const sqlUrl = (await options.sqlUrl?.(mariadb)) ?? mariadb.url;
    const settings = { KR_SQL_URL: sqlUrl, KR_LOG_LEVEL: 'warn', ...options.settings };
    const stack = await startStack(settings, { hasFixedPorts: true });
    ends.push(async () => {
      if (stack.run().isOver()) process.stderr.write(stack.run().stderr().slice(-3_000));
      await stack.remove();
    });
    const mqttUrl = await options.simulateMqttUrl?.(stack);
    const journals = options.journalDir === undefined ? [] : ['--journal-dir', options.journalDir];
    const fleet =
      `--nodes ${nodes} --nodes-per-cluster ${nodesPerCluster} --guests ${guests} --interval 1 ` +
      `--minutes 600 --time-scale ${timeScale} --seed ${seed}${options.isAutomatic ? ' --auto' : ''}`;
    const more: Settings = {
      ...options.simulateSettings,
      ...(mqttUrl !== undefined && { KR_MQTT_URL: mqttUrl }),
    };
    const simulation = simulate(stack, [...fleet.split(' '), ...journals], more);
    ends.push(async () => {
      simulation.run.signal('SIGKILL');
      await simulation.run.exited;
    });
    await until(
      async () => {
        if (simulation.run.isOver()) throw new Error(simulation.run.stderr().slice(-2_000));
        const { items } = await stack.api.get<{ items: { state: string }[] }>('nodes?limit=5000');
        return items.filter(({ state }) => state === 'awake').length >= nodes;
      },
      { withinMs: 120_000, what: `${nodes} nodes awake` },
    );
    const load = startLoad(stack, { seed, clients: 8, pauseBetweenMs: 300, ...options.load });
    ends.push(() => load.stop());
    const store = await openStore(mariadb.url);
    ends.push(() => store.close());
    return {
      mariadb,
      stack,
      simulation,
      load,
      store,
      async conclude({ withinMs = 90_000 } = {}) {
        await load.stop();
        const { settledMs } = await settled(store, withinMs);
        const evidence = { accepted: load.accepted, effects: simulation.effects() };
        return { ...(await judge(store, evidence)), settledMs };
      },
      remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}
