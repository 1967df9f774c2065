import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { FactsChange } from '../../../backend/backtest/reel.ts';
import { Replay, type Setup } from '../../../backend/backtest/replay.ts';
import { shippedPolicy } from '../../../backend/decide/strategies.ts';
import { policyInForce } from '../../../backend/policy-in-force.ts';
import { guestFact, type HouseOf, minuteMs, nodeFact, reelOf, startMs } from './reels.ts';

const house: HouseOf = {
  steps: 600,
  nodes: { n1: 0.05, n2: 0.05 },
  guests: {
    web: { node: 'n1', cores: 2, load: 0.5 },
    mail: { node: 'n2', cores: 1, load: 0.2 },
  },
};
const facts: FactsChange[] = [
  nodeFact('n1'),
  nodeFact('n2'),
  guestFact('web'),
  guestFact('mail', { node: 'n2' }),
];

function run(given: HouseOf, change: Partial<Setup> = {}) {
  const replay = new Replay({
    cluster: { id: 'home', simulated: false, timeScale: 1 },
    policy: shippedPolicy('save-power'),
    facts,
    fromMs: startMs,
    toMs: startMs + given.steps * minuteMs,
    protectedNodes: [],
    pricePerKwh: null,
    ...change,
  });
  replay.play(reelOf(given), '1m');
  return replay.outcome();
}

/** The file from which a source takes a name, as the loader would find it. */
async function sourceOf(path: string, name: string): Promise<string> {
  const text = await readFile(path, 'utf8');
  const [, from] =
    new RegExp(`import \\{[^}]*\\b${name}\\b[^}]*\\} from '([^']+)'`).exec(text) ?? [];
  if (from === undefined) throw new Error(`${path} imports no ${name}`);
  return resolve(dirname(path), from);
}

