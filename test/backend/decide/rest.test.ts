import { describe, expect, it } from 'vitest';
import { limitsOf } from '../../../backend/act/guard-limits.ts';
import { decide } from '../../../backend/decide/decide.ts';
import { emptyHistory, type History, observe } from '../../../backend/decide/history.ts';
import { busiest, observeMinutes } from '../../../backend/decide/minutes.ts';
import type { Plan } from '../../../backend/decide/plan.ts';
import { Policy, withinGuards } from '../../../backend/decide/policy.ts';
import { policyInForce } from '../../../backend/policy-in-force.ts';
import type { NodeRecord } from '../../../backend/state/fleet.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import type { GuestSample } from '../../../broker/contract/telemetry.ts';
import { guestSample, nodeValues } from '../../support/messages.ts';
import { homeCluster } from '../../support/records.ts';

const gib = 2 ** 30;
const minute = 60_000;
const hour = 60 * minute;
const nowMs = 200 * hour;
const cluster = homeCluster();
const saving = Policy.parse({ save: { mode: 'on' } });
const real = policyInForce(saving, { simulated: false });

const guestOf = (id: string, cpuRatio: number): GuestSample => ({
  ...guestSample(id, { name: id }),
  cpuCount: 4,
  cpuRatio,
  memoryTotalBytes: 2 * gib,
});

type Change = { cpuRatio?: number; upMs?: number | null; guests?: GuestSample[] };

const nodeOf = (node: string, atMs: number, change: Change = {}): NodeRecord => ({
  ...unseenNode('home', node),
  online: true,
  sampleAtMs: atMs,
  facts: NodeFacts.parse({ wattsIdle: 60, wattsLoaded: 100 }),
  values: nodeValues({
    cpuRatio: change.cpuRatio ?? 0.05,
    cpuCount: 8,
    memoryUsedBytes: gib,
    memoryTotalBytes: 32 * gib,
    uptimeMs: change.upMs === undefined ? 9 * hour : change.upMs,
  }),
  guests: change.guests ?? [],
});

/** n2 has run nothing for an hour; n1 runs one guest. */
function house(change: Change = {}, history: History = emptyHistory()) {
  history.emptySinceMs.set('home/n2', nowMs - hour);
  const nodes = [
    nodeOf('n1', nowMs, { guests: [guestOf('web', 0.1)] }),
    nodeOf('n2', nowMs, change),
  ];
  return { nodes, history };
}
const planOf = ({ nodes, history }: ReturnType<typeof house>, policy = real, atMs = nowMs): Plan =>
  decide({ cluster, nodes }, policy, history, atMs);
const kinds = ({ intents }: Plan): string[] => intents.map(({ action }) => action.kind);
const refusals = ({ report }: Plan): string[] =>
  report.nonActions
    .filter(({ rule }) => rule === 'save.sleep')
    .map(({ reason, flip }) => `${reason} | ${flip}`);

/** Minutes of one node before now, the newest last. */
function past(loads: readonly number[]): History {
  const history = emptyHistory();
  loads.forEach((cpuRatio, place) => {
    const atMs = nowMs - (loads.length - 1 - place) * minute;
    observeMinutes(history.minutes, [nodeOf('n2', atMs, { cpuRatio })], atMs);
  });
  return history;
}

describe('an empty node', () => {
  it('sleeps where nothing speaks against it', () => {
    expect(kinds(planOf(house()))).toEqual(['node.shutdown']);
  });

  it('stays on until it was up for as long as its guards ask', () => {
    const plan = planOf(house({ upMs: 20 * minute }));
    expect(kinds(plan)).toEqual([]);
    expect(refusals(plan)).toEqual(['is empty, but is up for only 1200 s | 600 s more']);
    expect(kinds(planOf(house({ upMs: 30 * minute })))).toEqual(['node.shutdown']);
    // Who cannot tell is left to the guards.
    expect(kinds(planOf(house({ upMs: null })))).toEqual(['node.shutdown']);
    expect(kinds(planOf(house({ upMs: 20 * minute }), saving))).toEqual(['node.shutdown']);
  });

  it('sleeps four times a day and no more, and is not emptied for a fifth', () => {
    const history = emptyHistory();
    const slept = (...hours: number[]) =>
      history.powerOffs.set(
        'home',
        hours.map((ago) => ({ node: 'n2', atMs: nowMs - ago * hour })),
      );
    slept(25, 20, 10, 5);
    expect(kinds(planOf(house({}, history)))).toEqual(['node.shutdown']);
    slept(20, 15, 10, 5);
    expect(refusals(planOf(house({}, history)))).toEqual([
      'is empty, but slept 4 times within a day | 14400 s more',
    ]);
    const full = house({ guests: [guestOf('mail', 0.1)] }, history);
    expect(planOf(full).intents.filter(({ executor }) => executor === 'n2')).toEqual([]);
  });

  it('sleeps ten minutes after the last that went, a fifth of the nodes within an hour', () => {
    const history = emptyHistory();
    const went = (...minutes: number[]) =>
      history.powerOffs.set(
        'home',
        minutes.map((ago) => ({ node: 'n9', atMs: nowMs - ago * minute })),
      );
    went(9);
    expect(refusals(planOf(house({}, history)))).toEqual([
      'is empty, but n9 went 540 s ago | 60 s more',
    ]);
    went(30);
    expect(refusals(planOf(house({}, history)))).toEqual([
      'is empty, but 1 went within an hour | 1800 s more',
    ]);
    went(60);
    expect(kinds(planOf(house({}, history)))).toEqual(['node.shutdown']);
  });

  it('waits until one minute in twenty of the last forty was busy, and says for how long', () => {
    const busy = [...Array(10).fill(0.6), ...Array(25).fill(0.05)] as number[];
    const plan = planOf(house({}, past(busy)));
    expect(refusals(plan)).toEqual([
      'is empty, but its cpu was at 60 % within 40 minutes | 840 s more',
    ]);
    const idle = [...Array(1).fill(0.6), ...Array(39).fill(0.05)] as number[];
    expect(kinds(planOf(house({}, past(idle))))).toEqual(['node.shutdown']);
    // Too few minutes say nothing.
    expect(kinds(planOf(house({}, past([0.6, 0.6, 0.6, 0.6]))))).toEqual(['node.shutdown']);
  });

  it('may go just when that wait is over, not before', () => {
    const history = past([...Array(10).fill(0.6), ...Array(25).fill(0.05)] as number[]);
    const at = (laterMs: number) => {
      const nodes = house().nodes.map((node) => ({ ...node, sampleAtMs: nowMs + laterMs }));
      for (let ms = minute; ms <= laterMs; ms += minute) {
        observeMinutes(history.minutes, [nodeOf('n2', nowMs + ms)], nowMs + ms);
      }
      history.emptySinceMs.set('home/n2', nowMs - hour);
      return kinds(planOf({ nodes, history }, real, nowMs + laterMs));
    };
    expect(at(13 * minute)).toEqual([]);
    expect(at(14 * minute)).toEqual(['node.shutdown']);
  });
});

