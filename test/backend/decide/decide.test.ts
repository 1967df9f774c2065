import { describe, expect, it } from 'vitest';
import { decide as decideOn } from '../../../backend/decide/decide.ts';
import { emptyHistory, type History, observe } from '../../../backend/decide/history.ts';
import { Policy } from '../../../backend/decide/policy.ts';
import { firstForecast } from '../../../backend/decide/forecast.ts';
import { modelOf, ratioWith, type Situation } from '../../../backend/decide/model.ts';
import { emptyFleet, type NodeRecord } from '../../../backend/state/fleet.ts';
import { reduce } from '../../../backend/state/reduce.ts';
import type { GuestSample } from '../../../broker/contract/telemetry.ts';
import { guestSample, message, nodeValues, telemetryBody } from '../../support/messages.ts';
import { homeCluster } from '../../support/records.ts';

const nowMs = 400_000;
const cluster = homeCluster();

type Host = { cpu: number | null; guests?: GuestSample[]; freeGib?: number; atMs?: number };

function nodesOf(hosts: Record<string, Host>): NodeRecord[] {
  const fleet = emptyFleet();
  for (const [node, host] of Object.entries(hosts)) {
    const memoryUsedBytes = (32 - (host.freeGib ?? 24)) * 2 ** 30;
    reduce(fleet, {
      kind: 'telemetry',
      atMs: host.atMs ?? nowMs,
      message: message(
        'telemetry',
        telemetryBody({
          node: nodeValues({ cpuRatio: host.cpu, memoryUsedBytes }),
          guests: host.guests ?? [],
        }),
        { node },
      ),
    });
  }
  return [...fleet.nodes.values()];
}

const hot = (sinceMs: number): History => ({
  ...emptyHistory(),
  hotSinceMs: new Map([['home/n1', sinceMs]]),
});

const situation = (
  hosts: Record<string, Host>,
  history: History = hot(0),
  change: Partial<Situation> = {},
): Situation => ({
  cluster,
  nodes: nodesOf(hosts),
  policy: Policy.parse({}),
  history,
  nowMs,
  ...change,
});

const decide = ({ cluster, nodes, policy, history, nowMs }: Situation) =>
  decideOn({ cluster, nodes }, policy, history, nowMs);

const big = guestSample('100', { name: 'web', cpuRatio: 1, cpuCount: 2 });
const small = guestSample('101', { name: 'mail', cpuRatio: 0.5, cpuCount: 1 });

describe('relieve', () => {
  it('moves the smallest guest that ends the heat to the least loaded node, with its numbers', () => {
    const plan = decide(
      situation({
        n1: { cpu: 0.95, guests: [big, small] },
        n2: { cpu: 0.4 },
        n3: { cpu: 0.1 },
      }),
    );
    expect(plan.intents).toHaveLength(1);
    expect(plan.intents[0]).toMatchObject({
      target: { kind: 'guest', id: '100' },
      executor: 'n1',
      action: { kind: 'guest.migrate', args: { targetNode: 'n3' } },
      predicted: [
        { name: 'sourceCpuRatio', value: 0.7 },
        { name: 'targetCpuRatio', value: 0.35 },
      ],
    });
    expect(plan.report.summary).toBe(
      'n1 has had cpu above 0.85 for 400 s (now 0.95): web (2.0 cores, 2.0 GiB) moves to n3, ' +
        'the least loaded that fits (0.10 -> 0.35); n1 falls to 0.70',
    );
  });

  it('gives the same plan for the same inputs, byte for byte', () => {
    const hosts = { n1: { cpu: 0.95, guests: [big, small] }, n2: { cpu: 0.4 }, n3: { cpu: 0.1 } };
    expect(JSON.stringify(decide(situation(hosts)))).toBe(JSON.stringify(decide(situation(hosts))));
  });

  const target = { n2: { cpu: 0.1 } };
  const source = (guests: GuestSample[]) => ({ n1: { cpu: 0.95, guests }, ...target });
  const oneMove = new Map([['home', [{ guest: '7', fromNode: 'n1', toNode: 'n2', atMs: 0 }]]]);
  const twoMoves = new Map([
    [
      'home',
      [
        { guest: '7', fromNode: 'n3', toNode: 'n4', atMs: 0 },
        { guest: '8', fromNode: 'n5', toNode: 'n6', atMs: 0 },
      ],
    ],
  ]);
  it.each<[string, Situation, RegExp, string | null]>([
    [
      'the heat is younger than the for-duration',
      situation(source([big]), hot(300_000)),
      /for only 100 s/,
      '200 s more above',
    ],
    [
      'every guest is bound',
      situation(
        source([
          { ...big, lock: 'backup' },
          { ...small, tags: ['kr_pin_n1'] },
        ]),
      ),
      /web is locked \(backup\); mail is tagged to stay/,
      'free one of its guests to move',
    ],
    [
      'the guest moved a moment ago',
      situation(source([big]), { ...hot(0), lastMovedAtMs: new Map([['home/100', 390_000]]) }),
      /moved 10 s ago, cooldown 1800 s/,
      'free one of its guests to move',
    ],
    [
      'no target has the memory',
      situation({ n1: { cpu: 0.95, guests: [big] }, n2: { cpu: 0.1, freeGib: 1 } }),
      /no guest fits elsewhere: least loaded is n2 \(0\.10, 1\.0 GiB free\)/,
      'more room on n2, or another awake node',
    ],
    [
      'the target would be as hot afterwards',
      situation({ n1: { cpu: 0.95, guests: [big] }, n2: { cpu: 0.7 } }),
      /no guest fits elsewhere/,
      'more room on n2, or another awake node',
    ],
    [
      'it is alone',
      situation({ n1: { cpu: 0.95, guests: [big] } }),
      /no other node is awake/,
      'wake a node',
    ],
    [
      'a move is under way on the node',
      situation(source([big]), { ...hot(0), movesInFlight: oneMove }),
      /a move is under way here/,
      'that move ends',
    ],
    [
      'the cluster already moves as many as it may',
      situation(source([big]), { ...hot(0), movesInFlight: twoMoves }),
      /2 moves under way/,
      'one of them ends',
    ],
    [
      'the only target has not been heard of for a while',
      situation({ n1: { cpu: 0.95, guests: [big] }, n2: { cpu: 0.1, atMs: 300_000 } }),
      /no other node is awake/,
      'wake a node',
    ],
  ])('does nothing when %s, and says what would change that', (_, given, reason, flip) => {
    const plan = decide(given);
    expect(plan.intents).toEqual([]);
    expect(plan.report.nonActions).toHaveLength(1);
    expect(plan.report.nonActions[0]?.reason).toMatch(reason);
    expect(plan.report.nonActions[0]?.flip).toBe(flip);
  });

  it('says what is highest when nothing is hot', () => {
    const plan = decide(situation({ n1: { cpu: 0.5 }, n2: { cpu: 0.6 } }, emptyHistory()));
    expect(plan.report.summary).toBe('no node has cpu above 0.85; highest is n2 (0.60)');
  });

  it('divides durations by the time scale of the cluster', () => {
    const given = situation(source([big]), hot(390_000), {
      cluster: { ...cluster, timeScale: 60 },
    });
    expect(decide(given).intents).toHaveLength(1);
  });

  it('never sends two guests to one node in a round', () => {
    const history = { ...hot(0), hotSinceMs: new Map() as History['hotSinceMs'] };
    history.hotSinceMs.set('home/n1', 0).set('home/n2', 0);
    const plan = decide(
      situation(
        {
          n1: { cpu: 0.95, guests: [big] },
          n2: { cpu: 0.94, guests: [guestSample('200', { cpuRatio: 1 })] },
          n3: { cpu: 0.1 },
          n4: { cpu: 0.2 },
        },
        history,
      ),
    );
    const targets = plan.intents.map(({ action }) =>
      action.kind === 'guest.migrate' ? action.args.targetNode : '',
    );
    expect(targets).toEqual(['n3', 'n4']);
  });
});

