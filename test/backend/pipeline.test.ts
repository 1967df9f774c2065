import { describe, expect, it } from 'vitest';
import { type Dispatched, dispatch } from '../../backend/act/dispatch.ts';
import { emptyHistory } from '../../backend/decide/history.ts';
import type { Intent, Plan } from '../../backend/decide/plan.ts';
import { createPipeline } from '../../backend/pipeline.ts';
import { createRound, type Decision, defaultPolicy } from '../../backend/round.ts';
import { type ClusterRecord, emptyFleet, type Fleet } from '../../backend/state/fleet.ts';
import type { NodeAdministration, StateInput } from '../../backend/state/inputs.ts';
import { reduce } from '../../backend/state/reduce.ts';
import { idsOf, seededRandom, virtualClock } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { guestSample, message, nodeValues, telemetryBody } from '../support/messages.ts';
import { homeCluster } from '../support/records.ts';

const cluster = (change: Partial<ClusterRecord> = {}) =>
  homeCluster({ simulated: true, ...change });

const node = (name: string): NodeAdministration => ({
  cluster: 'home',
  node: name,
  desired: 'awake',
  maintenance: false,
  protected: false,
  activeKind: null,
});

const sample = (
  name: string,
  seq: number,
  cpuRatio: number,
  guests: string[] = [],
): StateInput => ({
  kind: 'telemetry',
  atMs: 0,
  message: message(
    'telemetry',
    telemetryBody({
      sampledAtMs: 1_800_000_000_000,
      node: nodeValues({ cpuRatio }),
      guests: guests.map((id) => guestSample(id, { cpuRatio: 1, cpuCount: 2 })),
    }),
    { node: name, seq },
  ),
});

describe('the pipeline', () => {
  function setUp(administration: () => Promise<StateInput & { kind: 'administration' }>) {
    const clock = virtualClock();
    const fleet = emptyFleet();
    const waiting: StateInput[] = [];
    let arrived = (): void => undefined;
    const log: string[] = [];
    const saved: number[] = [];
    const pipeline = createPipeline({
      fleet,
      ingest: {
        drain: () => waiting.splice(0),
        onArrival: (listener) => void (arrived = listener),
      },
      administration,
      saveFacts: async (changes) => void saved.push(changes.length),
      remember: async (clusters) => void log.push(`remember ${clusters.join()}`),
      round: async ({ id }) => void log.push(`round ${id}`),
      leads: (id) => id !== 'elsewhere',
      onFolded: (latencyMs) => void log.push(`folded after ${latencyMs} ms`),
      clock,
      log: memoryLog(),
    });
    const arrive = (input: StateInput) => {
      waiting.push(input);
      arrived();
    };
    return { clock, fleet, pipeline, log, saved, arrive };
  }

  it('folds an arrival within 40 ms, and decides every 10 s only where it leads', async () => {
    const { clock, fleet, pipeline, log, saved, arrive } = setUp(async () => ({
      kind: 'administration',
      clusters: [cluster(), cluster({ id: 'elsewhere' }), cluster({ id: 'held', hold: true })],
      nodes: [node('n1')],
    }));
    pipeline.start();
    await clock.advance(1);
    log.length = 0;
    arrive(sample('n1', 1, 0.3, ['100']));
    arrive(sample('n1', 2, 0.4, ['100']));
    await clock.advance(50);
    expect(fleet.nodes.get('home/n1')?.values?.cpuRatio).toBe(0.4);
    expect(log).toEqual(['folded after 41 ms', 'folded after 41 ms']);
    log.length = 0;
    await clock.advance(20_000);
    const round = ['remember home', 'round home'];
    expect(log).toEqual([...round, ...round]);
    expect(saved).toEqual([1]);
    await pipeline.stop();
    expect(clock.pending()).toBe(0);
  });

  it('keeps folding while SQL is away, and recovers by itself', async () => {
    let isDown = true;
    const { clock, fleet, pipeline, arrive } = setUp(async () => {
      if (isDown) throw new Error('away');
      return { kind: 'administration', clusters: [cluster()], nodes: [node('n1')] };
    });
    pipeline.start();
    await clock.advance(3_000);
    arrive(sample('n1', 1, 0.3));
    await clock.advance(100);
    expect(fleet.nodes.get('home/n1')?.values?.cpuRatio).toBe(0.3);
    expect(fleet.clusters.size).toBe(0);
    isDown = false;
    await clock.advance(2_000);
    expect(fleet.clusters.has('home')).toBe(true);
    await pipeline.stop();
  });
});

