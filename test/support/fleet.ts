/**
 * The product under the telemetry of a whole fleet: `kernreaktor start` and real daemons of the
 * simulator, each in a process of its own, for runs that look at endurance and not at commands.
 * What is asked of it is asked through `/metrics`, as an administrator would.
 */
import { readdirSync } from 'node:fs';
import { until } from './servers.ts';
import { type Settings, simulate, type Simulation, type Stack, startStack } from './stack.ts';

export type FleetOptions = {
  seed: number;
  nodes: number;
  guests: number;
  intervalSeconds: number;
  /** How long the daemons live; they may be ended before. */
  minutes: number;
  settings?: Settings;
};

export type RunningFleet = {
  stack: Stack;
  simulation: Simulation;
  /** The sum of every line of a metric that has all these labels. */
  figure(name: string, labels?: Record<string, string>): Promise<number>;
  allAwake(withinMs?: number): Promise<void>;
  remove(): Promise<void>;
};

function sumOf(text: string, name: string, labels: Record<string, string>): number {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => wanted.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

/** Open file descriptors of a process. */
export const descriptorsOf = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

export async function startFleet(options: FleetOptions): Promise<RunningFleet> {
  const { seed, nodes, guests, intervalSeconds, minutes } = options;
  const settings = {
    KR_LOG_LEVEL: 'warn',
    KR_SAMPLE_INTERVAL_MS: String(intervalSeconds * 1_000),
    ...options.settings,
  };
  const stack = await startStack(settings, { hasFixedPorts: true });
  const fleet =
    `--nodes ${nodes} --nodes-per-cluster 16 --guests ${guests} --interval ${intervalSeconds} ` +
    `--minutes ${minutes} --seed ${seed}`;
  const simulation = simulate(stack, fleet.split(' '));
  const running: RunningFleet = {
    stack,
    simulation,
    async figure(name, labels = {}) {
      const { body } = await stack.api.send<string>('GET', '/metrics');
      return sumOf(body, name, labels);
    },
    allAwake: (withinMs = 300_000) =>
      until(
        async () => {
          if (simulation.run.isOver()) throw new Error(simulation.run.stderr().slice(-2_000));
          // While the server restarts, nobody answers.
          const awake = running.figure('kr_nodes', { state: 'awake' }).catch(() => 0);
          return (await awake) >= nodes;
        },
        { withinMs, what: `${nodes} nodes awake` },
      ),
    async remove() {
      simulation.run.signal('SIGKILL');
      await simulation.run.exited;
      await stack.remove();
    },
  };
  try {
    await running.allAwake();
  } catch (error) {
    await running.remove();
    throw error;
  }
  return running;
}