describe('a target', () => {
  const hot = (): NodeRecord =>
    nodeOf('n1', nowMs, { cpuRatio: 0.95, guests: [guestOf('web', 0.9), guestOf('db', 0.9)] });
  const relieved = (history: History, target: Change): Plan => {
    history.hotSinceMs.set('home/n1', nowMs - hour);
    return planOf({ nodes: [hot(), nodeOf('n2', nowMs, target)], history });
  };

  it('is judged by the busiest of its last hour, as its guards will', () => {
    const quiet = past(Array(60).fill(0.05) as number[]);
    expect(kinds(relieved(quiet, {}))).toEqual(['guest.migrate']);
    const evening = past([...Array(20).fill(0.7), ...Array(40).fill(0.05)] as number[]);
    expect(kinds(relieved(evening, {}))).toEqual([]);
  });

  it('is none for the first minutes after it came up, and no further node is woken for that', () => {
    const asleep: NodeRecord = {
      ...unseenNode('home', 'n3'),
      desired: 'asleep',
      facts: NodeFacts.parse({ cpuCount: 8, memoryBytes: 32 * gib }),
    };
    const history = emptyHistory();
    history.hotSinceMs.set('home/n1', nowMs - hour);
    const young = (upMs: number) =>
      planOf({ nodes: [hot(), nodeOf('n2', nowMs, { upMs }), asleep], history });
    expect(kinds(young(5 * minute))).toEqual([]);
    expect(kinds(young(6 * minute))).toEqual(['guest.migrate']);
  });
});

describe('the past of a node', () => {
  it('is p95 of the minutes that were told of, each by its highest sample', () => {
    const history = emptyHistory();
    for (let second = 0; second < 3_600; second += 10) {
      const atMs = nowMs - 3_600_000 + second * 1_000;
      const cpuRatio = second % 60 === 30 ? Math.floor(second / 60) / 100 : 0;
      observe(history, { cluster, nodes: [nodeOf('n1', atMs, { cpuRatio })] }, saving, atMs);
    }
    const minutes = history.minutes.get('home/n1');
    const over = (windowMs: number) => busiest(minutes, 'cpuRatio', { nowMs, windowMs });
    // Of 0.00 to 0.59 the 58th, of the last twenty the highest.
    expect(over(hour)).toBe(0.57);
    expect(over(20 * minute)).toBe(0.59);
    expect(over(4 * minute)).toBeNull();
  });
});

describe('a policy under the guards of its cluster', () => {
  it('is the stricter of both, for whatever both limit', () => {
    const guards = limitsOf({ simulated: 0, time_scale: 1, settings: '{}', limits: '{}' });
    const wide = Policy.parse({ limits: { commandsAtOnce: 8, guestMovesPerDay: 12 } });
    expect(withinGuards(wide, guards).limits).toMatchObject({
      commandsAtOnce: 2,
      guestMovesPerDay: 2,
      sleepsPerDay: 4,
    });
    const strict = Policy.parse({ limits: { commandsAtOnce: 1 }, save: { spareVoters: 2 } });
    const both = withinGuards(strict, guards);
    expect([both.limits.commandsAtOnce, both.save.spareVoters]).toEqual([1, 2]);
  });

  it('follows what an administrator changed of the guards', () => {
    const limits = JSON.stringify({ commandsAtOnce: 8, powerCyclesPerDay: 1 });
    const of = policyInForce(saving, { simulated: false, limits, settings: '{}' });
    expect([of.limits.commandsAtOnce, of.limits.sleepsPerDay]).toEqual([8, 1]);
  });

  it('is bound by nothing in a simulated cluster of which no guard is known', () => {
    expect(policyInForce(saving, { simulated: true })).toEqual(saving);
  });
});
