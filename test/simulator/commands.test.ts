import { describe, expect, it } from 'vitest';
import type { Action, CommandKind, CommandState } from '../../broker/contract/command.ts';
import { commandArgs } from '../../broker/contract/command.ts';
import { type Api, ApiError, type CommandAnswer, type Wish } from '../../simulator/api.ts';
import { type CommandRun, runCommands } from '../../simulator/commands.ts';
import { compare } from '../../simulator/ground-truth.ts';
import { liveWorld } from '../../simulator/live-world.ts';
import { seededRandom } from '../../simulator/prng.ts';
import { begin } from '../../simulator/world/advance.ts';
import { buildFleetWorld } from '../../simulator/world/build.ts';
import type { Task } from '../../simulator/world/model.ts';
import { virtualClock, idsOf } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';

/** A server that grants every wish at once: what it says of a command is what its task became. */
function obedientServer(options: { outages?: number; stuck?: CommandKind } = {}) {
  const clock = virtualClock();
  const world = buildFleetWorld({
    seed: 42,
    startMs: clock.wallMs(),
    timeScale: 60,
    nodes: 6,
    nodesPerCluster: 3,
    guestsPerNode: 4,
    clusterPrefix: 'sim',
  });
  const live = liveWorld(world, clock);
  const newId = idsOf(clock, seededRandom(5));
  const byKey = new Map<string, { id: string; wish: Wish; task: Task; atMs: number }>();
  const submissions: Wish[] = [];
  let outagesLeft = options.outages ?? 0;

  const answer = async <T>(value: () => T): Promise<T> => {
    if (outagesLeft > 0) {
      outagesLeft -= 1;
      throw new ApiError('KR_UNREACHABLE', 0, 'away');
    }
    return live.change(value);
  };
  const stateOf = ({ wish, task }: { wish: Wish; task: Task }): CommandState => {
    if (wish.kind === options.stuck) return 'INDETERMINATE';
    if (task.outcome === null) return 'RUNNING';
    return task.outcome === 'ok' ? 'SUCCEEDED' : 'FAILED';
  };
  const at = (ms: number): string => new Date(ms).toISOString();
  const api = {
    submit: (wish: Wish, key: string) =>
      answer(() => {
        submissions.push(wish);
        const known = byKey.get(key);
        if (known) return { id: known.id, state: stateOf(known) };
        const kind = wish.kind as CommandKind;
        const action = { kind, args: commandArgs[kind].parse(wish.args) } as Action;
        const id = newId();
        const target = wish.guest
          ? { kind: 'guest' as const, id: wish.guest }
          : { kind: 'node' as const, id: wish.node };
        const { cluster, node } = wish;
        const executor = kind === 'node.wake' ? 'n0001' : node;
        const request = { cluster, node: executor, target, commandId: id, action };
        const inCluster = cluster === 'sim-002' && kind === 'node.wake' ? 'n0004' : executor;
        const task = begin(world, live.nowMs(), { ...request, node: inCluster });
        byKey.set(key, { id, wish, task, atMs: clock.wallMs() });
        return { id, state: 'OFFERED' as const };
      }),
    command: (id: string) =>
      answer((): CommandAnswer => {
        const entry = [...byKey.values()].find((one) => one.id === id);
        if (entry === undefined) throw new ApiError('KR_REFUSED', 404, 'no such command');
        const history = [
          { state: 'OFFERED' as const, at: at(entry.atMs) },
          { state: 'RUNNING' as const, at: at(entry.atMs + 25) },
        ];
        const state = stateOf(entry);
        return { id, kind: entry.wish.kind, state, stateReason: entry.task.outcome, history };
      }),
    guests: (cluster: string) =>
      answer(() =>
        [...world.guests.values()]
          .filter(({ spec }) => spec.cluster === cluster)
          .map(({ spec, node, state, lock, cpuCount }) => {
            return { id: spec.id, node: node.spec.node, state, lock, cpuCount };
          }),
      ),
    nodes: (cluster: string) =>
      answer(() =>
        (world.clusters.get(cluster)?.nodes ?? []).map(({ spec, power }) => ({
          id: spec.node,
          state: power === 'on' ? 'awake' : 'asleep',
          online: power === 'on',
        })),
      ),
  };
  const log = memoryLog();
  const run = (count: number): CommandRun => ({
    api: api as unknown as Api,
    clusters: [...world.clusters.values()].map(({ id, nodes }) => ({
      id,
      nodes: nodes.map(({ spec }) => spec.node),
    })),
    count,
    clock,
    newId,
    log,
    sampledWithinMs: 6_000,
    isStopped: () => false,
  });
  return { clock, world, run, submissions, byKey, log };
}

