/** One generated house: recorded, backtested, and then lived through with the same load. */
import { Replay } from '../../../backend/backtest/replay.ts';
import { shippedPolicy } from '../../../backend/decide/strategies.ts';
import { policyInForce } from '../../../backend/policy-in-force.ts';
import { guardedGate } from '../replay-gate.ts';
import { drawHouse, type House } from './draw.ts';
import { houseCluster, live, type Lived } from './live.ts';
import { Permitted } from './permitted.ts';
import { recordHouse } from './record.ts';

const dayMs = 86_400_000;
const watchedMs = 3_600_000;
/** A Monday, so that weeks begin where they should. */
export const startMs = Date.UTC(2026, 0, 5);

export type Compared = House & {
  days: number;
  /** kWh with everything on, as the backtest foretold, as it came, and the least permitted. */
  alwaysOnKwh: number;
  foretoldKwh: number;
  livedKwh: number;
  permittedKwh: number;
  foretoldMoves: number;
  livedMoves: number;
  foretoldSleeps: number;
  livedSleeps: number;
  foretoldMinutesOver: number;
  livedMinutesOver: number;
  failedMoves: number;
  refusals: Lived['refusals'];
};

export async function compareHouse(
  seed: number,
  { days, roundMs }: { days: number; roundMs: number },
): Promise<Compared> {
  const policy = policyInForce(shippedPolicy('save-power'), houseCluster);
  const span = { startMs, days, roundMs };
  const { house, world } = drawHouse(seed, startMs);
  const permitted = new Permitted(world);
  let replay: Replay | null = null;
  const { kwh: alwaysOnKwh } = recordHouse(world, span, (reel, facts) => {
    replay ??= new Replay({
      cluster: houseCluster,
      policy,
      facts,
      fromMs: startMs,
      toMs: startMs + days * dayMs,
      protectedNodes: [],
      pricePerKwh: null,
    });
    permitted.add(reel);
    replay.play(reel, '1m');
  });
  const { replayed } = replay!.outcome();
  const gate = guardedGate({ limits: {}, without: new Set(), hasLimiter: true });
  const lived = await live(drawHouse(seed, startMs - watchedMs).world, span, { policy, gate });
  return {
    ...house,
    days,
    alwaysOnKwh,
    foretoldKwh: replayed.kwh,
    livedKwh: lived.kwh,
    permittedKwh: permitted.kwh(),
    foretoldMoves: replayed.moves,
    livedMoves: lived.moves,
    foretoldSleeps: replayed.sleeps,
    livedSleeps: lived.sleeps,
    foretoldMinutesOver: replayed.minutesOver,
    livedMinutesOver: lived.minutesOver,
    failedMoves: lived.failed,
    refusals: lived.refusals,
  };
}
