import { afterEach, beforeEach, expect, it } from 'vitest';
import { createEffects, measure } from '../../backend/measure.ts';
import type { Intent } from '../../backend/decide/plan.ts';
import { emptyFleet, type Fleet, type NodeRecord } from '../../backend/state/fleet.ts';
import { unseenNode } from '../../backend/state/reduce.ts';
import { nodeKey } from '../../broker/contract/ids.ts';
import { nodeValues } from '../support/messages.ts';

let fleet: Fleet;
const nodeAt = (node: string, cpuRatio: number, sampleAtMs: number): NodeRecord => ({
  ...unseenNode('home', node),
  online: true,
  sampleAtMs,
  values: nodeValues({ cpuRatio }),
});
beforeEach(() => {
  fleet = emptyFleet();
  fleet.nodes.set(nodeKey('home', 'n1'), nodeAt('n1', 0.61, 1_000_000));
  fleet.nodes.set(nodeKey('home', 'n2'), nodeAt('n2', 0.4, 0));
});
afterEach(() => fleet.nodes.clear());

const moved: Intent = {
  cluster: 'home',
  target: { kind: 'guest', id: 'web' },
  executor: 'n1',
  action: {
    kind: 'guest.migrate',
    args: { targetNode: 'n2', online: true, withLocalDisks: false },
  },
  rule: 'relieve.cpuRatio',
  reason: 'hot',
  facts: [],
  alternatives: [],
  predicted: [
    { name: 'sourceCpuRatio', value: 0.6 },
    { name: 'targetCpuRatio', value: 0.35 },
  ],
  margin: { name: 'cpuRatio', value: 0.2 },
};

it('says beside each prediction what was measured, and null where nobody was heard', () => {
  expect(measure(fleet, [moved], new Set(['web']), 1_010_000)).toEqual([
    {
      target: 'web',
      facts: [
        { name: 'sourceCpuRatio', predicted: 0.6, value: 0.61 },
        { name: 'targetCpuRatio', predicted: 0.35, value: null },
      ],
    },
  ]);
});

it('measures nothing of what did not succeed', () => {
  expect(measure(fleet, [moved], new Set(), 1_010_000)).toEqual([]);
});

it('counts what was predicted beside what came, and how often it came close, by fact', () => {
  const effects = createEffects();
  fleet.nodes.set(nodeKey('home', 'n2'), nodeAt('n2', 0.5, 1_000_000));
  effects.note('home', measure(fleet, [moved], new Set(['web']), 1_010_000));
  fleet.nodes.set(nodeKey('home', 'n2'), nodeAt('n2', 0.4, 0));
  effects.note('home', measure(fleet, [moved], new Set(['web']), 1_010_000));
  const found = effects.of().get('home');
  expect(found?.get('sourceCpuRatio')).toEqual({
    predicted: 1.2,
    measured: 1.22,
    count: 2,
    close: 2,
  });
  // Off by 0.15 once, and unheard the second time.
  expect(found?.get('targetCpuRatio')).toEqual({
    predicted: 0.35,
    measured: 0.5,
    count: 1,
    close: 0,
  });
});
