/**
 * R20: telemetry that lies, changed on its way by a proxy between real daemons and the broker, in
 * clusters whose engine may act by itself: one node of each cluster sends NaN, infinities, values a
 * thousand times too large, negatives, zeros, a frozen sample or its old ones again. The engine
 * must not act on any other node because of it. Then a fifth of the nodes falls silent: the
 * cluster's destructive commands are refused and the engine does nothing.
 */
import { generate, type IPublishPacket, type Packet, parser } from 'mqtt-packet';
import { patiently } from '../support/checker.ts';
import {
  experiment,
  type Figures,
  pauseMs,
  type Scope,
  upperBound,
} from '../support/experiment.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { type Loaded, startLoaded } from '../support/loaded.ts';
import { until } from '../support/servers.ts';

const lies = ['nan', 'infinite', 'x1000', 'negative', 'zeros', 'frozen', 'replayed'] as const;
type Lie = (typeof lies)[number];

const liar = 'n0003';
const publish = 3;

/** Every number below `value` that is measured, changed. */
function changed(value: unknown, change: (number: number) => unknown): unknown {
  if (typeof value === 'number') return change(value);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, inner]) => [key, changed(inner, change)]);
  return Array.isArray(value) ? entries.map(([, inner]) => inner) : Object.fromEntries(entries);
}

type Sample = { seq: number; body: { node: object; guests: object[] } };

function createLiar(lie: Lie) {
  const first = new Map<string, string>();
  return (topic: string, payload: string): string => {
    const sample = JSON.parse(payload) as Sample;
    const { body } = sample;
    const told = (change: (number: number) => unknown): string =>
      JSON.stringify({
        ...sample,
        body: {
          ...body,
          node: changed(body.node, change),
          guests: changed(body.guests, change),
        },
      });
    if (!first.has(topic)) first.set(topic, payload);
    const kept = first.get(topic) ?? payload;
    switch (lie) {
      case 'nan':
        return told(() => 0.123456).replaceAll('0.123456', 'NaN');
      case 'infinite':
        return told(() => 0.123456).replaceAll('0.123456', '1e999');
      case 'x1000':
        return told((number) => number * 1_000);
      case 'negative':
        return told((number) => -number);
      case 'zeros':
        return told(() => 0);
      case 'frozen':
        return JSON.stringify({
          ...sample,
          body: { ...body, ...(JSON.parse(kept) as Sample).body },
        });
      case 'replayed':
      default:
        return kept;
    }
  };
}

/** The frames of a node's telemetry go through `tell`; those of silent nodes are lost whole. */
function proxyLie(
  isSilent: (node: string) => boolean,
  tell: (topic: string, text: string) => string,
) {
  return (frame: Buffer): Buffer | null => {
    if ((frame[0] ?? 0) >> 4 !== publish) return frame;
    const parse = parser();
    let packet: IPublishPacket | undefined;
    parse.on('packet', (one: Packet) => (packet = one as IPublishPacket));
    parse.parse(frame);
    const [, , , node = '', name] = packet?.topic.split('/') ?? [];
    if (!packet) return frame;
    if (isSilent(node)) return null;
    if (node !== liar || name !== 'telemetry') return frame;
    return generate({ ...packet, payload: tell(packet.topic, String(packet.payload)) });
  };
}

async function byEngine({ store }: Loaded) {
  const asked = store.db
    .selectFrom('commands')
    .select(['id', 'kind', 'executor', 'target_id'])
    .where('origin', '=', 'engine');
  return patiently(() => asked.execute());
}

const idle = 'n0010';

/** How a command ends: its code at the door, or its state and reason. */
async function outcome({ stack: { api } }: Loaded, wish: object): Promise<string> {
  const answer = await api.post<{ id?: string; code?: string }>('commands', {
    cluster: 'sim-001',
    node: idle,
    args: {},
    ...wish,
  });
  if (answer.status !== 202) return String(answer.body.code);
  let ended = '';
  await until(
    async () => {
      const { state, stateReason } = await api.get(`commands/${answer.body.id}`);
      ended = `${String(state)} ${String(stateReason)}`;
      return /SUCCEEDED|FAILED|REJECTED|EXPIRED|CANCELLED/.test(ended);
    },
    { withinMs: 120_000, what: 'the end of a command' },
  );
  return ended;
}

