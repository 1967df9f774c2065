/**
 * `npm run bench:decide`: composes the replay with the guards and the limiter of production, which
 * the simulator itself may not know. Options: docs/benchmarks.md.
 */
import type { GateOptions } from './replay-gate.ts';
import { guardedGate } from './replay-gate.ts';
import { runBench } from '../../simulator/replay/bench.ts';
import { openGate } from '../../simulator/replay/physical-engine.ts';
import type { GateMaker } from '../../simulator/replay/physical-bench.ts';
import type { GuardGroup } from '../../simulator/replay/options.ts';

type Relief = { limits?: GateOptions['limits']; guards?: readonly string[] };

const never = 1_000_000;
const many = { commandsAtOnce: 8 };
const spaced = { powerOffEveryMs: 0, powerOffRatioPerHour: 1, globalPowerOffEveryMs: 0 };

/** What it means to play without a group; `quorum` is taken from the world instead. */
const reliefs: Record<GuardGroup, Relief> = {
  quorum: {},
  moves: { limits: { guestMovesPerDay: never, guestCooldownMs: 0 } },
  'power-off-spacing': { limits: spaced, guards: ['power-off-in-flight'] },
  'commands-at-once': { limits: many },
  reserve: { guards: ['memory-reserve'] },
  room: {
    limits: { cpuReserveRatio: 0, memoryReserveRatio: 0 },
    guards: ['destination-memory', 'destination-cpu'],
  },
  idle: { limits: { idleCpuRatio: 1 }, guards: ['idle'] },
  cycles: { limits: { minUptimeMs: 0, powerCyclesPerDay: never }, guards: ['power-cycles'] },
  all: {},
};

const gateOf: GateMaker = ({ track, without }) => {
  if (without.includes('all')) return { ...openGate, refusals: new Map(), limits: null };
  const left = without.map((group) => reliefs[group]);
  return guardedGate({
    // Track C has limits of its own in place of the limiter.
    limits: Object.assign(
      {},
      track === 'C' && many,
      ...left.map(({ limits }) => limits),
    ) as GateOptions['limits'],
    without: new Set([
      ...(track === 'C' ? ['power-off-in-flight', 'membership-stable', 'commands-at-once'] : []),
      ...left.flatMap(({ guards = [] }) => guards),
    ]),
    hasLimiter: track === 'D',
  });
};

runBench(process.argv.slice(2), {
  say: (line) => void process.stdout.write(`${line}\n`),
  elapsedMs: () => performance.now(),
  gateOf,
}).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
