/**
 * What the whole machine draws, by a program of the administrator that prints watts: of the BMC
 * (IPMI, DCMI), of a UPS, of a meter. It runs under the trust of every such program, never more
 * than one at a time and never in the way of a sample. A reading that is too old, or an answer
 * that is no plain number, is none; then the processor's own counters speak, if they may be read.
 */
import { z } from 'zod';
import { nodeMetrics } from '../../broker/contract/metrics.ts';
import type { Clock, Log } from '../../broker/contract/ports.ts';
import { SandboxError } from '../command/sandbox.ts';
import type { ScriptRunner } from '../command/script-trust.ts';
import { questionLimits } from '../command/transient-unit.ts';
import type { Hypervisor } from './port.ts';
import { program } from './program-path.ts';

export const PowerProgram = z.strictObject({
  program,
  /** A BMC measures once a second at best and answers slowly. */
  everyMs: z.int().min(1_000).max(300_000).default(10_000),
  timeoutMs: z.int().min(100).max(60_000).default(5_000),
});
export type PowerProgram = z.infer<typeof PowerProgram>;

export type PowerDeps = { scripts: ScriptRunner; clock: Clock; log: Log };

const { min, max } = nodeMetrics.find(({ name }) => name === 'powerWatts') ?? { min: 0, max: 0 };
const answerBytesMax = 4_096;

/** `132`, `132.5`; a word beside it could be a unit that is not watts. */
export function wattsOf(printed: string): number | null {
  const text = printed.trim();
  if (!/^\d+(\.\d+)?$/.test(text)) return null;
  const watts = Number(text);
  return watts >= min && watts <= max ? Math.round(watts * 100) / 100 : null;
}

type Reading = { watts: number; atMs: number };

function createReader(settings: PowerProgram, { scripts, clock, log }: PowerDeps, node: string) {
  const { program: path, everyMs, timeoutMs } = settings;
  const closing = new AbortController();
  let reading: Reading | null = null;
  let askedAtMs = -Infinity;
  let isAsking = false;
  let failures = 0;

  async function ask(): Promise<string | null> {
    const env = { KR_QUERY: 'power', KR_NODE: node };
    const { signal } = closing;
    const asked = { path, argv: [], env, timeoutMs, signal, limits: questionLimits };
    const result = await scripts.run({ ...asked, stdoutBytesMax: answerBytesMax });
    if (result.killedBy !== null) return `gave no answer in ${timeoutMs} ms`;
    if (result.exitCode !== 0) {
      return `ended with ${result.exitCode ?? 'a signal'}: ${result.stderr.trim().slice(-200)}`;
    }
    const watts = wattsOf(result.stdout);
    if (watts === null) return 'printed no plain number of watts: print 132.5 and nothing else';
    reading = { watts, atMs: clock.monotonicMs() };
    return null;
  }

  async function refresh(): Promise<void> {
    isAsking = true;
    const problem = await ask().catch((error: unknown) => {
      if (error instanceof SandboxError) return error.message;
      throw error;
    });
    isAsking = false;
    if (problem === null) failures = 0;
    else if (!closing.signal.aborted) {
      // A program that fails does so every time; once says it all until it works again.
      if (failures === 0) log.warn({ node, path, problem }, 'the power program gave no watts');
      failures += 1;
    }
  }

  return {
    /** Of the last runs; starts the next one when it is due, without waiting for it. */
    watts(): number | null {
      const nowMs = clock.monotonicMs();
      if (!isAsking && nowMs - askedAtMs >= everyMs && !closing.signal.aborted) {
        askedAtMs = nowMs;
        refresh().catch((error: unknown) => log.error({ err: error }, 'power was not asked'));
      }
      const isFresh = reading !== null && nowMs - reading.atMs <= 2 * everyMs + timeoutMs;
      return isFresh && reading !== null ? reading.watts : null;
    },
    close: () => closing.abort(),
  };
}

type Options = PowerDeps & { node: string; settings: PowerProgram | null };

/** The driver of this host, which also says what its watts were measured by. */
export function withPower(driver: Hypervisor, { settings, node, ...deps }: Options): Hypervisor {
  const reader = settings === null ? null : createReader(settings, deps, node);
  let source: 'program' | 'rapl' | null = null;
  return {
    ...driver,
    async sample(name) {
      const sample = await driver.sample(name);
      if (name !== node) return sample;
      const told = reader?.watts() ?? null;
      const { powerWatts } = sample.node;
      if (told !== null) source = 'program';
      else source = powerWatts === null ? null : 'rapl';
      return { ...sample, node: { ...sample.node, powerWatts: told ?? powerWatts } };
    },
    async describe(name, asked) {
      const description = await driver.describe(name, asked);
      if (name !== node) return description;
      // The first rate takes two samples, and until then this is what will be measured, if any is.
      const powerSource = source ?? (reader === null ? 'rapl' : 'program');
      return { ...description, facts: { ...description.facts, powerSource } };
    },
    async close() {
      reader?.close();
      await driver.close();
    },
  };
}
