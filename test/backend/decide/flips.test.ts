import { assert, property, sample } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { changed, flipText } from '../../../backend/decide/change.ts';
import { isFlipped, smallestFlip } from '../../../backend/decide/flip.ts';
import { decide } from '../../../backend/decide/decide.ts';
import type { Situation } from '../../../backend/decide/model.ts';
import { flipsOf } from './flips.ts';
import { sceneOf } from './golden.ts';
import { cluster, nowMs, type Scene, scenes } from './scenes.ts';

const situationOf = (scene: Scene): Situation => ({ cluster, ...scene, nowMs });

describe('the named change', () => {
  it('flips the refusal of random clusters when it is made', () => {
    const { refusals, named, flipped, byRule } = flipsOf(
      sample(scenes, { seed: 11, numRuns: 150 }),
    );
    expect(refusals).toBeGreaterThan(100);
    expect(flipped / named).toBeGreaterThanOrEqual(0.99);
    const [ofRelief = 0, namedOfRelief = 0] = byRule.get('relieve.cpuRatio') ?? [];
    expect(namedOfRelief / ofRelief).toBeGreaterThan(0.75);
  });

  it('changes nothing that it was given', () => {
    assert(
      property(scenes, (scene) => {
        const before = JSON.stringify(scene.nodes);
        const plan = decide({ cluster, nodes: scene.nodes }, scene.policy, scene.history, nowMs);
        const [refusal] = plan.report.nonActions;
        if (refusal) smallestFlip(refusal, situationOf(scene));
        expect(JSON.stringify(scene.nodes)).toBe(before);
      }),
      { seed: 12, numRuns: 40 },
    );
  });

  const goldenNowMs = 10_000_000;
  const flipsFor = (text: string): string[] => {
    const { nodes, policy, history } = sceneOf(text.trim().split('\n'));
    const situation = { cluster, nodes, policy, history, nowMs: goldenNowMs };
    const plan = decide({ cluster, nodes }, policy, history, goldenNowMs);
    return plan.report.nonActions.map((refusal) => {
      const changes = smallestFlip(refusal, situation);
      if (changes === null) return `${refusal.subject.id}: nothing known`;
      const after = changes.reduce(changed, situation);
      const again = decide(after, after.policy, after.history, after.nowMs);
      expect(isFlipped(refusal, again)).toBe(true);
      return `${refusal.subject.id}: ${flipText(changes)}`;
    });
  };

  it('is the rest of a wait', () => {
    expect(
      flipsFor(`
n1 8c 32G cpu 95% mem 8G hot 100s
  web 2c 100% 2G
n2 8c 32G cpu 5% mem 2G`),
    ).toEqual(['n1: 200 s more like this']);
  });

  it('is the one guest that is locked', () => {
    expect(
      flipsFor(`
n1 8c 32G cpu 95% mem 8G hot 400s
  web 2c 100% 2G locked backup
n2 8c 32G cpu 5% mem 2G`),
    ).toEqual(['n1: web free to move']);
  });

  it('is how much less memory another node would use', () => {
    const [flip] = flipsFor(`
n1 8c 32G cpu 95% mem 8G hot 400s
  web 2c 100% 8G
n2 8c 32G cpu 5% mem 28G`);
    const megabytes = Number(/(\d+) MB less/.exec(flip ?? '')?.[1]);
    // 8 GB must fit where 4 are free and a tenth of 32 stays so: 7.2 GB, found by six halvings.
    expect(megabytes).toBeGreaterThanOrEqual(7.2 * 1024);
    expect(megabytes).toBeLessThan((7.2 + 28 / 64) * 1024);
  });

  it('is how much less the guests of a node would use, where it could be emptied then', () => {
    const flips = flipsFor(`
policy {save: {mode: on}}
n1 8c 32G speed 1 cpu 25% mem 4G
  web 2c 100% 2G
n2 8c 32G speed 0.5 cpu 10% mem 4G
  db 2c 40% 2G tag kr_pin_n2`);
    const flip = flips.find((one) => one.startsWith('n1'));
    // Two slow cores give half of two fast ones; found by six halvings.
    const cores = Number(/the guests of n1 using ([\d.]+) cores/.exec(flip ?? '')?.[1]);
    expect(cores).toBeGreaterThanOrEqual(1);
    expect(cores).toBeLessThan(1.2);
  });

  it('is a wait and a lock where one alone is not enough', () => {
    expect(
      flipsFor(`
n1 8c 32G cpu 95% mem 8G hot 100s
  web 2c 100% 2G locked backup
n2 8c 32G cpu 5% mem 2G`),
    ).toEqual(['n1: 200 s more like this, and web free to move']);
  });
});
