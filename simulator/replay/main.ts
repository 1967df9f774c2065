/**
 * `npm run bench:decide`: replays recorded days through the engine and the reference policies and
 * prints a table; the last line is one JSON object. Reads the trace's folder and, on request,
 * writes a plot; touches nothing else.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { Policy } from '../../backend/decide/policy.ts';
import { seededRandom } from '../prng.ts';
import { boundsOf, presenceOf } from './bounds.ts';
import { enginePolicy } from './engine.ts';
import { proofsOf } from './fidelity.ts';
import { type Options, type PolicyName, readOptions } from './options.ts';
import { initialPlacement } from './placement.ts';
import { planetlabDays, readPlacement, readPlanetlab } from './planetlab.ts';
import type { ReplayPolicy } from './policy.ts';
import { iqr, lr, mad, thr } from './reference/detectors.ts';
import { mmtPolicy } from './reference/mmt.ts';
import { p0Policy } from './reference/p0.ts';
import { boundsLine, plot, table } from './report.ts';
import { type Day, play, type Result, rulesOf, withGap } from './run.ts';
import { planetlabHosts } from './specs.ts';
import { reordered, type Trace } from './trace.ts';

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const enginePolicyFile = join(import.meta.dirname, 'planetlab.yaml');

const makers: Record<PolicyName, (engine: Policy) => ReplayPolicy> = {
  kernreaktor: (engine) => enginePolicy(engine),
  'lr-mmt': () => mmtPolicy('lr-mmt', lr(1.2)),
  'thr-mmt': () => mmtPolicy('thr-mmt', thr(0.8)),
  'iqr-mmt': () => mmtPolicy('iqr-mmt', iqr(1.5)),
  'mad-mmt': () => mmtPolicy('mad-mmt', mad(2.5)),
  p0: () => p0Policy(),
};

/** Fisher-Yates with a seed of its own. */
function shuffledOrder(count: number, seed: number): number[] {
  const random = seededRandom(seed);
  const order = Array.from({ length: count }, (_, place) => place);
  for (let place = count - 1; place > 0; place -= 1) {
    const other = Math.floor(random.ratio() * (place + 1));
    [order[place], order[other]] = [order[other]!, order[place]!];
  }
  return order;
}

function ordersOf(trace: Trace, shuffles: number): { trace: Trace; order: string }[] {
  const shuffled = Array.from({ length: shuffles }, (_, index) => ({
    trace: reordered(trace, shuffledOrder(trace.guestCount, index + 1), trace.name),
    order: `shuffle-${index + 1}`,
  }));
  return [{ trace, order: 'sorted' }, ...shuffled];
}

async function runDay(options: Options, name: string, engine: Policy): Promise<Result[]> {
  const recorded = await readPlanetlab(options.trace, name);
  const rules = rulesOf[options.track];
  const hosts = planetlabHosts();
  const known = await readPlacement(options.trace, recorded);
  const placement = known ?? initialPlacement(recorded, hosts);
  const results: Result[] = [];
  for (const { trace, order } of ordersOf(recorded, options.shuffles)) {
    const day: Day = { trace, order, hosts, placement };
    const bounds = boundsOf(trace, hosts, presenceOf(trace, rules.dropsIdleGuests));
    const played = options.policies.map((policy) =>
      play(day, makers[policy](engine), rules, () => performance.now()),
    );
    const judged = withGap(played, bounds);
    say(boundsLine(`${name} ${order}`, bounds));
    say(`${table(judged)}\n`);
    results.push(...judged);
  }
  if (options.track === 'A') {
    for (const line of await proofsOf(options.trace, recorded, hosts)) say(line);
  }
  return results;
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  const engine = Policy.parse(parse(await readFile(enginePolicyFile, 'utf8')));
  const held = await planetlabDays(options.trace);
  const days = options.days.length > 0 ? options.days : held;
  const missing = days.filter((day) => !held.includes(day));
  if (missing.length > 0 || days.length === 0) {
    const has = held.join(', ') || 'none';
    throw new Error(`--days: ${missing.join(', ')} not in ${options.trace}; it holds ${has}`);
  }
  const results: Result[] = [];
  for (const day of days) results.push(...(await runDay(options, day, engine)));
  if (options.plot !== undefined) await writeFile(options.plot, plot(results));
  say(JSON.stringify({ track: options.track, trace: options.trace, results }));
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
