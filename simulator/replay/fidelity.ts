/**
 * Track A's proof against CloudSim's own logs, where they lie beside the trace: the logged moves
 * scored again give its energy, and the LR-MMT reference chooses the same moves at every tick.
 */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { CloudsimWorld, tickSeconds } from './cloudsim-world.ts';
import { type GoldenLog, readGoldenLog, rescore } from './golden-log.ts';
import { linesOf } from './planetlab.ts';
import { lr } from './reference/detectors.ts';
import { mmtPolicy } from './reference/mmt.ts';
import { rulesOf } from './run.ts';
import { scoreOf } from './score.ts';
import type { Hosts } from './specs.ts';
import type { Trace } from './trace.ts';

/** The first tick at which LR-MMT chooses other moves than the log, null when none. */
export function firstSplit(trace: Trace, hosts: Hosts, log: GoldenLog): number | null {
  const world = new CloudsimWorld(trace, hosts, log.placement, rulesOf.A);
  const policy = mmtPolicy('lr-mmt', lr(1.2));
  for (const [tick, seconds] of tickSeconds(trace).entries()) {
    world.advance(seconds);
    const moves = policy.decide(world, tick);
    if (JSON.stringify(moves) !== JSON.stringify(log.movesAt.get(tick) ?? [])) return tick;
    world.start(moves);
  }
  return null;
}

/** One line for each proof that the folder's logs allow; none without logs. */
export async function proofsOf(folder: string, trace: Trace, hosts: Hosts): Promise<string[]> {
  const path = join(folder, `${trace.name}_lr_mmt_1.2.log.gz`);
  const isThere = await access(path).then(
    () => true,
    () => false,
  );
  if (!isThere) return [];
  const log = await readGoldenLog(linesOf(path), trace.guestCount);
  const world = new CloudsimWorld(trace, hosts, log.placement, rulesOf.A);
  const strayed = rescore(world, log, tickSeconds(trace));
  const { energyKwh, slatah, pdm, slav, migrations } = scoreOf(world.totals);
  const split = firstSplit(trace, hosts, log);
  return [
    `${trace.name}: CloudSim's log scored again: ${energyKwh.toFixed(9)} kWh, ` +
      `${migrations} migrations, SLATAH ${(slatah * 100).toFixed(5)} %, ` +
      `PDM ${(pdm * 100).toFixed(6)} %, SLAV ${slav.toExponential(6)}, ` +
      `${world.totals.dropped} dropped; energy strays by at most ${strayed.toExponential(1)}`,
    split === null
      ? `${trace.name}: LR-MMT takes the same decisions in all ${trace.steps - 1} ticks`
      : `${trace.name}: LR-MMT splits from the log at tick ${split}`,
  ];
}
