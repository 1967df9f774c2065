/**
 * CPU by stage of the way a sample takes, from V8's own sampling profile of this process: each
 * sample counts for the innermost frame that belongs to a stage. What other threads took is not in it:
 * the kernel tells it by the names Node gives them, V8's helpers (collector and compilers) apart from
 * the rest (commits and queries of the embedded store).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { type Profiler, Session } from 'node:inspector/promises';

export const stages = ['broker', 'decode', 'ingest', 'fold', 'store'] as const;
export type Stage = (typeof stages)[number] | 'collector' | 'rest' | 'v8Helpers' | 'otherThreads';
export type StageSeconds = Record<Stage, number>;

/** Each look costs the main thread some microseconds, and this is about what it costs. */
const samplingIntervalUs = 5_000;

/** The first that fits a file name; the contract's other files belong to whoever called them. */
const homes: readonly (readonly [RegExp, Stage])[] = [
  [/\/broker\/contract\/codec\.ts$/, 'decode'],
  [/\/backend\/store\/|@duckdb\/|@influxdata\/|node:(_?http|zlib)/, 'store'],
  [/\/backend\/state\//, 'fold'],
  [/\/backend\/ingest\//, 'ingest'],
  [
    /\/broker\/[a-z-]+\.ts$|\/node_modules\/|node:(net|internal\/stream|internal\/streams)/,
    'broker',
  ],
];

function stageOf(node: Profiler.ProfileNode, parents: ReadonlyMap<number, Profiler.ProfileNode>) {
  const { functionName } = node.callFrame;
  if (functionName === '(garbage collector)') return 'collector';
  if (functionName === '(idle)') return 'idle';
  for (let at: Profiler.ProfileNode | undefined = node; at; at = parents.get(at.id)) {
    const { url } = at.callFrame;
    const home = homes.find(([pattern]) => pattern.test(url));
    if (home) return home[1];
  }
  return 'rest';
}

/** Share of the busy time of the main thread by stage. */
function sharesOf({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile) {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parents = new Map<number, Profiler.ProfileNode>();
  for (const node of nodes) for (const child of node.children ?? []) parents.set(child, node);
  const shares = new Map<string, number>();
  samples.forEach((id, index) => {
    const stage = stageOf(byId.get(id) as Profiler.ProfileNode, parents);
    if (stage !== 'idle') shares.set(stage, (shares.get(stage) ?? 0) + (timeDeltas[index] ?? 0));
  });
  const total = [...shares.values()].reduce((sum, share) => sum + share, 0);
  return (stage: Stage): number => (shares.get(stage) ?? 0) / Math.max(1, total);
}

const seconds = ({ user, system }: NodeJS.CpuUsage): number => (user + system) / 1e6;

/** CPU seconds of V8's own threads, in the kernel's ticks, of which 100 are a second. */
function helperSeconds(): number {
  const tasks = '/proc/self/task';
  let ticks = 0;
  for (const task of readdirSync(tasks)) {
    const line = readFileSync(`${tasks}/${task}/stat`, 'utf8');
    if (!line.includes('(V8Worker)')) continue;
    const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / 100;
}

/** CPU seconds this process took for some work, by stage. */
export async function profiled(work: () => Promise<void>): Promise<StageSeconds> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: samplingIntervalUs });
  await session.post('Profiler.start');
  const [all, main] = [process.cpuUsage(), process.threadCpuUsage()];
  const helpersBefore = helperSeconds();
  await work();
  const v8Helpers = helperSeconds() - helpersBefore;
  const [allSeconds, mainSeconds] = [
    seconds(process.cpuUsage(all)),
    seconds(process.threadCpuUsage(main)),
  ];
  const { profile } = await session.post('Profiler.stop');
  session.disconnect();
  const share = sharesOf(profile);
  const entries = [...stages, 'collector', 'rest'] as const;
  const ofMain = entries.map((stage) => [stage, share(stage) * mainSeconds] as const);
  return {
    ...(Object.fromEntries(ofMain) as Omit<StageSeconds, 'otherThreads'>),
    v8Helpers,
    otherThreads: allSeconds - mainSeconds - v8Helpers,
  };
}
