import { describe, expect, it } from 'vitest';
import { decide } from '../../../backend/decide/decide.ts';
import { emptyHistory, observe } from '../../../backend/decide/history.ts';
import type { Plan } from '../../../backend/decide/plan.ts';
import { Policy } from '../../../backend/decide/policy.ts';
import type { NodeRecord } from '../../../backend/state/fleet.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import type { GuestSample, NodeValues } from '../../../broker/contract/telemetry.ts';
import { guestSample, nodeValues } from '../../support/messages.ts';
import { homeCluster } from '../../support/records.ts';

const gib = 2 ** 30;
const policy = Policy.parse({});
const cluster = homeCluster();

const calm = { ioPressureSomeAvg60Ratio: 0, memoryPressureSomeAvg60Ratio: 0 };
const guestOf = (id: string, usedGib: number, diskMb = 0): GuestSample => ({
  ...guestSample(id, { name: id }),
  cpuCount: 1,
  cpuRatio: 0.1,
  memoryUsedBytes: usedGib * gib,
  memoryTotalBytes: usedGib * gib,
  diskReadBytesPerSecond: diskMb * 1e6,
  diskWriteBytesPerSecond: 0,
});
const nodeOf = (
  node: string,
  usedGib: number,
  guests: GuestSample[] = [],
  change: Partial<NodeValues> = {},
): NodeRecord => ({
  ...unseenNode('home', node),
  online: true,
  facts: NodeFacts.parse({ wattsLoaded: 100 }),
  values: nodeValues({
    cpuCount: 8,
    cpuRatio: 0.1,
    memoryUsedBytes: usedGib * gib,
    memoryTotalBytes: 32 * gib,
    ...calm,
    ...change,
  }),
  guests,
});

/** The plan after the house has been as it is for so long. */
function planAfter(nodes: readonly NodeRecord[], seconds: number): Plan {
  const history = emptyHistory();
  let state = { cluster, nodes: [...nodes] };
  for (let atMs = 10_000; atMs <= 10_000 + seconds * 1_000; atMs += 10_000) {
    const isSilent = ({ desired }: NodeRecord) => desired === 'asleep';
    const nodesNow = nodes.map((node) => ({ ...node, sampleAtMs: isSilent(node) ? null : atMs }));
    state = { cluster, nodes: nodesNow };
    observe(history, state, policy, atMs);
  }
  return decide(state, policy, history, 10_000 + seconds * 1_000);
}
const movesOf = ({ intents }: Plan): string[] =>
  intents.map(({ rule, target, action }) =>
    action.kind === 'guest.migrate'
      ? `${rule} ${target.id} ${action.args.targetNode}`
      : `${rule} ${target.id}`,
  );

describe('a node that is short of memory', () => {
  const full = nodeOf('n1', 31, [guestOf('small', 2), guestOf('big', 8)]);

  it('sheds what frees most for its copy, to the node with most to spare, after its wait', () => {
    const nodes = [full, nodeOf('n2', 12), nodeOf('n3', 4)];
    expect(movesOf(planAfter(nodes, 290))).toEqual([]);
    const plan = planAfter(nodes, 300);
    expect(movesOf(plan)).toEqual(['relieve.memoryRatio big n3']);
    expect(plan.intents[0]?.reason).toBe(
      'n1 has had 97 % memory in use for 300 s: big, which takes most of it for its size, ' +
        'moves to n3 (13 %)',
    );
  });

  it('fills no node beyond what its guards leave free, and takes the next guest instead', () => {
    expect(movesOf(planAfter([full, nodeOf('n2', 24)], 300))).toEqual([
      'relieve.memoryRatio small n2',
    ]);
  });

  it('wakes a node where nobody awake has room, however idle the cpus are', () => {
    const asleep: NodeRecord = {
      ...nodeOf('n2', 0),
      online: false,
      desired: 'asleep',
      values: null,
      facts: NodeFacts.parse({ cpuCount: 8, memoryBytes: 32 * gib }),
      guests: null,
    };
    const plan = planAfter([full, asleep], 300);
    expect(movesOf(plan)).toEqual(['wake.shortage n2']);
    expect(plan.report.nonActions[0]?.reason).toBe(
      '97 % memory in use, and none of its guests fits where there is less',
    );
  });

  it('keeps guests whose move would bring next to nothing, and says what is missing', () => {
    const crumbs = [guestOf('a', 0.1), guestOf('b', 0.2)];
    const plan = planAfter([nodeOf('n1', 31, crumbs), nodeOf('n2', 4)], 300);
    expect(movesOf(plan)).toEqual([]);
    expect(plan.report.nonActions).toMatchObject([
      {
        reason:
          '97 % memory in use, but b, which takes most of it, takes 53 % of what makes a move ' +
          'worth it',
        flip: 'a guest free to move that takes 1.9 times as much',
      },
    ]);
  });

  it('says what both nodes are expected to use after the move', () => {
    const [move] = planAfter([full, nodeOf('n2', 12), nodeOf('n3', 4)], 300).intents;
    expect(move?.predicted).toEqual([
      { name: 'sourceMemoryRatio', value: 0.719, unit: 'ratio' },
      { name: 'targetMemoryRatio', value: 0.375, unit: 'ratio' },
    ]);
  });

  it('is left alone within the dead band, and while its memory is unknown', () => {
    expect(movesOf(planAfter([nodeOf('n1', 29, full.guests as []), nodeOf('n2', 4)], 600))).toEqual(
      [],
    );
    const unknown = nodeOf('n1', 31, [...full.guests!], { memoryUsedBytes: null });
    expect(movesOf(planAfter([unknown, nodeOf('n2', 4)], 600))).toEqual([]);
  });
});

describe('a node whose tasks wait', () => {
  const reader = guestOf('reader', 2, 300);
  const idler = guestOf('idler', 8, 1);

  it('for disks, sheds the guest that reads and writes most, not the biggest', () => {
    const pressed = nodeOf('n1', 12, [idler, reader], { ioPressureSomeAvg60Ratio: 0.7 });
    expect(movesOf(planAfter([pressed, nodeOf('n2', 4)], 300))).toEqual([
      'relieve.ioPressureRatio reader n2',
    ]);
  });

  it('for memory, sheds the guest with most of it', () => {
    const pressed = nodeOf('n1', 20, [idler, reader], { memoryPressureSomeAvg60Ratio: 0.5 });
    expect(movesOf(planAfter([pressed, nodeOf('n2', 4)], 300))).toEqual([
      'relieve.memoryPressureRatio idler n2',
    ]);
  });

  it('moves nothing to a node that waits itself, or of which it is not known', () => {
    const pressed = nodeOf('n1', 12, [reader], { ioPressureSomeAvg60Ratio: 0.7 });
    for (const there of [0.4, null]) {
      const other = nodeOf('n2', 4, [], { ioPressureSomeAvg60Ratio: there });
      expect(movesOf(planAfter([pressed, other], 300))).toEqual([]);
    }
  });
});
