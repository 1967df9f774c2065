/** `sim:protocol -- --tier full --seeds N --from S`: exit 1 with a replay command per bad seed. */
import { parseArgs } from 'node:util';
import { replayOf, runSeeds, whyNotCounted } from './run.ts';

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const { values } = parseArgs({
  options: {
    tier: { type: 'string', default: 'full' },
    seeds: { type: 'string', default: '10' },
    from: { type: 'string', default: '1' },
  },
});
const range = { from: Number(values.from), seeds: Number(values.seeds) };
const isValid = Number.isInteger(range.from) && Number.isInteger(range.seeds) && range.seeds > 0;
if (values.tier !== 'full' || !isValid) {
  say('--tier: only full exists; --seeds and --from: write whole numbers');
  process.exit(2);
}
const outcomes = await runSeeds(range, ({ seed, violations }) => {
  if (violations.length > 0) {
    say(`seed ${seed}: ${violations.join('; ')}\n  replay: ${replayOf(seed)}`);
  }
});
const sum = (what: 'commands' | 'effects' | 'crashes' | 'duplicates'): number =>
  outcomes.reduce((total, one) => total + one[what], 0);
const bad = outcomes.filter(({ violations }) => violations.length > 0).length;
say(
  `${outcomes.length} seeds, ${sum('commands')} commands, ${sum('effects')} effects, ` +
    `${sum('crashes')} crashes, ${sum('duplicates')} duplicates: ${bad} seeds with violations ` +
    `(95 % upper bound for 0: ${(3 / outcomes.length).toPrecision(2)})`,
);
if (outcomes.length === 1) say(`event log ${outcomes[0]?.hash}`);
// One seed alone is a replay and proves nothing by itself.
const missing = outcomes.length === 1 ? [] : whyNotCounted(outcomes);
for (const line of missing) say(`this run does not count: ${line}`);
if (bad > 0 || missing.length > 0) process.exitCode = 1;
