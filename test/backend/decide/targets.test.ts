import { assert, property } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mayStand } from '../../../backend/decide/constraints.ts';
import { decide } from '../../../backend/decide/decide.ts';
import { emptyHistory, observe } from '../../../backend/decide/history.ts';
import {
  fits,
  type Model,
  modelOf,
  nodeRole,
  plan,
  ratioOf,
  type Situation,
  slack,
} from '../../../backend/decide/model.ts';
import { Policy } from '../../../backend/decide/policy.ts';
import { preferredNodes } from '../../../backend/decide/relieve.ts';
import { targetsOf } from '../../../backend/decide/targets.ts';
import { trafficOf } from '../../../backend/decide/traffic.ts';
import type { NodeRecord } from '../../../backend/state/fleet.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { guestSample, nodeValues } from '../../support/messages.ts';
import { cluster, nowMs, scenes } from './scenes.ts';

const laterMargins = [
  { sigmas: 1, fillRatio: 0.95 },
  { sigmas: 0, fillRatio: 0.98 },
];

/** By looking at every node for every guest: what `best` means. */
function bestOfAll(model: Model, guest: number, situation: Situation): number | null {
  const { relieve } = situation.policy;
  const traffic = trafficOf(model, situation);
  const preferred = preferredNodes(model);
  const fillRatio = relieve.fillRatio ?? relieve.cpuRatio.clear;
  const widest = { sigmas: relieve.sigmas, fillRatio };
  const margins = laterMargins.map((margin) => ({
    sigmas: Math.min(margin.sigmas, widest.sigmas),
    fillRatio: Math.min(margin.fillRatio, fillRatio),
  }));
  const from = model.nodeOf[guest]!;
  for (const wanted of [1, 0]) {
    for (const margin of [widest, ...margins]) {
      const worths = model.nodes.map((_, place) => {
        const isOpen =
          model.role[place] === nodeRole.awake &&
          preferred[place] === wanted &&
          place !== from &&
          !model.draining[place] &&
          traffic.mayReceive(place);
        const after = (model.asked[place]! + model.now[guest]!) / model.capacity[place]!;
        const isCooler = after <= ratioOf(model, from) - relieve.marginRatio;
        const isFit = fits(model, guest, place, margin) && mayStand(model, guest, place, false);
        return isOpen && isCooler && isFit
          ? slack(model, place, margin) / model.capacity[place]!
          : -Infinity;
      });
      const most = Math.max(...worths);
      if (most > -Infinity) return worths.indexOf(most);
    }
  }
  return null;
}

const gib = 2 ** 30;
/** How the rounds of a large cluster differ: what each guest of a node uses, and how many there are. */
const kinds = {
  hot: { cpuRatio: () => 0.48, guests: () => 4 },
  full: { cpuRatio: (place: number) => 0.36 + (place % 7) / 500, guests: () => 4 },
  empty: { cpuRatio: () => 0.1, guests: (place: number) => (place % 2) * 4 },
} as const;

type Count = { reads: number };

/** Nodes whose names are counted when they are asked for, as every look at a target does. */
function countedNodes(count: number, kind: keyof typeof kinds, counter: Count): NodeRecord[] {
  return Array.from({ length: count }, (_, place) => {
    const { cpuRatio, guests } = kinds[kind];
    const samples = Array.from({ length: guests(place) }, (_one, at) =>
      guestSample(`${place}-${at}`, { cpuCount: 2, cpuRatio: cpuRatio(place) }),
    );
    const used = guests(place) * 2 * cpuRatio(place);
    const record: NodeRecord = {
      ...unseenNode('home', ''),
      online: true,
      sampleAtMs: nowMs,
      facts: NodeFacts.parse({ wattsIdle: 60, wattsLoaded: 100, quorum: null }),
      values: nodeValues({
        cpuCount: 4,
        cpuRatio: used / 4,
        memoryTotalBytes: 64 * gib,
        memoryUsedBytes: 8 * gib,
        uptimeMs: 90_000_000,
      }),
      guests: samples,
    };
    const read = () => {
      counter.reads += 1;
      return `n${place}`;
    };
    return Object.defineProperties(record, {
      node: { get: read, enumerable: true },
      activeKind: { get: () => (read(), null), enumerable: true },
    });
  });
}

function readsOf(count: number, kind: keyof typeof kinds): number {
  const counter = { reads: 0 };
  const nodes = countedNodes(count, kind, counter);
  const policy = Policy.parse({
    relieve: { cpuRatio: { above: 0.85, clear: 0.75, forMs: 0 } },
    save: { mode: 'on' },
  });
  const history = emptyHistory();
  observe(history, { cluster, nodes }, policy, nowMs);
  counter.reads = 0;
  decide({ cluster, nodes }, policy, history, nowMs);
  return counter.reads;
}

describe('the targets of a guest', () => {
  it('are those that a look at every node finds, before and after a move is planned', () => {
    assert(
      property(scenes, ({ nodes, policy, history }) => {
        const situation = { cluster, nodes, policy, history, nowMs };
        const model = modelOf(situation);
        const traffic = trafficOf(model, situation);
        const targets = targetsOf(model, situation, traffic, preferredNodes(model));
        for (let guest = 0; guest < model.guests.length; guest += 1) {
          const to = targets.best(guest);
          expect(to).toBe(bestOfAll(model, guest, situation));
          if (to !== null && guest % 2 === 0) plan(model, guest, to);
        }
      }),
      { seed: 11, numRuns: 300 },
    );
  });

  it.each(['hot', 'full', 'empty'] as const)(
    'are looked for no more often per node where many are %s',
    (kind) => {
      const [few, many] = [readsOf(40, kind), readsOf(160, kind)];
      expect(few).toBeGreaterThan(40);
      expect(many).toBeLessThan(5 * few);
    },
  );
});
