/** Hosts and guests of a trace in the words of the wire, as a daemon on them would report. */
import { NodeFacts } from '../../broker/contract/facts.ts';
import { guestMetrics, nodeMetrics } from '../../broker/contract/metrics.ts';
import type { GuestSample, GuestValues, NodeValues } from '../../broker/contract/telemetry.ts';
import type { NodeRecord } from '../../backend/state/fleet.ts';
import type { HostModel } from './specs.ts';

export type Seen = { sample: number; atMs: number; names: readonly string[] };

const silent = (metrics: readonly { name: string }[]): Record<string, null> =>
  Object.fromEntries(metrics.map(({ name }) => [name, null]));

const nodeSilence = silent(nodeMetrics) as NodeValues;
const guestSilence = silent(guestMetrics) as GuestValues;

/** Values of a node that said nothing. */
export const silentValues = (): NodeValues => ({ ...nodeSilence });

/** What lasts of a host: its size, speed against `reference`, and watts. */
export function nodeAt(model: HostModel, reference: HostModel): Partial<NodeRecord> {
  const memory = Number.MAX_SAFE_INTEGER;
  return {
    intervalMs: 300_000,
    facts: NodeFacts.parse({
      cpuCount: model.cores,
      memoryBytes: memory,
      singleThreadFactor: model.coreMips / reference.coreMips,
      wattsIdle: model.watts[0],
      wattsLoaded: model.watts.at(-1),
    }),
    values: {
      ...nodeSilence,
      cpuCount: model.cores,
      memoryTotalBytes: memory,
      memoryUsedBytes: 0,
    },
  };
}

export const guestAt = (
  id: string,
  load: { cpuRatio: number; memoryBytes: number; memoryUsedBytes: number },
): GuestSample => ({
  ...guestSilence,
  id,
  name: id,
  kind: 'vm',
  state: 'running',
  tags: [],
  lock: null,
  haState: null,
  cpuRatio: load.cpuRatio,
  cpuCount: 1,
  memoryUsedBytes: load.memoryUsedBytes,
  memoryTotalBytes: load.memoryBytes,
});