const hotFleet = (autonomy: ClusterRecord['autonomy']): Fleet => {
  const fleet = emptyFleet();
  reduce(fleet, {
    kind: 'administration',
    clusters: [cluster({ autonomy })],
    nodes: [node('n1'), node('n2')],
  });
  reduce(fleet, sample('n1', 1, 0.95, ['100']));
  reduce(fleet, sample('n2', 1, 0.1));
  return fleet;
};

describe('a round', () => {
  function setUp(autonomy: ClusterRecord['autonomy'], submitted: object[] = []) {
    const clock = virtualClock();
    const fleet = hotFleet(autonomy);
    const kept: Decision[] = [];
    const audit: string[] = [];
    const told: string[] = [];
    const history = emptyHistory();
    history.hotSinceMs.set('home/n1', -400_000);
    const round = createRound({
      fleet,
      history,
      policyOf: () => defaultPolicy,
      epochOf: () => 3,
      dispatch: (plan, decisionId) =>
        dispatch(plan, decisionId, {
          fleet,
          nowMs: clock.monotonicMs(),
          submit: async (submission) => {
            submitted.push(submission);
            return { ok: true, id: 'c1', state: submission.approved ? 'QUEUED' : 'PLANNED' };
          },
          rehearse: async () => ({ ok: true, denial: null }),
        }),
      openAudit: async () => audit.push('opened'),
      closeAudit: async (decision) => {
        audit.push(`closed ${decision.outcome}`);
        kept.push(decision);
      },
      onMaintenance: async () => undefined,
      onDecision: () => undefined,
      onOscillation: (id) => void told.push(`oscillation ${id}`),
      onRefusal: (id, rule) => void told.push(`${rule} ${id}`),
      clock,
      newId: idsOf(clock, seededRandom(1)),
    });
    const run = () => round(fleet.clusters.get('home') ?? cluster(), clock.monotonicMs());
    return { clock, run, kept, audit, submitted, history, fleet, told };
  }

  it.each([
    ['auto', 'acted', 1],
    ['approve', 'awaiting-approval', 1],
    ['recommend', 'recommended', 0],
    ['observe', 'recommended', 0],
  ] as const)('in autonomy %s ends %s with %d commands', async (level, outcome, commands) => {
    const { run, kept, audit, submitted } = setUp({ 'guest.migrate': level });
    await run();
    expect(kept.map((decision) => decision.outcome)).toEqual([outcome]);
    expect(submitted).toHaveLength(commands);
    expect(audit).toEqual(['opened', `closed ${outcome}`]);
    expect(kept[0]?.summary).toContain('n1 has had cpu above 0.85');
    expect(kept[0]).toMatchObject({ epoch: 3, intents: 1 });
  });

  it('observes by default', async () => {
    const { run, submitted } = setUp({});
    await run();
    expect(submitted).toEqual([]);
  });

  it('keeps an unchanged recommendation once in five minutes', async () => {
    const { run, kept, clock } = setUp({ default: 'recommend' });
    for (let round = 0; round < 3; round += 1) {
      await run();
      await clock.advance(10_000);
    }
    expect(kept).toHaveLength(1);
  });

  it('keeps why a node that only just became hot is left alone', async () => {
    const { run, kept, history } = setUp({});
    history.hotSinceMs.clear();
    await run();
    expect(kept.map(({ outcome, intents }) => [outcome, intents])).toEqual([['nothing', 0]]);
    expect(JSON.parse(kept[0]?.report ?? '{}')).toMatchObject({
      nonActions: [{ subject: { id: 'n1' }, flip: '300 s more above' }],
    });
  });

  it('stops when it moved a guest to and fro, and tells once of it and of each refusal', async () => {
    const { run, kept, history, told, submitted, clock } = setUp({ default: 'auto' });
    const way = (fromNode: string, toNode: string, atMs: number) => {
      return { guest: '100', fromNode, toNode, atMs };
    };
    const moves = [-4, -3, -2, -1].map((minutes, at) =>
      at % 2 === 0 ? way('n1', 'n2', minutes * 60_000) : way('n2', 'n1', minutes * 60_000),
    );
    history.moves.set('home', moves);
    for (let round = 0; round < 3; round += 1) {
      await run();
      await clock.advance(10_000);
    }
    expect(submitted).toEqual([]);
    expect(kept[0]?.summary).toContain('the engine moved 100 back 3 times and has stopped itself');
    expect(told).toEqual(['oscillation home', 'relieve.cpuRatio home']);
  });

  it('keeps nothing when nothing is hot', async () => {
    const { run, kept, audit, fleet } = setUp({});
    reduce(fleet, sample('n1', 2, 0.3, ['100']));
    await run();
    expect([kept, audit]).toEqual([[], []]);
  });
});

