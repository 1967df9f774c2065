/**
 * Gives every sample its watts, by the best source there is: what measures the whole machine from
 * the host (the administrator's program, a driver), else the plug it hangs on, else the
 * processor's own counters (RAPL, which see neither disks nor fans nor the power supply), else the
 * model of its class. `powerWatts` is only ever measured and `powerEstimatedWatts` only ever
 * estimated; a sample has one of them or neither.
 */
import type { NodeFacts } from '../../broker/contract/facts.ts';
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import type { Message } from '../../broker/contract/messages.ts';
import type { PowerSource } from '../../broker/contract/metrics.ts';
import { idleOf, loadedOf, wattsAt } from './curve.ts';
import type { Plugs } from './plugs.ts';
import type { MappedNode, PowerPlan } from './settings.ts';

export type Power = {
  /** Changes a message in place, before anything has read it. */
  enrich(message: Message): void;
};

/** What matters here of how a node describes itself. */
export type PoweredFacts = Pick<NodeFacts, 'powerSource'> | null | undefined;
type Deps = {
  plan: PowerPlan;
  plugs: Pick<Plugs, 'watts'>;
  /** As the node last described itself. */
  factsOf: (cluster: string, node: string) => PoweredFacts;
};

/** A driver that names no source, as that of a simulated node, knows its machine. */
const measuredBy = (facts: PoweredFacts): PowerSource => facts?.powerSource ?? 'driver';

export function createPower({ plan, plugs, factsOf }: Deps): Power {
  const nodes = new Map<NodeKey, MappedNode>(
    plan.nodes.map((node) => [nodeKey(node.cluster, node.node), node]),
  );

  function fill(mapped: MappedNode, { cluster, node, body }: Message<'telemetry'>): void {
    const values = body.node;
    const own = values.powerWatts === null ? null : measuredBy(factsOf(cluster, node));
    const isWhole = own === 'program' || own === 'driver';
    const plugged = isWhole ? null : plugs.watts(cluster, node, body.sampledAtMs);
    if (own !== null) body.powerSource = own;
    if (plugged !== null) {
      values.powerWatts = plugged;
      body.powerSource = 'plug';
    } else if (own === null && mapped.curve !== null && values.cpuRatio !== null) {
      values.powerEstimatedWatts = Math.round(wattsAt(mapped.curve, values.cpuRatio) * 10) / 10;
      body.powerSource = 'model';
    }
  }

  /** The engine prefers machines by what they draw per unit of work. */
  function describe({ curve }: MappedNode, { body: { facts } }: Message<'hello'>): void {
    if (curve === null) return;
    facts.wattsIdle ??= idleOf(curve);
    facts.wattsLoaded ??= loadedOf(curve);
  }

  return {
    enrich(message) {
      if (nodes.size === 0) return;
      const mapped = nodes.get(nodeKey(message.cluster, message.node));
      if (mapped === undefined) return;
      if (message.name === 'telemetry') fill(mapped, message);
      if (message.name === 'hello') describe(mapped, message);
    },
  };
}
