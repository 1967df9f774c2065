/** Counts what two judges said of a range of seeds; the same range gives the same counts. */
import { compare } from './compare.ts';
import { generate } from './generate.ts';

export type Classes = Record<string, { count: number; firstSeed: number }>;

export type Tally = {
  proposals: number;
  allowed: number;
  allowedBySecond: number;
  allowedShare: number;
  /** By kind of command: how many were proposed, how many allowed by the product. */
  kinds: Record<string, [proposed: number, allowed: number]>;
  dangerous: Classes;
  careful: Classes;
  /** Passed by one of the two evaluations alone; the other one may have stopped it. */
  layers: Classes;
};

const empty = (): Tally => ({
  proposals: 0,
  allowed: 0,
  allowedBySecond: 0,
  allowedShare: 0,
  kinds: {},
  dangerous: {},
  careful: {},
  layers: {},
});

/** Numbers and names in a reason are the case's, not the class's. */
const classOf = (text: string): string => text.replaceAll(/\b(n\d+|\d+)\b/g, '#');

function note(classes: Classes, texts: readonly string[], seed: number): void {
  for (const name of new Set(texts.map(classOf))) {
    const known = classes[name];
    if (known) known.count += 1;
    else classes[name] = { count: 1, firstSeed: seed };
  }
}

export function tallyOf(from: number, count: number): Tally {
  const tally = empty();
  for (let seed = from; seed < from + count; seed += 1) {
    const question = generate(seed);
    const found = compare(question);
    const kind = (tally.kinds[question.proposal.action.kind] ??= [0, 0]);
    tally.proposals += 1;
    kind[0] += 1;
    if (found.isAllowed) {
      tally.allowed += 1;
      kind[1] += 1;
    }
    if (found.isAllowedBySecond) tally.allowedBySecond += 1;
    note(tally.dangerous, found.dangerous, seed);
    note(tally.careful, found.careful, seed);
    note(tally.layers, found.layers, seed);
  }
  tally.allowedShare = tally.allowed / Math.max(1, tally.proposals);
  return tally;
}

function mergeClasses(into: Classes, from: Classes): void {
  for (const [name, { count, firstSeed }] of Object.entries(from)) {
    const known = into[name];
    if (!known) into[name] = { count, firstSeed };
    else {
      known.count += count;
      known.firstSeed = Math.min(known.firstSeed, firstSeed);
    }
  }
}

export function merged(tallies: readonly Tally[]): Tally {
  const all = empty();
  for (const tally of tallies) {
    all.proposals += tally.proposals;
    all.allowed += tally.allowed;
    all.allowedBySecond += tally.allowedBySecond;
    for (const [kind, [proposed, allowed]] of Object.entries(tally.kinds)) {
      const known = (all.kinds[kind] ??= [0, 0]);
      known[0] += proposed;
      known[1] += allowed;
    }
    mergeClasses(all.dangerous, tally.dangerous);
    mergeClasses(all.careful, tally.careful);
    mergeClasses(all.layers, tally.layers);
  }
  all.allowedShare = all.allowed / Math.max(1, all.proposals);
  return all;
}
