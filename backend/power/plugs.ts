/**
 * Listens to the smart plugs that nodes hang on. It only ever subscribes to the topics that are
 * mapped, says nothing, and keeps the newest reading of each. A retained message is of some other
 * time and counts for nothing; a reading that is too old is none.
 */
import { readFileSync } from 'node:fs';
import type { DaemonClient, DaemonClientOptions } from '../../broker/client.ts';
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import type { Clock, Log, NewId, Random } from '../../broker/contract/ports.ts';
import { readWatts } from './reading.ts';
import type { MappedNode, PlugBroker, PowerPlan } from './settings.ts';

export type PlugsDeps = {
  openClient: (options: DaemonClientOptions) => DaemonClient;
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
};

export type Plugs = {
  /** What the plug of this node said about then (unix ms), within its age; null without one. */
  watts(cluster: string, node: string, atMs: number): number | null;
  figures(): { connected: number; readings: number; readingsRefused: number };
  close(): Promise<void>;
};

type Mapped = MappedNode & { plug: NonNullable<MappedNode['plug']> };
type Reading = { watts: number; atMs: number; maxAgeMs: number };

const withPlug = (nodes: readonly MappedNode[]): Mapped[] =>
  nodes.filter((node): node is Mapped => node.plug !== null);

const secretOf = (path: string | undefined): string =>
  path === undefined ? '' : readFileSync(path, 'utf8').replace(/\r?\n$/, '');

function hear(
  nodes: readonly Mapped[],
  readings: Map<NodeKey, Reading>,
  { clock, log }: PlugsDeps,
) {
  const byTopic = Map.groupBy(nodes, ({ plug }) => plug.topic);
  const figures = { readings: 0, readingsRefused: 0 };
  const warned = new Set<NodeKey>();
  return {
    figures,
    onMessage: (topic: string, payload: Uint8Array, isRetained = false): void => {
      if (isRetained) return;
      for (const { cluster, node, plug } of byTopic.get(topic) ?? []) {
        const key = nodeKey(cluster, node);
        const watts = readWatts(plug, payload);
        if (watts === null) {
          figures.readingsRefused += 1;
          const path = plug.path.join('.');
          if (!warned.has(key))
            log.warn({ cluster, node, topic, path }, 'no watts in this message');
          warned.add(key);
          continue;
        }
        figures.readings += 1;
        readings.set(key, { watts, atMs: clock.wallMs(), maxAgeMs: plug.maxAgeMs });
      }
    },
  };
}

type Hear = ReturnType<typeof hear>['onMessage'];

function connect(broker: PlugBroker, topics: string[], deps: PlugsDeps, onMessage: Hear) {
  const { openClient, clock, random, newId, log } = deps;
  const { host } = new URL(broker.url);
  return openClient({
    url: broker.url,
    clientId: `kernreaktor-power-${newId()}`,
    username: broker.user ?? '',
    password: secretOf(broker.passwordFile),
    ...(broker.caFile === undefined ? {} : { caPem: readFileSync(broker.caFile, 'utf8') }),
    subscriptions: topics,
    will: () => undefined,
    onConnect: () => log.info({ broker: host, topics: topics.length }, 'listening to the plugs'),
    onMessage: (topic, payload, isRetained) => onMessage(topic, payload, isRetained),
    onClose: (reason) => log.warn({ broker: host, reason }, 'the broker of the plugs is away'),
    clock,
    random,
    log,
  });
}

/** Connects in the background; a broker that is away only means that nothing is read. */
export function startPlugs({ broker, nodes }: PowerPlan, deps: PlugsDeps): Plugs {
  const readings = new Map<NodeKey, Reading>();
  const mapped = withPlug(nodes);
  const { figures, onMessage } = hear(mapped, readings, deps);
  const topics = [...new Set(mapped.map(({ plug }) => plug.topic))];
  const client =
    broker === null || topics.length === 0 ? null : connect(broker, topics, deps, onMessage);
  return {
    watts(cluster, node, atMs) {
      const reading = readings.get(nodeKey(cluster, node));
      if (reading === undefined) return null;
      return Math.abs(atMs - reading.atMs) <= reading.maxAgeMs ? reading.watts : null;
    },
    figures: () => ({ connected: Number(client?.isConnected() ?? false), ...figures }),
    close: async () => client?.end(),
  };
}
