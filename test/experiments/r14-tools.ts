/**
 * R14, the tools: programs that ignore SIGTERM, fork fifty grandchildren that ignore it, too, or
 * print a gigabyte. When the time limit and six seconds are over nothing of them runs, and this
 * process has kept no more of what they said than its bound.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { runTool } from '../../daemon/command/sandbox.ts';
import { outputBytesMax } from '../../daemon/command/tool-output.ts';
import { experiment, type Figures, pauseMs, type Scope, spread } from '../support/experiment.ts';

const timeoutMs = 1_000;
const graceMs = 6_000;
const grandchildren = 50;
const gigabyte = 1_000_000_000;
/** Twice the bound of both streams, and what the allocator keeps of chunks in flight. */
const memoryMib = 200;

/** Processes whose command line holds the mark; a zombie has none. */
function alive(mark: string): number {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(mark);
    } catch {
      return false;
    }
  }).length;
}

type Stubborn = { script: string; expects: 'timeout' | null };

const stubborn = (mark: string): Record<string, Stubborn> => ({
  deaf: { script: `trap "" TERM; while :; do sleep 0.2; done # ${mark}`, expects: 'timeout' },
  forks: {
    script: `trap "" TERM; for i in $(seq ${grandchildren}); do sh -c 'trap "" TERM; while :; do \
sleep 1; done # ${mark}' & done; wait # ${mark}`,
    expects: 'timeout',
  },
  orphans: {
    script: `for i in $(seq ${grandchildren}); do (trap "" TERM; exec sh -c 'while :; do sleep 1; \
done # ${mark}') & done; exit 0 # ${mark}`,
    expects: null,
  },
});

async function runStubborn(name: string, { script, expects }: Stubborn, mark: string) {
  const signal = new AbortController().signal;
  const startMs = performance.now();
  const run = { path: '/bin/sh', argv: ['-c', script], env: {}, timeoutMs, signal };
  const result = await runTool(run);
  const settledMs = performance.now() - startMs;
  await pauseMs(Math.max(0, timeoutMs + graceMs - settledMs));
  const left = alive(mark);
  const problems = [
    ...(left > 0 ? [`${name}: ${left} processes left`] : []),
    ...(result.killedBy === expects ? [] : [`${name}: ended by ${result.killedBy}`]),
  ];
  return { settledMs, problems };
}

async function flood(): Promise<{ grownMib: number; problems: string[] }> {
  const signal = new AbortController().signal;
  const before = process.memoryUsage.rss();
  const script = `head -c ${gigabyte} /dev/zero; printf "the end"`;
  const run = { path: '/bin/sh', argv: ['-c', script], env: {}, timeoutMs: 120_000, signal };
  const { stdout, exitCode } = await runTool(run);
  const grownMib = Math.round((process.memoryUsage.rss() - before) / 2 ** 20);
  const isNewest = stdout.length === outputBytesMax && stdout.endsWith('the end');
  const problems = [
    ...(exitCode === 0 && isNewest ? [] : ['flood: the newest 64 KiB are not what was kept']),
    ...(grownMib > memoryMib ? [`flood: memory grew by ${grownMib} MiB`] : []),
  ];
  return { grownMib, problems };
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const violations: string[] = [];
  const settled: number[] = [];
  const grown: number[] = [];
  for (let turn = 0; turn < n; turn += 1) {
    for (const name of Object.keys(stubborn(''))) {
      const mark = `kr-r14-${process.pid}-${seed}-${turn}-${name}`;
      const tool = stubborn(mark)[name];
      if (!tool) continue;
      const { settledMs, problems } = await runStubborn(name, tool, mark);
      settled.push(settledMs);
      violations.push(...problems);
    }
    const { grownMib, problems } = await flood();
    grown.push(grownMib);
    violations.push(...problems);
    say(`turn ${turn + 1}: memory ${grownMib} MiB more`);
  }
  return {
    tools: settled.length + grown.length,
    grandchildren: 2 * n * grandchildren,
    settledMs: spread(settled),
    grownMib: spread(grown),
    violations,
  };
}

export const r14Tools = experiment(import.meta, { name: 'R14-tools', short: 1, long: 20, run });
