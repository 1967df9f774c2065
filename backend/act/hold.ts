/**
 * HOLD, the kill switch: a flag in the store, read inside every step, and the signed retained
 * message that executors believe. Setting it never waits for a lease; what was waiting is then
 * cancelled by whoever leads the cluster.
 */
import { encodeServer } from '../../broker/contract/codec.ts';
import type { ServerContent } from '../../broker/contract/server.ts';
import { appendEntry, systemChain } from '../audit/entry.ts';
import type { CommandRows } from '../store/command-store.ts';
import { refuse } from './refusal.ts';
import { type Context, type HoldAll, parseHold, publishAll } from './step.ts';

export type HoldOrder = {
  /** null = everything. */
  cluster: string | null;
  hold: boolean;
  reason: string | null;
  actor: string;
};

export type Holds = { all: boolean; clusters: string[]; version: number };

/** The count of HOLD's changes is the version of the retained message. */
const countHold = (rows: CommandRows, all: HoldAll | null): Promise<void> =>
  rows.countHold(all && JSON.stringify(all), JSON.stringify(parseHold(null)));

export async function readHolds({ store }: Context): Promise<Holds> {
  const { setting, clusters } = await store.reads.holds();
  const { all } = parseHold(setting?.value ?? null);
  return { all, clusters, version: setting?.ver ?? 1 };
}

export function publishServer(context: Context, { all, clusters, version }: Holds): void {
  const { signer } = context;
  const content = {
    v: 1,
    type: 'server',
    serverId: signer.serverId,
    keyIds: signer.serverKeys.map(({ keyId }) => keyId),
    hold: { all, clusters },
    version,
  } satisfies ServerContent;
  publishAll(context, [encodeServer(signer.sign(content))]);
}

/** A start may bring other keys, so it counts as a change. */
export const announce = ({ store }: Context): Promise<void> =>
  store.transaction((rows) => countHold(rows, null));

async function setCluster(rows: CommandRows, order: HoldOrder, atMs: number) {
  const { cluster, hold, reason, actor } = order;
  const isKnown = await rows.updateCluster(cluster ?? '', {
    hold: hold ? 1 : 0,
    hold_reason: hold ? reason : null,
    hold_by: hold ? actor : null,
    hold_at_ms: hold ? atMs : null,
  });
  if (isKnown) return;
  refuse(404, 'KR_UNKNOWN_CLUSTER', {
    field: 'cluster',
    detail: `there is no cluster ${cluster}`,
    wayOut: 'name a cluster that GET /api/v1/clusters lists, or hold everything',
  });
}

export async function setHold(context: Context, order: HoldOrder): Promise<Holds> {
  const { cluster, hold, reason, actor } = order;
  await context.store.transaction(async (rows) => {
    const atMs = await rows.nowMs();
    if (cluster !== null) await setCluster(rows, order, atMs);
    const all = hold ? { all: true, reason, by: actor, atMs } : parseHold(null);
    await countHold(rows, cluster === null ? all : null);
    await appendEntry(rows, {
      chain: cluster ?? systemChain,
      actor,
      action: hold ? 'hold.set' : 'hold.released',
      subject: cluster === null ? 'everything' : `cluster:${cluster}`,
      phase: 'done',
      detail: { reason },
      atMs,
    });
  });
  const holds = await readHolds(context);
  publishServer(context, holds);
  return holds;
}