/** Nothing runs on the node that is to be switched off later. */
async function empty(loaded: Loaded): Promise<void> {
  const { items } = await loaded.stack.api.get<{
    items: { id: string; node: string; state: string }[];
  }>('guests?cluster=sim-001&limit=500');
  for (const { id, node, state } of items) {
    if (node !== idle || state !== 'running') continue;
    const ended = await outcome(loaded, { kind: 'guest.stop', guest: id });
    if (!ended.startsWith('SUCCEEDED')) throw new Error(`guest.stop: ${ended}`);
  }
}

const powerOff = (loaded: Loaded): Promise<string> => outcome(loaded, { kind: 'node.shutdown' });

async function run({ n, seed, say }: Scope): Promise<Figures> {
  let proxy: FaultProxy | undefined;
  const loaded = await startLoaded({
    seed,
    nodes: 20,
    nodesPerCluster: 10,
    guests: 3,
    isAutomatic: true,
    load: { clients: 0 },
    simulateMqttUrl: async (stack) => {
      proxy = await startFaultProxy(Number(new URL(stack.runtime().mqttUrl).port));
      return `mqtt://127.0.0.1:${proxy.port}`;
    },
  });
  try {
    const violations: string[] = [];
    const acted: Record<string, number> = {};
    const rejected: Record<string, number> = {};
    const figures = async () => (await loaded.stack.api.ingestFigures())['rejected'] ?? 0;
    for (const lie of lies) {
      const [known, before] = [(await byEngine(loaded)).length, await figures()];
      proxy?.setLie(proxyLie(() => false, createLiar(lie)));
      await pauseMs(n * 1_000);
      const all = await byEngine(loaded);
      acted[lie] = all.length - known;
      rejected[lie] = (await figures()) - before;
      for (const { kind, executor } of all.slice(known)) {
        violations.push(`${lie}: the engine proposed ${kind} on ${executor}`);
      }
      say(`${lie}: ${acted[lie]} proposals, ${rejected[lie]} samples rejected`);
    }
    await empty(loaded);
    // A simulated cluster starts without this limit; here it has that of a real one.
    const body = { limits: { staleNodesMin: null } };
    const patched = await loaded.stack.api.send('PATCH', '/api/v1/clusters/sim-001', { body });
    if (patched.status >= 300) throw new Error(`limits: ${JSON.stringify(patched.body)}`);
    const silent = new Set(['n0001', 'n0002', 'n0004']);
    proxy?.setLie(
      proxyLie(
        (node) => silent.has(node),
        (_topic, text) => text,
      ),
    );
    const { api } = loaded.stack;
    await until(
      async () => {
        const { items } = await api.get<{ items: { id: string; state: string }[] }>(
          'nodes?cluster=sim-001&limit=500',
        );
        return items.every(({ id, state }) => !silent.has(id) || state !== 'awake');
      },
      { what: 'silent nodes noticed', withinMs: 120_000 },
    );
    const known = (await byEngine(loaded)).length;
    const told = await powerOff(loaded);
    await pauseMs(n * 1_000);
    const proposals = (await byEngine(loaded)).length - known;
    if (proposals > 0) violations.push(`${proposals} proposals with a fifth of the nodes silent`);
    if (!/KR_STALE|KR_FROZEN/.test(told)) {
      violations.push(`a power-off with a fifth silent: ${told}`);
    }
    return {
      secondsPerLie: n,
      acted,
      rejected,
      silentNodes: silent.size,
      silentAnswer: told,
      upperBound: upperBound(lies.length * n),
      violations,
    };
  } finally {
    await loaded.remove();
    await proxy?.close();
  }
}

export const r20 = experiment(import.meta, { name: 'R20', short: 5, long: 60, run });
