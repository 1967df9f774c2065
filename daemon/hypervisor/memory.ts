/**
 * The twin: a driver whose host is a simulated world behind the `World` port. It only relays and
 * waits; what happens, how long it takes and whether it works is the world's business alone. It
 * never serves a real host: its driver says `simulated`, and such a daemon may only join a
 * simulated cluster.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import type { Driver } from '../../broker/contract/facts.ts';
import type { Clock } from '../../broker/contract/ports.ts';
import type { WakeRequest, WakeSent } from '../waker/port.ts';
import type {
  Description,
  HostSample,
  Hypervisor,
  Observation,
  Performed,
  Work,
  WorkContext,
} from './port.ts';
import { pause } from './runs.ts';

export type Progress =
  /** The effect needs this much longer, by the clock the driver waits on. */
  | { state: 'running'; remainingMs: number }
  | { state: 'ended'; exitCode: number; detail: string }
  /** No such task: never begun in this world. */
  | { state: 'unknown' };

/** One cluster of a simulated world, as a host of it sees it. Every answer is immediate. */
export type World = {
  nodes(): readonly string[];
  describe(node: string): Omit<Description, 'driver'>;
  /** @throws when the node has no power, since nothing can run there then. */
  sample(node: string): HostSample;
  /** Begins the effect and names its task; a refusal is a task that has ended. */
  begin(work: Work): string;
  progress(handle: string): Progress;
  cancel(handle: string): void;
  observe(work: Work): Observation;
  /** A magic packet leaves the network card of `from`. */
  wake(from: string, request: WakeRequest): WakeSent;
};

const capabilities: CommandKind[] = [
  'node.shutdown',
  'node.wake',
  'guest.start',
  'guest.stop',
  'guest.restart',
  'guest.migrate',
  'guest.scale',
];

export const memoryDriver: Driver = {
  name: 'memory',
  version: '1',
  simulated: true,
  capabilities,
};

const gaveUp: Performed = { exitCode: null, detail: 'given up before it ended', output: '' };

async function wait(
  world: World,
  clock: Clock,
  handle: string,
  signal: AbortSignal,
): Promise<Performed> {
  for (;;) {
    const progress = world.progress(handle);
    switch (progress.state) {
      case 'ended':
        return { exitCode: progress.exitCode, detail: progress.detail, output: progress.detail };
      case 'unknown':
        return { exitCode: null, detail: `no task ${handle} in this world`, output: '' };
      case 'running':
        if (signal.aborted) {
          world.cancel(handle);
          return gaveUp;
        }
        await pause(clock, Math.max(1, progress.remainingMs), signal);
    }
  }
}

export function memoryHypervisor(options: {
  world: World;
  /** The nodes this daemon speaks for. */
  nodes: readonly string[];
  clock: Clock;
}): Hypervisor {
  const { world, nodes, clock } = options;
  return {
    nodes: () => nodes,
    describe: async (node) => ({ driver: memoryDriver, ...world.describe(node) }),
    sample: async (node) => world.sample(node),
    async perform(work, context: WorkContext) {
      const handle = world.begin(work);
      await context.onHandle(handle);
      return wait(world, clock, handle, context.signal);
    },
    attach: (_work, handle, context) => wait(world, clock, handle, context.signal),
    observe: async (work) => world.observe(work),
    close: async () => {},
  };
}