describe('dispatch', () => {
  const intent: Intent = {
    cluster: 'home',
    target: { kind: 'guest', id: '100' },
    executor: 'n1',
    action: {
      kind: 'guest.migrate',
      args: { targetNode: 'n2', online: true, withLocalDisks: false },
    },
    rule: 'relieve.cpuRatio',
    reason: 'because',
    facts: [],
    alternatives: [],
    predicted: [],
    margin: { name: 'cpuRatio', value: 0.5 },
  };
  const plan: Plan = {
    cluster: 'home',
    intents: [intent],
    report: { summary: '', nonActions: [] },
  };
  const outcomeIn = async (
    change: (fleet: Fleet) => void,
    level: 'observe' | 'recommend' | 'approve' | 'auto' = 'auto',
  ): Promise<Dispatched | undefined> => {
    const fleet = hotFleet({ default: level });
    change(fleet);
    const submit = async () => ({ ok: true as const, id: 'c1', state: 'QUEUED' as const });
    const rehearse = async () => ({ ok: true as const, denial: { code: 'KR_NO_ROOM' } });
    return (await dispatch(plan, 'd1', { fleet, submit, rehearse, nowMs: 1 }))[0];
  };

  it('only keeps what it observes, and shows what it recommends with the word of the guards', async () => {
    expect(await outcomeIn(() => undefined, 'observe')).toEqual({ intent, outcome: 'shown' });
    expect(await outcomeIn(() => undefined, 'recommend')).toEqual({
      intent,
      outcome: 'shown',
      deniedBy: 'KR_NO_ROOM',
    });
    expect(await outcomeIn(() => undefined, 'approve')).toMatchObject({ outcome: 'submitted' });
  });

  it('submits what still fits the world', async () => {
    expect(await outcomeIn(() => undefined)).toMatchObject({ outcome: 'submitted' });
  });

  it.each<[string, (fleet: Fleet) => void, RegExp]>([
    [
      'the target fell silent',
      (fleet) => Object.assign(fleet.nodes.get('home/n2') ?? {}, { sampleAtMs: -60_000 }),
      /n2 is stale/,
    ],
    [
      'the target is shutting down',
      (fleet) => Object.assign(fleet.nodes.get('home/n2') ?? {}, { activeKind: 'node.shutdown' }),
      /n2 is draining/,
    ],
    [
      'somebody moved the guest meanwhile',
      (fleet) => reduce(fleet, sample('n2', 2, 0.2, ['100'])),
      /100 is on n2/,
    ],
  ])('drops an intent when %s', async (_, change, because) => {
    const result = await outcomeIn(change);
    expect(result?.outcome).toBe('dropped');
    expect(result?.outcome === 'dropped' ? result.because : '').toMatch(because);
  });
});
