/**
 * Notices by itself that too many nodes of a cluster have fallen silent (SAFETY T1), whether
 * anybody asks for anything or not, and freezes it. Memory tells which clusters need a look; what
 * is written, and whether at all, the step decides by the limits of the cluster.
 */
import { awakeOf } from './facts.ts';
import { freezeByStorm, isStorm } from './guard-control.ts';
import { limitsOf } from './guard-limits.ts';
import { isMostlyStale } from './guards-cluster.ts';
import { isPassing } from './loop.ts';
import { type Context, inStep } from './step.ts';

/** A storm that lasts is looked at this often; its freeze outlasts two looks. */
const lookEveryMs = 15_000;

type StormWatch = () => Promise<void>;

export function createStormWatch(context: Context): StormWatch {
  const lookedAtMs = new Map<string, number>();

  const look = (cluster: string): Promise<void> =>
    inStep(context, cluster, async (step) => {
      const awake = awakeOf(context, cluster);
      const limits = limitsOf(step.cluster);
      if (isStorm(context, awake, limits)) await freezeByStorm(step, awake, limits);
    });

  return async () => {
    const nowMs = context.clock.monotonicMs();
    for (const cluster of context.fleet().nodesByCluster.keys()) {
      if (context.lease.epochOf(cluster) === undefined) continue;
      if (nowMs - (lookedAtMs.get(cluster) ?? -Infinity) < lookEveryMs) continue;
      // No cluster may be frozen by less than one silent node, whatever its limits say.
      if (!isMostlyStale(awakeOf(context, cluster), 1)) continue;
      lookedAtMs.set(cluster, nowMs);
      try {
        await look(cluster);
      } catch (error) {
        if (!isPassing(error)) throw error;
        context.log.debug({ cluster, err: error }, 'storm not looked at this time');
      }
    }
  };
}
