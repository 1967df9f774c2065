/**
 * Publishes what the outbox holds: an offer is repeated with growing, jittered pauses until the
 * command is claimed or expires, and only while its executor is connected. Commands on one target
 * are offered one after another, oldest first. The lease makes this the cluster's only relay.
 */
import type { CommandKind, Offer } from '../../broker/contract/command.ts';
import type { DueOffer } from '../store/command-store.ts';
import type { Commands } from '../store/sql/schema.ts';
import { move, readCommand } from './ledger.ts';
import { type Context, inStep, say, type Step } from './step.ts';

/** Lines of unreachable executors stay due, so the bound is far above what waits in practice. */
const batchRows = 5_000;
const retryFirstMs = 1_000;
const retryMaxMs = 15_000;

/** 1, 2, 4, ... 15 s, each between half and all of that, so that a fleet spreads out. */
export const retryAfterMs = (attempts: number, ratio: number): number =>
  Math.round(Math.min(retryMaxMs, retryFirstMs * 2 ** Math.min(attempts, 10)) * (0.5 + ratio / 2));

/** What waits in the store, without locks: the step looks again before it acts. */
export const readDue = ({ store }: Context): Promise<DueOffer[]> =>
  store.reads.dueOffers(batchRows);

const offerOf = (step: Step, row: Commands): Offer => ({
  commandId: row.id,
  kind: row.kind as CommandKind,
  target: { kind: row.target_kind, id: row.target_id },
  args: JSON.parse(row.args) as Offer['args'],
  generation: row.generation,
  epoch: step.epoch,
  ttlMs: row.expires_at_ms - step.nowMs,
});

async function offer(step: Step, due: DueOffer): Promise<void> {
  const { context, rows, nowMs } = step;
  const row = await readCommand(step, due.command_id);
  if (!row || (row.state !== 'QUEUED' && row.state !== 'OFFERED')) return;
  // Too late to be claimed; the sweep writes that down.
  if (step.isHeld || row.expires_at_ms <= nowMs) return;
  const dueAtMs = nowMs + retryAfterMs(due.attempts, context.random.ratio());
  await rows.noteOffered(due.id, { dueAtMs, publishedAtMs: nowMs });
  if (row.state === 'QUEUED') {
    await move(step, row, 'offer', { actor: 'relay', patch: { offered_at_ms: nowMs } });
  }
  context.counters.offers += 1;
  say(step, 'offer', { node: row.executor, body: offerOf(step, row) });
}

/** One step for all of a cluster's offers that are due and can be heard. */
export async function relayCluster(
  context: Context,
  cluster: string,
  due: readonly DueOffer[],
): Promise<void> {
  const heard = due.filter(({ node }) => context.reach.isOnline(cluster, node));
  if (heard.length === 0) return;
  await inStep(context, cluster, async (step) => {
    for (const one of heard) await offer(step, one);
  });
}
