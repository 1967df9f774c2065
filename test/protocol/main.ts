/**
 * The simulation as a command; its last line is one JSON object with the figures.
 *
 *   npm run sim:protocol -- --tier core|full --seeds N --from S [--jobs 2] [--until-violation]
 *   npm run sim:protocol -- --tier core|full --replay S
 *
 * Exit 0: no violation, and enough happened for that to count. Exit 1 otherwise, 2 for wrong words.
 */
import { parseArgs } from 'node:util';
import type { Tier } from './house.ts';
import { type Figures, type Range, replayOf, runSeeds, whyNotCounted } from './run.ts';
import { type Outcome, simulate } from './simulation.ts';
import { openWorkshop } from './workshop.ts';

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const { values } = parseArgs({
  options: {
    tier: { type: 'string', default: 'full' },
    seeds: { type: 'string', default: '10' },
    from: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '2' },
    replay: { type: 'string' },
    'until-violation': { type: 'boolean', default: false },
  },
});

function fail(hint: string): never {
  say(hint);
  process.exit(2);
}

function numberOf(name: 'seeds' | 'from' | 'jobs' | 'replay', least: number): number {
  const value = Number(values[name]);
  if (Number.isInteger(value) && value >= least) return value;
  return fail(`--${name} ${values[name]}: write a whole number from ${least}`);
}

const tier: Tier =
  values.tier === 'core' || values.tier === 'full'
    ? values.tier
    : fail(`--tier ${values.tier}: write core or full`);

function show({ seed, violations }: Outcome): void {
  say(`seed ${seed} is violated:`);
  for (const violation of violations) say(`  ${violation}`);
  say(`  replay: ${replayOf({ tier, seed })}`);
}

async function replay(seed: number): Promise<void> {
  const outcome = await simulate(seed, await openWorkshop(tier), 'lines');
  for (const line of outcome.lines ?? []) process.stdout.write(line);
  if (outcome.violations.length > 0) show(outcome);
  const { hash, counts, violations } = outcome;
  say(JSON.stringify({ tier, seed, hash, violations: violations.length, ...counts }));
  if (violations.length > 0) process.exitCode = 1;
}

const rounded = (value: number): number => Number(value.toPrecision(3));

function summary(figures: Figures): object {
  const { simulatedMs, seconds, seeds, ...rest } = figures;
  return {
    ...rest,
    seeds,
    simulatedHours: rounded(simulatedMs / 3_600_000),
    seconds: rounded(seconds),
    seedsPerSecond: rounded(seeds / seconds),
    upperBound: figures.violations === 0 ? rounded(3 / seeds) : null,
  };
}

async function run(range: Range): Promise<void> {
  let toldMs = performance.now();
  let seen = 0;
  let bad = 0;
  const onOutcome = (outcome: Outcome): void => {
    seen += 1;
    if (outcome.violations.length > 0) {
      bad += 1;
      show(outcome);
    }
    if (performance.now() - toldMs < 5_000) return;
    toldMs = performance.now();
    say(`${seen} of ${range.seeds} seeds, ${bad} violated`);
  };
  const untilViolation = values['until-violation'];
  const figures = await runSeeds({ ...range, untilViolation, onOutcome });
  const missing = whyNotCounted(figures);
  for (const line of missing) say(`this run does not count: ${line}`);
  if (figures.violations > 0 || missing.length > 0) process.exitCode = 1;
  say(JSON.stringify(summary(figures)));
}

await (values.replay === undefined
  ? run({ tier, seeds: numberOf('seeds', 1), from: numberOf('from', 1), jobs: numberOf('jobs', 1) })
  : replay(numberOf('replay', 1)));
