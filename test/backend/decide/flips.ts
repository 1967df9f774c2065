/** Makes the change that each refusal of given clusters names, and counts what came of it. */
import { decide } from '../../../backend/decide/decide.ts';
import { changed } from '../../../backend/decide/change.ts';
import { isFlipped, smallestFlip } from '../../../backend/decide/flip.ts';
import type { Situation } from '../../../backend/decide/model.ts';
import { cluster, nowMs, type Scene } from './scenes.ts';

export type Flips = {
  refusals: number;
  named: number;
  flipped: number;
  byRule: Map<string, number[]>;
};

export function flipsOf(scenes: readonly Scene[]): Flips {
  const counted: Flips = { refusals: 0, named: 0, flipped: 0, byRule: new Map() };
  for (const scene of scenes) {
    const situation: Situation = { cluster, ...scene, nowMs };
    const plan = decide(situation, scene.policy, scene.history, nowMs);
    for (const refusal of plan.report.nonActions) {
      counted.refusals += 1;
      const ofRule = counted.byRule.get(refusal.rule) ?? [0, 0];
      counted.byRule.set(refusal.rule, ofRule);
      ofRule[0]! += 1;
      const changes = smallestFlip(refusal, situation);
      if (changes === null) continue;
      counted.named += 1;
      ofRule[1]! += 1;
      const after = changes.reduce(changed, situation);
      const again = decide(after, after.policy, after.history, after.nowMs);
      if (isFlipped(refusal, again)) counted.flipped += 1;
    }
  }
  return counted;
}
