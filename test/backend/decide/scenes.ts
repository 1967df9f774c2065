/** Random small clusters: nodes of every state, guests with every obstacle, policies of any width. */
import { array, boolean, constantFrom, integer, record, tuple } from 'fast-check';
import { decide } from '../../../backend/decide/decide.ts';
import { emptyHistory, type History } from '../../../backend/decide/history.ts';
import { Policy } from '../../../backend/decide/policy.ts';
import type { NodeRecord } from '../../../backend/state/fleet.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import type { GuestSample } from '../../../broker/contract/telemetry.ts';
import { guestSample, nodeValues } from '../../support/messages.ts';
import { homeCluster } from '../../support/records.ts';

export const nowMs = 50_000_000;
const gib = 2 ** 30;
export const cluster = homeCluster();

const anyGuest = record({
  cpuCount: integer({ min: 1, max: 8 }),
  percent: integer({ min: 0, max: 100 }),
  memory: integer({ min: 1, max: 16 }),
  tag: constantFrom('', '', '', 'kr_pin_x', 'kr_anti_affinity_a', 'kr_affinity_b', 'kr_ignore'),
  state: constantFrom('running', 'running', 'running', 'stopped', 'paused'),
  isLocked: boolean(),
  isUnknown: integer({ min: 0, max: 9 }),
});
const anyNode = record({
  kind: constantFrom('awake', 'awake', 'awake', 'asleep', 'silent', 'maintenance', 'stopping'),
  cores: constantFrom(2, 4, 8, 16),
  memory: constantFrom(16, 32, 64),
  factor: constantFrom(0.5, 1, 1.3),
  watts: constantFrom(20, 90, 300),
  hotForMs: constantFrom(0, 100_000, 900_000),
  guests: array(anyGuest, { maxLength: 6 }),
});
const anyPolicy = record({
  mode: constantFrom('on' as const, 'off' as const),
  perNode: integer({ min: 1, max: 4 }),
  perCluster: integer({ min: 1, max: 16 }),
  awakeMin: integer({ min: 1, max: 3 }),
});

type Drawn<T> = T extends { generate(...args: never[]): { value: infer V } } ? V : never;
export type Scene = { nodes: NodeRecord[]; policy: Policy; history: History };

function guestOf(id: string, drawn: Drawn<typeof anyGuest>): GuestSample {
  return {
    ...guestSample(id, { name: id, cpuCount: drawn.cpuCount }),
    cpuRatio: drawn.isUnknown === 0 ? null : drawn.percent / 100,
    memoryTotalBytes: drawn.memory * gib,
    state: drawn.state,
    tags: drawn.tag === '' ? [] : [drawn.tag],
    lock: drawn.isLocked && drawn.percent % 4 === 0 ? 'backup' : null,
  };
}

function sceneOf(drawn: Drawn<typeof anyNode>[], wish: Drawn<typeof anyPolicy>): Scene {
  const history = emptyHistory();
  const nodes = drawn.map((one, place): NodeRecord => {
    const node = unseenNode('home', `n${place}`);
    const isThere = one.kind !== 'asleep';
    const guests = isThere ? one.guests.map((guest, at) => guestOf(`g${place}-${at}`, guest)) : [];
    const used = guests.reduce((sum, { cpuRatio, cpuCount, state }) => {
      return state === 'running' ? sum + (cpuRatio ?? 0) * (cpuCount ?? 0) : sum;
    }, 0);
    const memory = guests.reduce((sum, { memoryTotalBytes }) => sum + (memoryTotalBytes ?? 0), 0);
    if (isThere && one.hotForMs > 0 && used / one.cores > 0.85) {
      history.hotSinceMs.set(`home/${node.node}`, nowMs - one.hotForMs);
    }
    if (guests.every(({ state }) => state === 'stopped')) {
      history.emptySinceMs.set(`home/${node.node}`, nowMs - one.hotForMs);
    }
    return {
      ...node,
      online: isThere,
      desired: isThere ? 'awake' : 'asleep',
      sampleAtMs: one.kind === 'silent' ? nowMs - 90_000 : isThere ? nowMs : null,
      maintenance: one.kind === 'maintenance',
      activeKind: one.kind === 'stopping' ? 'node.shutdown' : null,
      guests,
      facts: NodeFacts.parse({ singleThreadFactor: one.factor, wattsLoaded: one.watts }),
      values: nodeValues({
        cpuCount: one.cores,
        cpuRatio: Math.min(1, used / one.cores),
        memoryTotalBytes: one.memory * gib,
        memoryUsedBytes: Math.min(one.memory * gib, memory),
      }),
    };
  });
  const policy = Policy.parse({
    save: { mode: wish.mode, awakeMin: wish.awakeMin },
    limits: { migrationsPerNode: wish.perNode, migrationsPerCluster: wish.perCluster },
  });
  return { nodes, policy, history };
}

export const planOf = ({ nodes, policy, history }: Scene) =>
  decide({ cluster, nodes }, policy, history, nowMs);

/** Scenes as fast-check draws them. */
export const scenes = tuple(array(anyNode, { minLength: 1, maxLength: 7 }), anyPolicy).map(
  ([drawn, wish]) => sceneOf(drawn, wish),
);