/** Moves the clock on until the work has ended, within a day of its time. */
async function finish<T>(clock: ReturnType<typeof virtualClock>, work: Promise<T>): Promise<T> {
  const progress = { isOver: false };
  const ended = work.finally(() => {
    progress.isOver = true;
  });
  for (let step = 0; step < 86_400 && !progress.isOver; step += 1) await clock.advance(1_000);
  return ended;
}

describe('sending commands of every kind', () => {
  it('sends exactly as many as asked, over every kind, and follows each to its end', async () => {
    const server = obedientServer();
    const { followed, refused } = await finish(server.clock, runCommands(server.run(150)));
    expect(followed).toHaveLength(150);
    expect(refused).toBe(0);
    expect(new Set(followed.map(({ kind }) => kind))).toEqual(
      new Set([
        'guest.migrate',
        'guest.stop',
        'node.shutdown',
        'node.wake',
        'guest.start',
        'guest.restart',
        'guest.scale',
      ]),
    );
    expect(followed.filter(({ state }) => state !== 'SUCCEEDED')).toEqual([]);
    expect(followed.every(({ offerToStartedMs }) => offerToStartedMs === 25)).toBe(true);
    expect(compare(followed, server.world.log)).toEqual({
      violations: [],
      notTerminal: 0,
      indeterminate: 0,
    });
  });

  it('ends with its last command, whatever a node still has to be emptied of', async () => {
    const { clock, run } = obedientServer();
    const startMs = clock.monotonicMs();
    await finish(clock, runCommands(run(3)));
    expect(clock.monotonicMs() - startMs).toBeLessThan(30_000);
  });

  it('asks again with the same key while the server is away, and acts once', async () => {
    const server = obedientServer({ outages: 40 });
    const { followed } = await finish(server.clock, runCommands(server.run(30)));
    expect(followed).toHaveLength(30);
    expect(server.byKey.size).toBe(30);
    expect(compare(followed, server.world.log).violations).toEqual([]);
  });

  it('does not wait for ever for a command that stays INDETERMINATE', async () => {
    const server = obedientServer({ stuck: 'guest.migrate' });
    const { followed } = await finish(server.clock, runCommands(server.run(20)));
    expect(followed).toHaveLength(20);
    expect(compare(followed, server.world.log).indeterminate).toBeGreaterThan(0);
  });

  it('gives up on a server that does not come back', async () => {
    const server = obedientServer({ outages: Infinity });
    const work = runCommands(server.run(5)).catch((error: unknown) => error);
    expect(await finish(server.clock, work)).toMatchObject({ code: 'KR_UNREACHABLE' });
  });

  it('counts what is refused at the door, and goes on', async () => {
    const server = obedientServer();
    const run = server.run(12);
    const { submit } = run.api;
    let calls = 0;
    run.api.submit = async (wish, key) => {
      calls += 1;
      if (calls <= 3) throw new ApiError('KR_REFUSED', 409, 'KR_HOLD');
      return submit(wish, key);
    };
    const { followed, refused } = await finish(server.clock, runCommands(run));
    expect([followed.length, refused]).toEqual([12, 3]);
    expect(server.log.lines.filter(({ level }) => level === 'warn')).toHaveLength(3);
  });

  it('ends in a cluster where everything is refused', async () => {
    const server = obedientServer();
    const run = server.run(12);
    run.api.submit = () => Promise.reject(new ApiError('KR_REFUSED', 409, 'KR_HOLD'));
    const { followed, refused } = await finish(server.clock, runCommands(run));
    expect(followed).toEqual([]);
    expect(refused).toBeGreaterThan(0);
    expect(server.world.log).toEqual([]);
  });

  it('asks for nothing in a cluster of one, where nobody could wake the node', async () => {
    const server = obedientServer();
    const run = { ...server.run(10), clusters: [{ id: 'sim-001', nodes: ['n0001'] }] };
    expect(await finish(server.clock, runCommands(run))).toEqual({
      followed: [],
      refused: 0,
      skipped: 0,
    });
  });
});
