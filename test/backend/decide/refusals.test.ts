import { describe, expect, it } from 'vitest';
import { decide } from '../../../backend/decide/decide.ts';
import { emptyHistory, record } from '../../../backend/decide/history.ts';
import type { Intent, Plan } from '../../../backend/decide/plan.ts';
import { Policy } from '../../../backend/decide/policy.ts';
import {
  noteRefusal,
  passingForMs,
  refusedForMs,
  wakeWaitMs,
} from '../../../backend/decide/refusals.ts';
import { policyInForce } from '../../../backend/policy-in-force.ts';
import type { NodeRecord } from '../../../backend/state/fleet.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { nodeKey } from '../../../broker/contract/ids.ts';
import { guestSample, nodeValues } from '../../support/messages.ts';
import { homeCluster } from '../../support/records.ts';

const gib = 2 ** 30;
const nowMs = 100_000_000;
const cluster = homeCluster();

const nodeOf = (name: string, change: Partial<NodeRecord> = {}): NodeRecord => ({
  ...unseenNode('home', name),
  online: true,
  sampleAtMs: nowMs,
  values: nodeValues({
    cpuRatio: 0.1,
    cpuCount: 8,
    memoryUsedBytes: 0,
    memoryTotalBytes: 32 * gib,
  }),
  facts: NodeFacts.parse({ wattsLoaded: 100 }),
  guests: [],
  ...change,
});

const web = {
  ...guestSample('web', { name: 'web' }),
  cpuCount: 4,
  cpuRatio: 1,
  memoryTotalBytes: 2 * gib,
};

/** A node that has been hot for long, and some that are not. */
function hotHouse(others: NodeRecord[]) {
  const history = emptyHistory();
  const hot = nodeOf('n1', {
    values: nodeValues({ cpuRatio: 0.95, cpuCount: 8, memoryUsedBytes: 8 * gib }),
    guests: [web],
  });
  history.hotSinceMs.set(nodeKey('home', 'n1'), nowMs - 3_600_000);
  return { history, nodes: [hot, ...others] };
}

const policy = Policy.parse({});
const planOf = (house: ReturnType<typeof hotHouse>, atMs = nowMs, by = policy): Plan =>
  decide({ cluster, nodes: house.nodes }, by, house.history, atMs);
const targetOf = ({ action }: Intent): string =>
  action.kind === 'guest.migrate' ? action.args.targetNode : action.kind;

describe('what was refused', () => {
  it('is not asked of the same target again, and of nobody after the third', () => {
    const house = hotHouse([nodeOf('n2'), nodeOf('n3'), nodeOf('n4'), nodeOf('n5')]);
    const asked: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      const [intent] = planOf(house).intents;
      asked.push(targetOf(intent!));
      noteRefusal(house.history, intent!, { nowMs });
    }
    expect(new Set(asked).size).toBe(3);
    const { intents, report } = planOf(house);
    expect(intents).toEqual([]);
    expect(report.nonActions[0]?.reason).toContain('was refused by the guards 0 s ago');
    const later = house.nodes.map((node) => ({ ...node, sampleAtMs: nowMs + refusedForMs }));
    expect(planOf({ ...house, nodes: later }, nowMs + refusedForMs).intents).toHaveLength(1);
  });

  it('keeps other nodes from being emptied in vain', () => {
    const saving = Policy.parse({ save: { mode: 'on', sleepAfterMs: 0 } });
    const history = emptyHistory();
    history.emptySinceMs.set(nodeKey('home', 'n3'), nowMs - 3_600_000);
    const quiet = { ...web, cpuRatio: 0.1 };
    const nodes = [
      nodeOf('n1', { guests: [quiet] }),
      nodeOf('n2', { guests: [{ ...quiet, id: 'mail' }] }),
      nodeOf('n3'),
    ];
    const house = { history, nodes };
    const first = planOf(house, nowMs, saving);
    const sleep = first.intents.find(({ target }) => target.id === 'n3');
    expect(sleep?.action.kind).toBe('node.shutdown');
    expect(first.intents.some(({ action }) => action.kind === 'guest.migrate')).toBe(true);
    noteRefusal(history, sleep!, { nowMs });
    const { intents, report } = planOf(house, nowMs, saving);
    expect(intents).toEqual([]);
    expect(report.nonActions.map(({ reason }) => reason)).toContain(
      'no node is emptied while n3 is empty and its sleep is refused',
    );
  });
});