describe('the load foretold of a target', () => {
  it('lies a third of the way from what is used now to what its guests are expected to use', () => {
    const history = emptyHistory();
    history.forecasts.set('home', new Map([['100', firstForecast(1, 2, 0)]]));
    const model = modelOf(
      situation({ n1: { cpu: 0.5, guests: [big] }, n2: { cpu: 0.1 } }, history),
    );
    const cores = model.capacity[0]!;
    // It uses two cores and seldom more than one: 1 + 0.3 of the rise is expected.
    const expected = 0.5 + (1.3 - 2) / 3 / cores;
    expect(ratioWith(model, 0, 0)).toBeCloseTo(expected, 9);
    expect(ratioWith(model, 1, 0)).toBeCloseTo(0.1 + (2 + (1.3 - 2) / 3) / cores, 9);
  });
});

describe('emptying', () => {
  const hosts = Object.fromEntries(
    ['n1', 'n2', 'n3', 'n4'].map((node): [string, Host] => [
      node,
      { cpu: 0.02, guests: [guestSample(`of-${node}`, { cpuCount: 1, cpuRatio: 0.1 })] },
    ]),
  );
  const looked = (spareRatio: number) => {
    const policy = Policy.parse({
      save: { mode: 'on', spareRatio },
      limits: { migrationsPerCluster: 1 },
    });
    const { intents, report } = decide(situation(hosts, emptyHistory(), { policy }));
    return [intents.length, report.hasLookedToSave ?? false];
  };

  it('goes on looking in the next round while most stands idle and only moves under way hinder', () => {
    expect(looked(0.4)).toEqual([1, false]);
    expect(looked(1)).toEqual([1, true]);
  });
});

describe('hot spells', () => {
  const follow = (samples: (number | null)[]): number | undefined => {
    const history = emptyHistory();
    samples.forEach((cpu, index) => {
      const atMs = index * 10_000;
      observe(history, { cluster, nodes: nodesOf({ n1: { cpu, atMs } }) }, Policy.parse({}), atMs);
    });
    return history.hotSinceMs.get('home/n1');
  };
  it.each([
    [[0.9, 0.9], 0],
    [[0.5, 0.9], 10_000],
    [[0.9, 0.8, 0.9], 0],
    [[0.9, 0.7, 0.9], 20_000],
    [[0.9, null, 0.9], 20_000],
    [[0.9, 0.7], undefined],
  ])('follows %j and is hot since %s', (samples, since) => {
    expect(follow(samples)).toBe(since);
  });
});

describe('policy', () => {
  it('refuses an unknown key and a band that is upside down, naming the field', () => {
    expect(Policy.safeParse({ relief: {} }).error?.issues[0]).toMatchObject({ keys: ['relief'] });
    const upsideDown = Policy.safeParse({ relieve: { cpuRatio: { above: 0.5, clear: 0.6 } } });
    expect(upsideDown.error?.issues[0]?.path).toEqual(['relieve', 'cpuRatio', 'clear']);
  });
});
