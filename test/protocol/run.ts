/** Runs seeds one after another and says what a run must have contained to count as evidence. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSigner } from '../../backend/act/signer.ts';
import { idsOf, seededRandom } from '../support/clock.ts';
import { heapClock } from './heap-clock.ts';
import { type Outcome, simulate } from './simulation.ts';

export const replayOf = (seed: number): string =>
  `node test/protocol/main.ts --tier full --seeds 1 --from ${seed}`;

export async function runSeeds(
  range: { from: number; seeds: number },
  onOutcome: (outcome: Outcome) => void = () => undefined,
): Promise<Outcome[]> {
  const folder = await mkdtemp(join(tmpdir(), 'kr-sim-'));
  const outcomes: Outcome[] = [];
  try {
    const random = seededRandom(1);
    const signer = await openSigner({ folder, random, newId: idsOf(heapClock(), random) });
    for (let seed = range.from; seed < range.from + range.seeds; seed += 1) {
      const outcome = await simulate(seed, signer);
      outcomes.push(outcome);
      onOutcome(outcome);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  return outcomes;
}

/** A run in which too little happened proves nothing: the reasons, or none. */
export function whyNotCounted(outcomes: readonly Outcome[]): string[] {
  const needs = { commands: 2, crashes: 1, duplicates: 1 };
  return (Object.keys(needs) as (keyof typeof needs)[]).flatMap((what) => {
    const mean = outcomes.reduce((sum, one) => sum + one[what], 0) / outcomes.length;
    return mean >= needs[what] ? [] : [`${what} per seed: ${mean}, needed ${needs[what]}`];
  });
}