describe('what passes by waiting', () => {
  const saving = Policy.parse({ save: { mode: 'on', sleepAfterMs: 0 } });

  function emptyBeside() {
    const history = emptyHistory();
    history.emptySinceMs.set(nodeKey('home', 'n3'), nowMs - 3_600_000);
    const quiet = { ...web, cpuRatio: 0.1 };
    const nodes = [
      nodeOf('n1', { guests: [quiet] }),
      nodeOf('n2', { guests: [{ ...quiet, id: 'mail' }] }),
      nodeOf('n3'),
    ];
    const house = { history, nodes };
    const sleep = planOf(house, nowMs, saving).intents.find(({ target }) => target.id === 'n3')!;
    return { house, sleep };
  }
  const kinds = (plan: Plan): string[] => plan.intents.map(({ action }) => action.kind);

  it('keeps no other node from being emptied, and is asked again soon', () => {
    const { house, sleep } = emptyBeside();
    noteRefusal(house.history, sleep, { nowMs, code: 'KR_NOT_IDLE' });
    expect(kinds(planOf(house, nowMs, saving))).toEqual(['guest.migrate']);
    const laterMs = nowMs + passingForMs;
    const nodes = house.nodes.map((node) => ({ ...node, sampleAtMs: laterMs }));
    expect(kinds(planOf({ ...house, nodes }, laterMs, saving))).toContain('node.shutdown');
  });

  it('is told from what a person must change first', () => {
    const { house, sleep } = emptyBeside();
    noteRefusal(house.history, sleep, { nowMs, code: 'KR_WAKE_UNPROVEN' });
    expect(kinds(planOf(house, nowMs, saving))).toEqual([]);
  });

  it('leaves moves and shutdowns together within what may be under way', () => {
    const { house } = emptyBeside();
    const one = Policy.parse({ ...saving, limits: { commandsAtOnce: 1 } });
    expect(kinds(planOf(house, nowMs, one))).toEqual(['node.shutdown']);
    const two = Policy.parse({ ...saving, limits: { commandsAtOnce: 2 } });
    expect(kinds(planOf(house, nowMs, two)).toSorted()).toEqual(['guest.migrate', 'node.shutdown']);
    const real = policyInForce(Policy.parse({}), { simulated: false });
    expect([real.limits.commandsAtOnce, real.save.spareVoters]).toEqual([2, 1]);
  });
});

describe('a wake that only had to wait for its turn', () => {
  it('counts as no try, so that the next round may ask again', () => {
    const asleep = (name: string) =>
      nodeOf(name, { online: false, desired: 'asleep', sampleAtMs: null, guests: null });
    const house = hotHouse([asleep('n2')]);
    const plan = planOf(house);
    expect(plan.intents.map(({ action }) => action.kind)).toEqual(['node.wake']);
    record(house.history, plan, nowMs);
    const at = { cluster, history: house.history, nowMs };
    expect(wakeWaitMs(at, 'n2')).toBeGreaterThan(0);
    noteRefusal(house.history, plan.intents[0]!, { nowMs, code: 'KR_LIMITER' });
    expect(wakeWaitMs(at, 'n2')).toBe(0);
  });
});

describe('a wake that did not come true', () => {
  const asleep = (name: string, watts: number) =>
    nodeOf(name, {
      online: false,
      desired: 'asleep',
      sampleAtMs: null,
      facts: NodeFacts.parse({ wattsLoaded: watts }),
    });

  it('is tried with another node first, and again ever later', () => {
    const house = hotHouse([asleep('n2', 50), asleep('n3', 90)]);
    const woken = (atMs: number): string[] => {
      const nodes = house.nodes.map((node) =>
        node.sampleAtMs === null ? node : { ...node, sampleAtMs: atMs },
      );
      const plan = planOf({ ...house, nodes }, atMs);
      record(house.history, plan, atMs);
      return plan.intents.map(({ target }) => target.id);
    };
    expect(woken(nowMs)).toEqual(['n2']);
    expect(woken(nowMs + 60_000)).toEqual(['n3']);
    expect(woken(nowMs + 120_000)).toEqual([]);
    expect(woken(nowMs + 600_000)).toEqual(['n2']);
    const at = { cluster, history: house.history, nowMs: nowMs + 600_000 };
    expect([wakeWaitMs(at, 'n2'), wakeWaitMs(at, 'n3')]).toEqual([1_200_000, 60_000]);
  });
});

describe('votes', () => {
  const voting = (name: string, members: readonly string[]) =>
    nodeOf(name, {
      facts: NodeFacts.parse({
        quorum: {
          quorate: true,
          expectedVotes: members.length,
          totalVotes: members.length,
          quorumVotes: Math.floor(members.length / 2) + 1,
          members: members.map((node) => ({ node, votes: 1, online: true })),
        },
      }),
    });
  const names = ['n1', 'n2', 'n3', 'n4', 'n5'];

  it.each([
    [5, 0, true],
    [4, 0, true],
    [3, 0, false],
    [5, 1, true],
    [4, 1, false],
  ])('with %i of 5 awake and %i to spare, an empty node may sleep: %s', (awake, spare, may) => {
    const save = { mode: 'on', sleepAfterMs: 0, spareVoters: spare };
    const history = emptyHistory();
    const nodes = names.map((name, place) => ({
      ...voting(name, names),
      ...(place >= awake && { online: false, desired: 'asleep' as const, sampleAtMs: null }),
    }));
    const key = nodeKey('home', 'n1');
    history.emptySinceMs.set(key, nowMs - 3_600_000);
    const plan = decide({ cluster, nodes }, Policy.parse({ save }), history, nowMs);
    expect(plan.intents.length > 0).toBe(may);
    if (may) return;
    expect(plan.report.nonActions[0]?.reason).toMatch(/votes would be left.*3 are needed/);
  });
});
