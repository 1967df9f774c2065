/**
 * R8: the server with its broker is killed and started again `n` times under a fleet of real MQTT
 * clients with a credential each. Measured from the moment its door is open: everyone connected,
 * and everyone's telemetry part of the picture again. Nothing that a daemon still held is lost.
 */
import {
  experiment,
  type Figures,
  pauseMs,
  type Scope,
  spread,
  upperBound,
} from '../support/experiment.ts';
import { descriptorsOf, startFleet } from '../support/fleet.ts';
import { until } from '../support/servers.ts';

const backSecondsMax = 30;
/** Fewer may be run on a machine that is busy with other things, and say nothing about time. */
const judgedRestartsMin = 20;

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const nodes = Math.min(2_048, Math.max(64, n * 103));
  const fleet = await startFleet({ seed, nodes, guests: 4, intervalSeconds: 5, minutes: 600 });
  const violations: string[] = [];
  const connectedMs: number[] = [];
  const awakeMs: number[] = [];
  const descriptors: number[] = [];
  try {
    const clients = () => fleet.figure('kr_broker', { figure: 'clients' }).catch(() => 0);
    for (let turn = 1; turn <= n; turn += 1) {
      await fleet.stack.kill9();
      await pauseMs(1_000);
      await fleet.stack.start();
      const startMs = performance.now();
      await until(async () => (await clients()) >= nodes, {
        withinMs: 180_000,
        what: `${nodes} clients after restart ${turn}`,
      });
      connectedMs.push(Math.round(performance.now() - startMs));
      await fleet.allAwake(180_000);
      awakeMs.push(Math.round(performance.now() - startMs));
      descriptors.push(descriptorsOf(fleet.stack.run().pid));
      say(`restart ${turn}: connected ${connectedMs.at(-1)} ms, awake ${awakeMs.at(-1)} ms`);
    }
    const isWhole = async () => {
      const { missing } = await fleet.stack.api.get<{ missing: number }>(
        'telemetry/missing?sinceMs=0',
      );
      return missing === 0;
    };
    await until(isWhole, { withinMs: 180_000, what: 'a store without holes' }).catch(() =>
      violations.push('samples that daemons sent are missing in the store'),
    );
    const slow = connectedMs.filter((ms) => ms > backSecondsMax * 1_000).length;
    if (n >= judgedRestartsMin && slow > 0)
      violations.push(`${slow} of ${n} restarts took over ${backSecondsMax} s`);
    return {
      restarts: n,
      nodes,
      connectedMs: spread(connectedMs),
      awakeMs: spread(awakeMs),
      descriptors: { first: descriptors[0], last: descriptors.at(-1) },
      upperBound: upperBound(n),
      violations,
    };
  } finally {
    await fleet.remove();
  }
}

export const r08 = experiment(import.meta, { name: 'R8', short: 2, long: 20, run });
