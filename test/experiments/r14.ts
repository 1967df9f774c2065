/**
 * R14: slow things. An fsync that takes a second (strace on the real process), a database that
 * takes two for every answer, a backend that gets a tenth of its time, and tools that hang, ignore
 * SIGTERM, fork fifty children and print a gigabyte.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runTool } from '../../daemon/command/sandbox.ts';
import {
  experiment,
  type Figures,
  pauseMs,
  residentBytes,
  type Scope,
  spread,
} from '../support/experiment.ts';
import { judgeExecutor, startExecutorServer } from '../support/executor-server.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { type Loaded, startLoaded } from '../support/loaded.ts';
import { until } from '../support/servers.ts';
import { findStrace, underStrace } from '../support/strace.ts';

async function slowFsync(n: number) {
  const strace = await findStrace();
  if (strace === undefined) return { commands: 0, violations: [] };
  const server = await startExecutorServer();
  try {
    await server.start(null, underStrace(strace, ['fsync:delay_enter=1000000']));
    const startMs = performance.now();
    for (let index = 0; index < n; index += 1) server.ask();
    await until(() => server.open() === 0, { what: 'slow commands', withinMs: 120_000 });
    const tookMs = Math.round(performance.now() - startMs);
    server.signal('SIGKILL');
    await until(() => !server.isRunning());
    return {
      commands: n,
      tookMs,
      effects: server.effects().length,
      violations: judgeExecutor(server),
    };
  } finally {
    await server.close();
  }
}

/** Effects that begin and samples that are stored while `slow` is in force. */
async function whileSlow(loaded: Loaded, lastMs: number) {
  const [effects, fromMs] = [loaded.simulation.effects().length, performance.now()];
  const stored = (await loaded.stack.api.ingestFigures())['stored'] ?? 0;
  await pauseMs(lastMs);
  const answers = loaded.load.answers.filter(({ atMs }) => atMs >= fromMs);
  return {
    effects: loaded.simulation.effects().length - effects,
    samplesStored: ((await loaded.stack.api.ingestFigures())['stored'] ?? 0) - stored,
    apiMs: spread(answers.map(({ ms }) => ms)),
  };
}

async function slowStore(lastMs: number, seed: number) {
  let proxy: FaultProxy | undefined;
  const loaded = await startLoaded({
    seed,
    sqlUrl: async ({ url, port }) => {
      proxy = await startFaultProxy(port);
      return url.replace(String(port), String(proxy.port));
    },
  });
  try {
    proxy?.setLatency(1_000);
    const slow = await whileSlow(loaded, lastMs);
    proxy?.setLatency(0);
    const { violations, figures, settledMs } = await loaded.conclude({ withinMs: 400_000 });
    if (slow.samplesStored < lastMs / 1_000) violations.push('telemetry waited for the slow store');
    return { ...slow, settledMs, ...figures, violations };
  } finally {
    await loaded.remove();
    await proxy?.close();
  }
}

/** The process runs a tenth of the time, in slices, as under a quota. */
async function slowBackend(lastMs: number, seed: number) {
  const loaded = await startLoaded({ seed });
  try {
    const { pid } = loaded.stack.run();
    const flag = { isOver: false };
    const throttle = (async () => {
      while (!flag.isOver) {
        process.kill(pid, 'SIGSTOP');
        await pauseMs(90);
        process.kill(pid, 'SIGCONT');
        await pauseMs(10);
      }
    })();
    const slow = await whileSlow(loaded, lastMs);
    flag.isOver = true;
    await throttle;
    const { violations, figures, settledMs } = await loaded.conclude({ withinMs: 400_000 });
    return { ...slow, settledMs, ...figures, violations };
  } finally {
    await loaded.remove();
  }
}

/** Processes whose command line holds this mark. */
const marked = (mark: string): number =>
  readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(mark);
    } catch {
      return false;
    }
  }).length;

const tools: Record<string, string> = {
  'hangs and ignores SIGTERM': "trap '' TERM\nwhile :; do sleep 3600; done\n",
  'forks fifty children': `trap '' TERM
i=0
while [ $i -lt 50 ]; do sh -c "trap '' TERM; while :; do sleep 1; done # $0" & i=$((i+1)); done
wait
`,
  'prints a gigabyte': 'head -c 1073741824 /dev/zero\nsleep 3600\n',
};

async function hangingTools() {
  const folder = await mkdtemp(join(tmpdir(), 'kr-tools-'));
  const violations: string[] = [];
  const results: object[] = [];
  try {
    for (const [name, body] of Object.entries(tools)) {
      const path = join(folder, name.replaceAll(' ', '-'));
      await writeFile(path, `#!/bin/sh\n${body}`);
      await chmod(path, 0o755);
      const before = residentBytes(process.pid);
      const startMs = performance.now();
      const { signal } = new AbortController();
      const ended = await runTool({ path, argv: [], env: {}, timeoutMs: 2_000, signal });
      const endedMs = Math.round(performance.now() - startMs);
      await pauseMs(Math.max(0, 8_000 - endedMs));
      const orphans = marked(path);
      const grownMib = Math.round((residentBytes(process.pid) - before) / 2 ** 20);
      results.push({ name, endedMs, orphans, grownMib, outputBytes: ended.stdout.length });
      if (orphans > 0) violations.push(`${name}: ${orphans} processes left`);
      if (grownMib > 128) violations.push(`${name}: ${grownMib} MiB more`);
      if (ended.killedBy !== 'timeout') violations.push(`${name}: ended by ${ended.killedBy}`);
    }
    return { tools: results, violations };
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function run({ n, seed, say }: Scope): Promise<Figures> {
  const lastMs = n * 1_000;
  const hanging = await hangingTools();
  say(JSON.stringify(hanging));
  const fsync = await slowFsync(Math.min(20, n));
  say(JSON.stringify(fsync));
  const store = await slowStore(lastMs, seed);
  say(JSON.stringify(store));
  const backend = await slowBackend(lastMs, seed);
  say(JSON.stringify(backend));
  const violations = [hanging, fsync, store, backend].flatMap((part) => part.violations);
  return { seconds: n, hanging, fsync, store, backend, violations };
}

export const r14 = experiment(import.meta, { name: 'R14', short: 8, long: 120, run });
