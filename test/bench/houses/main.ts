/**
 * What backtests of generated small houses foretell, beside what then happens in the simulated
 * world under the guards. A line per house; the last line is one JSON object.
 *
 *   node test/bench/houses/main.ts [houses 20] [days 30] [round seconds 20] [first seed 1]
 */
import { type Compared, compareHouse } from './compare.ts';

const [houses = 20, days = 30, roundSeconds = 20, first = 1] = process.argv.slice(2).map(Number);
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const percent = (ratio: number): string => `${(100 * ratio).toFixed(1)} %`;

const off = (foretold: number, came: number): number =>
  came === 0 ? (foretold === 0 ? 0 : Infinity) : foretold / came - 1;
/** Of the saving that the guards permit, what was reached; 1 where they permit none. */
const reached = ({ alwaysOnKwh, livedKwh, permittedKwh }: Compared): number =>
  alwaysOnKwh - permittedKwh < 1e-6 ? 1 : (alwaysOnKwh - livedKwh) / (alwaysOnKwh - permittedKwh);

say(
  '| house | nodes, votes | kWh always on | foretold | came | off | least permitted | reached | ' +
    'moves foretold | came | off | sleeps | minutes over |',
);
say(`|${' --- |'.repeat(13)}`);
const all: Compared[] = [];
for (let seed = first; seed < first + houses; seed += 1) {
  const one = await compareHouse(seed, { days, roundMs: roundSeconds * 1_000 });
  all.push(one);
  const votes = one.votes ? (one.qdevice ? 'votes, QDevice' : 'votes') : 'alone';
  say(
    `| ${seed} | ${one.nodes}, ${votes} | ${one.alwaysOnKwh.toFixed(1)} | ` +
      `${one.foretoldKwh.toFixed(1)} | ${one.livedKwh.toFixed(1)} | ` +
      `${percent(off(one.foretoldKwh, one.livedKwh))} | ${one.permittedKwh.toFixed(1)} | ` +
      `${percent(reached(one))} | ${one.foretoldMoves} | ${one.livedMoves} | ` +
      `${percent(off(one.foretoldMoves, one.livedMoves))} | ` +
      `${one.foretoldSleeps} / ${one.livedSleeps} | ` +
      `${one.foretoldMinutesOver.toFixed(0)} / ${one.livedMinutesOver.toFixed(0)} |`,
  );
  const refused = [...one.refusals].map(([code, count]) => `${code} ${count}`);
  if (one.failedMoves > 0) refused.push(`${one.failedMoves} by the world, for want of memory`);
  if (refused.length > 0) process.stderr.write(`house ${seed} refused: ${refused.join(', ')}\n`);
}
const sum = (of: (one: Compared) => number): number =>
  all.reduce((total, one) => total + of(one), 0);
const energyOff = all.map((one) => Math.abs(off(one.foretoldKwh, one.livedKwh)));
const movesOff = all.map((one) => Math.abs(off(one.foretoldMoves, one.livedMoves)));
const [on, came, permitted] = [
  sum((one) => one.alwaysOnKwh),
  sum((one) => one.livedKwh),
  sum((one) => one.permittedKwh),
];
say(
  JSON.stringify({
    houses,
    days,
    roundSeconds,
    energyOffMost: Math.max(...energyOff),
    energyOffAll: off(
      sum((one) => one.foretoldKwh),
      came,
    ),
    housesWithin5Percent: energyOff.filter((one) => one <= 0.05).length,
    movesOffAll: off(
      sum((one) => one.foretoldMoves),
      sum((one) => one.livedMoves),
    ),
    housesWithin10PercentOfMoves: movesOff.filter((one) => one <= 0.1).length,
    reachedAll: on - permitted < 1e-6 ? 1 : (on - came) / (on - permitted),
  }),
);
