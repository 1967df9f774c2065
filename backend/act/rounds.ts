/**
 * The rounds of the loops: each reads what is due and works it off cluster by cluster, where this
 * backend leads; one that leads nowhere asks the store nothing. One cluster's trouble never keeps
 * another's commands waiting.
 */
import type { Holds } from './hold.ts';
import { isPassing } from './loop.ts';
import { proveCluster } from './proving.ts';
import { readDue as readOffers, relayCluster } from './relay.ts';
import type { Context } from './step.ts';
import { readDue, sweepCluster } from './sweep.ts';

/** The cluster's rows in one step each, in the order given. */
function byCluster<T extends { cluster: string }>(rows: readonly T[]): [string, T[]][] {
  const groups = new Map<string, T[]>();
  for (const row of rows) {
    const group = groups.get(row.cluster);
    if (group) group.push(row);
    else groups.set(row.cluster, [row]);
  }
  return [...groups];
}

/** Runs `work` for every cluster led from here; one that is lost meanwhile is left to its leader. */
async function forLed<T extends { cluster: string }>(
  context: Context,
  rows: readonly T[],
  work: (cluster: string, rows: readonly T[]) => Promise<void>,
): Promise<void> {
  const led = byCluster(rows).filter(([cluster]) => context.lease.epochOf(cluster) !== undefined);
  for (const [cluster, group] of led) {
    try {
      await work(cluster, group);
    } catch (error) {
      if (!isPassing(error)) throw error;
      context.log.debug({ cluster, err: error }, 'cluster skipped this round');
    }
  }
}

export async function sweepOnce(context: Context, holds: Holds): Promise<void> {
  if (!context.lease.leadsAny()) return;
  const everything = holds.all ? await context.store.reads.clusterIds() : holds.clusters;
  const due = await readDue(context, everything);
  await forLed(context, due, (cluster, rows) =>
    sweepCluster(
      context,
      cluster,
      rows.map(({ id }) => id),
    ),
  );
}

/** Every campaign is looked at in each round: what it waits for may be over. */
export async function proveOnce(context: Context): Promise<void> {
  if (!context.lease.leadsAny()) return;
  await forLed(context, await context.store.reads.runningCampaigns(), (cluster, rows) =>
    proveCluster(
      context,
      cluster,
      rows.map(({ id }) => id),
    ),
  );
}

export async function relayOnce(context: Context): Promise<void> {
  if (!context.lease.leadsAny()) return;
  const due = await readOffers(context);
  await forLed(context, due, (cluster, some) => relayCluster(context, cluster, some));
}