describe('a backtest', () => {
  it.each(['decide', 'observe', 'record'])('runs the %s of production', async (name) => {
    const root = join(import.meta.dirname, '../../..');
    const load = async (path: string): Promise<unknown> =>
      ((await import(await sourceOf(join(root, path), name))) as Record<string, unknown>)[name];
    expect(await load('backend/backtest/replay.ts')).toBeTypeOf('function');
    expect(await load('backend/backtest/replay.ts')).toBe(await load('backend/round.ts'));
  });

  it('saves what the emptied node no longer draws, less what the load costs elsewhere', () => {
    const { recorded, replayed, savedKwh, actions } = run(house);
    // n1 0.05 + 1/8 busy, n2 0.05 + 0.2/8: (50 + 17.5 + 50 + 7.5) W for ten hours.
    expect(recorded.kwh).toBeCloseTo(1.25, 6);
    expect(actions.map(({ kind, target }) => `${kind} ${target}`)).toEqual([
      'guest.migrate mail',
      'node.shutdown n2',
    ]);
    const off = (actions[1]!.atMs - startMs) / 3_600_000;
    const asleep = 10 - off - 30 / 3_600;
    // Asleep: 3 W instead of 57.5 W; its guest's 2.5 W are drawn by n1 then; 30 s to stop.
    const expected = asleep * (0.0575 - 0.003 - 0.0025);
    expect(Math.abs(savedKwh - expected)).toBeLessThan(0.002);
    expect(replayed).toMatchObject({ moves: 1, sleeps: 1, wakes: 0 });
    expect(replayed.movesPerDay).toBeCloseTo(24 / 10, 6);
  });

  it('judges an empty node by the busiest moment of its minutes, as its guards will', () => {
    const policy = policyInForce(shippedPolicy('save-power'), { simulated: false });
    const sleepsAt = (peak: number) => run({ ...house, peak }, { policy }).replayed.sleeps;
    // n2 by itself uses 5 %; guards let nothing sleep that was at 20 % within 40 minutes.
    expect([sleepsAt(0.1), sleepsAt(0.3)]).toEqual([1, 0]);
  });

  it('holds a node hot from a sample above on, as long as none can have been below', () => {
    const busy = (load: number, peak: number) =>
      run(
        {
          ...house,
          peak,
          guests: {
            mail: { node: 'n2', cores: 1, load: 0.2 },
            shop: { node: 'n1', cores: 4, load },
            web: { node: 'n1', cores: 4, load },
          },
        },
        { policy: shippedPolicy('balance'), facts: [...facts, guestFact('shop')] },
      ).replayed.moves;
    // Its mean is 0.83: up to 0.84 never hot, up to 0.88 hot, and down to 0.72 cool again.
    expect([busy(0.78, 0.01), busy(0.78, 0.05), busy(0.78, 0.11)]).toEqual([0, 1, 0]);
  });

  it('changes nothing under a policy that has no reason to act', () => {
    const { recorded, replayed, savedKwh, actionCount } = run(house, {
      policy: shippedPolicy('balance'),
    });
    expect(actionCount).toBe(0);
    expect(savedKwh).toBeCloseTo(0, 9);
    expect(replayed.nodeHoursAwake).toBeCloseTo(recorded.nodeHoursAwake, 9);
  });

  it('counts the same minutes over threshold where nothing was moved', () => {
    const busy: HouseOf = {
      ...house,
      peak: 0.1,
      guests: {
        ...house.guests,
        web: { node: 'n1', cores: 8, load: (step) => (step < 60 ? 0.8 : 0.2) },
      },
    };
    const pinned = [...facts, guestFact('web', { tags: ['kr_ignore'] })];
    const { recorded, replayed } = run(busy, { policy: shippedPolicy('balance'), facts: pinned });
    expect(recorded.minutesOver).toBe(60);
    expect(replayed.minutesOver).toBe(60);
  });

  it('relieves a hot node and wakes a sleeping one when nothing awake has room', () => {
    const load = (step: number) => (step < 200 ? 0.05 : 0.95);
    const { actions, replayed } = run({
      ...house,
      guests: {
        web: { node: 'n1', cores: 4, load },
        shop: { node: 'n1', cores: 4, load },
        mail: { node: 'n2', cores: 1, load: 0.2 },
      },
    });
    const kinds = actions.map(({ kind, target }) => `${kind} ${target}`);
    expect(kinds.slice(0, 2)).toEqual(['guest.migrate mail', 'node.shutdown n2']);
    expect(kinds).toContain('node.wake n2');
    const woken = actions.findIndex(({ kind }) => kind === 'node.wake');
    const relieved = actions.slice(woken).find(({ kind }) => kind === 'guest.migrate');
    expect(relieved).toMatchObject({ from: 'n1', to: 'n2' });
    // It boots for two minutes before anything can move onto it.
    expect(relieved!.atMs - actions[woken]!.atMs).toBeGreaterThanOrEqual(2 * minuteMs);
    expect(replayed.wakes).toBeGreaterThan(0);
  });

  it('tells the course of its sums, bounded, up to the end', () => {
    const { course, recorded, replayed, actions } = run(house);
    expect(course.length).toBeGreaterThanOrEqual(200);
    expect(course.length).toBeLessThanOrEqual(241);
    for (const [index, point] of course.entries()) {
      expect(point.recordedKwh).toBeGreaterThan(course[index - 1]?.recordedKwh ?? 0);
    }
    expect(course.at(-1)?.recordedKwh).toBe(recorded.kwh);
    expect(course.at(-1)?.replayedKwh).toBe(replayed.kwh);
    expect(course.at(-1)?.moves).toBe(
      actions.filter(({ kind }) => kind === 'guest.migrate').length,
    );
  });

  it('books nothing while nobody told anything, and says how much was recorded', () => {
    const gap = (own: number) => (step: number) => (step >= 300 ? null : own);
    const half = run({
      ...house,
      nodes: { n1: gap(0.05), n2: gap(0.05) },
      guests: {},
    });
    expect(half.coverage).toBeCloseTo(0.5, 6);
    expect(half.recorded.kwh).toBeCloseTo((2 * 55 * 5) / 1_000, 6);
  });

  it('takes watts from the meter where the facts have none, and says whose it guessed', () => {
    const unknown = { wattsIdle: null, wattsLoaded: null };
    const bare = [nodeFact('n1', unknown), nodeFact('n2', unknown)];
    const policy = shippedPolicy('balance');
    const varied = { ...house, nodes: { n1: (step: number) => (step % 60) / 100, n2: 0.05 } };
    const metered = run({ ...varied, watts: (ratio) => 40 + 100 * ratio }, { facts: bare, policy });
    expect(metered.recorded.kwh).toBeCloseTo(metered.recorded.measuredKwh ?? NaN, 3);
    expect(metered.assumptions.join()).toContain('told of n1, n2');
    const guessed = run(varied, { facts: bare, policy });
    expect(guessed.recorded.measuredKwh).toBeNull();
    expect(guessed.assumptions.join()).toContain('guessed for n1, n2');
  });

  it('keeps a node with a locked guest awake, and counts why', () => {
    const locked = [
      guestFact('web', { lock: 'backup' }),
      guestFact('mail', { node: 'n2', lock: 'snapshot' }),
    ];
    const { actionCount, held } = run(house, { facts: [...facts.slice(0, 2), ...locked] });
    expect(actionCount).toBe(0);
    expect(held.map(({ reason }) => reason).join()).toMatch(/locked \(snapshot\)/);
    expect(held[0]?.rounds).toBeGreaterThan(1);
  });

  it('learns of a lock when it came, not before', () => {
    const lockedAt = (atMs: number) => {
      const lock = guestFact('mail', { node: 'n2', lock: 'backup' }, atMs);
      const { actions } = run(house, { facts: [...facts, lock] });
      return actions.filter(({ target }) => target === 'mail').map(({ atMs: at }) => at);
    };
    const atOnce = lockedAt(startMs + 1);
    const later = lockedAt(startMs + 5 * minuteMs);
    expect(atOnce).toEqual([]);
    expect(later).toHaveLength(1);
    expect(later[0]).toBeLessThan(startMs + 5 * minuteMs);
  });

  it('never puts a protected node to sleep', () => {
    const { actions } = run(house, { protectedNodes: ['n1', 'n2'] });
    expect(actions.filter(({ kind }) => kind === 'node.shutdown')).toEqual([]);
  });

  it('follows guests by what they use, wherever they were recorded', () => {
    const moved = {
      ...house,
      guests: {
        ...house.guests,
        mail: { node: (step: number) => (step < 100 ? 'n2' : 'n1'), cores: 1, load: 0.2 },
      },
    };
    const { savedKwh, recorded } = run(moved, { policy: shippedPolicy('balance') });
    // It stays on n2 here; both nodes draw alike, so the house does as well.
    expect(savedKwh).toBeCloseTo(0, 6);
    expect(recorded.kwh).toBeCloseTo(1.25, 6);
  });

  it('prices what it saved', () => {
    const { saved, savedKwh } = run(house, { pricePerKwh: 0.4 });
    expect(saved).toEqual({ amount: savedKwh * 0.4, pricePerKwh: 0.4 });
  });

  it('finds the same twice', () => {
    expect(run(house)).toEqual(run(house));
  });
});
