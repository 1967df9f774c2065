/**
 * `npm run bench:decide`: replays recorded days through the engine and the reference policies and
 * prints a table; the last line is one JSON object. Reads the trace's folder and, on request,
 * writes a plot; touches nothing else. Tracks C and D ask a gate that is given.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { Policy } from '../../backend/decide/policy.ts';
import { resolvePolicy, shippedPolicy } from '../../backend/decide/strategies.ts';
import { seededRandom } from '../prng.ts';
import { bitbrainsMonth } from './bitbrains.ts';
import { boundsOf, presenceOf } from './bounds.ts';
import { enginePolicy } from './engine.ts';
import { proofsOf } from './fidelity.ts';
import { type Options, type PolicyName, readOptions } from './options.ts';
import { type GateMaker, runPhysical } from './physical-bench.ts';
import { initialPlacement } from './placement.ts';
import { planetlabDays, readPlacement, readPlanetlab } from './planetlab.ts';
import type { ReplayPolicy } from './policy.ts';
import { iqr, lr, mad, thr } from './reference/detectors.ts';
import { mmtPolicy } from './reference/mmt.ts';
import { p0Policy } from './reference/p0.ts';
import { plot } from './plot.ts';
import { boundsLine, comparison, table } from './report.ts';
import { type Day, play, type Result, rulesOf, withGap } from './run.ts';
import { planetlabHosts } from './specs.ts';
import { reordered, type Trace } from './trace.ts';

export type Bench = {
  say: (line: string) => void;
  /** A stopwatch; only its differences count. */
  elapsedMs: () => number;
  gateOf: GateMaker;
};

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

/** The recorded days of a folder in every order that was asked for. */
async function daysOf(options: Options, name: string): Promise<Day[]> {
  const recorded = await readPlanetlab(options.trace, name);
  const hosts = planetlabHosts();
  const placement =
    (await readPlacement(options.trace, recorded)) ?? initialPlacement(recorded, hosts);
  return ordersOf(recorded, options.shuffles).map((one) => ({ ...one, hosts, placement }));
}

/**
 * The policy that the engine plays: the one of the track, or what `--policy` names.
 * @throws Error with a line for each mistake in it
 */
async function policyOf({ policy, track }: Options): Promise<Policy> {
  if (policy === undefined && (track === 'C' || track === 'D')) return shippedPolicy('save-power');
  const path = policy ?? enginePolicyFile;
  const resolved = resolvePolicy(parse(await readFile(path, 'utf8')));
  if (resolved.ok) return resolved.policy;
  const problems = resolved.problems.map((one) => `${one.path.join('.')} ${one.hint}`);
  throw new Error(`--policy: ${path}: ${problems.join('; ')}`);
}

type Task = { options: Options; engine: Policy; bench: Bench };

async function runDay(name: string, { options, engine, bench }: Task): Promise<Result[]> {
  const track = options.track === 'A' ? 'A' : 'B';
  const rules = rulesOf[track];
  const results: Result[] = [];
  const days = await daysOf(options, name);
  for (const day of days) {
    const { trace, hosts, order } = day;
    const bounds = boundsOf(trace, hosts, presenceOf(trace, rules.dropsIdleGuests));
    const played = options.policies.map((policy) =>
      play(day, makers[policy](engine), rules, bench.elapsedMs),
    );
    const judged = withGap(played, bounds);
    bench.say(boundsLine(`${name} ${order}`, bounds));
    bench.say(`${table(judged)}\n`);
    results.push(...judged);
  }
  const [first] = days;
  if (track === 'A' && first) {
    for (const line of await proofsOf(options.trace, first.trace, first.hosts)) bench.say(line);
  }
  return results;
}

async function heldDays(options: Options): Promise<string[]> {
  const held = await planetlabDays(options.trace);
  const days = options.days.length > 0 ? options.days : held;
  const missing = days.filter((day) => !held.includes(day));
  if (missing.length > 0 || days.length === 0) {
    const has = held.join(', ') || 'none';
    throw new Error(`--days: ${missing.join(', ')} not in ${options.trace}; it holds ${has}`);
  }
  return days;
}

/** @throws Error that names the wrong option or file */
export async function runBench(args: readonly string[], bench: Bench): Promise<void> {
  const options = readOptions(args);
  const engine = await policyOf(options);
  const isPhysical = options.track === 'C' || options.track === 'D';
  const month = isPhysical ? await bitbrainsMonth(options.trace) : null;
  const results: Result[] = [];
  if (isPhysical) {
    const days = month === null ? await heldDays(options) : options.days;
    const recorded = month === null ? (name: string) => daysOf(options, name) : null;
    results.push(...(await runPhysical(options, { days, recorded, engine }, bench, makers)));
  } else {
    const task = { options, engine, bench };
    for (const day of await heldDays(options)) results.push(...(await runDay(day, task)));
  }
  for (const line of comparison(results)) bench.say(line);
  if (options.plot !== undefined) await writeFile(options.plot, plot(results));
  bench.say(JSON.stringify({ track: options.track, trace: options.trace, results }));
}
