/**
 * R11: a bad network at the level of MQTT packets between every daemon and the broker: 30 % of
 * PUBLISH and PUBACK lost, 50 % twice, half of them late and out of order, some by up to 90 s,
 * connections torn in the middle of a packet. Then the faults end and everything is judged.
 */
import {
  chance,
  experiment,
  type Figures,
  pauseMs,
  type Scope,
  upperBound,
} from '../support/experiment.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { startLoaded } from '../support/loaded.ts';
import { until } from '../support/servers.ts';

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const draw = chance(seed);
  let proxy: FaultProxy | undefined;
  const loaded = await startLoaded({
    seed,
    load: { clients: 12, pauseBetweenMs: 150, countMax: n },
    simulateMqttUrl: async (stack) => {
      proxy = await startFaultProxy(Number(new URL(stack.runtime().mqttUrl).port));
      return `mqtt://127.0.0.1:${proxy.port}`;
    },
  });
  try {
    const longDelayMs = n < 200 ? 5_000 : 90_000;
    const rates = { lossRatio: 0.3, duplicateRatio: 0.5, delayMs: 600, tearRatio: 0.002 };
    proxy?.setFaults({ draw, longDelayMs, ...rates });
    const { load } = loaded;
    let saidAt = 0;
    await until(
      () => {
        if (load.counts.accepted >= saidAt + 500) say(`${(saidAt += 500)} commands`);
        return load.counts.accepted >= n;
      },
      { withinMs: 3_600_000, what: `${n} commands` },
    );
    await pauseMs(3_000);
    const faults = { ...proxy?.counts };
    // Faults end: a new connection is a clean one.
    proxy?.setFaults(null);
    proxy?.cut();
    const { violations, figures, settledMs } = await loaded.conclude({ withinMs: 600_000 });
    return {
      ...figures,
      faults,
      settledMs,
      refusals: Object.fromEntries(load.refusals),
      upperBound: upperBound(figures.commands),
      violations,
    };
  } finally {
    await loaded.remove();
    await proxy?.close();
  }
}

export const r11 = experiment(import.meta, { name: 'R11', short: 60, long: 3_000, run });
