/**
 * Publishes what the outbox holds: an offer is repeated with growing, jittered pauses until the
 * command is claimed or expires, and only while its executor is connected. Commands on one target
 * are offered one after another, oldest first. The lease makes this the cluster's only relay.
 */
import type { CommandKind, Offer } from '../../broker/contract/command.ts';
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

export type Due = { id: string; cluster: string; command_id: string; node: string };

/** What waits in the store, without locks: the step looks again before it acts. */
export const readDue = ({ database }: Context): Promise<Due[]> =>
  database.db
    .selectFrom('outbox')
    .innerJoin('commands', 'commands.id', 'outbox.command_id')
    .innerJoin('targets', (join) =>
      join
        .onRef('targets.cluster', '=', 'commands.cluster')
        .onRef('targets.kind', '=', 'commands.target_kind')
        .onRef('targets.id', '=', 'commands.target_id'),
    )
    .select(['outbox.id', 'outbox.cluster', 'outbox.command_id', 'outbox.node'])
    .where('outbox.due_at_ms', '<=', database.dialect.nowMs())
    .where('commands.state', 'in', ['QUEUED', 'OFFERED'])
    // A wake may pass an uncertain power-off of its target; the grant looks closely.
    .where((eb) =>
      eb.or([eb('targets.active_command', 'is', null), eb('commands.kind', '=', 'node.wake')]),
    )
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom('commands as earlier')
            .select('earlier.id')
            .whereRef('earlier.cluster', '=', 'commands.cluster')
            .whereRef('earlier.target_kind', '=', 'commands.target_kind')
            .whereRef('earlier.target_id', '=', 'commands.target_id')
            .whereRef('earlier.generation', '<', 'commands.generation')
            .where('earlier.state', 'in', ['QUEUED', 'OFFERED']),
        ),
      ),
    )
    .orderBy('outbox.due_at_ms')
    .limit(batchRows)
    .execute();

const offerOf = (step: Step, row: Commands): Offer => ({
  commandId: row.id,
  kind: row.kind as CommandKind,
  target: { kind: row.target_kind, id: row.target_id },
  args: JSON.parse(row.args) as Offer['args'],
  generation: row.generation,
  epoch: step.epoch,
  ttlMs: row.expires_at_ms - step.nowMs,
});

async function offer(step: Step, due: Due): Promise<void> {
  const { context, trx, nowMs } = step;
  const row = await readCommand(step, due.command_id);
  if (!row || (row.state !== 'QUEUED' && row.state !== 'OFFERED')) return;
  // Too late to be claimed; the sweep writes that down.
  if (step.isHeld || row.expires_at_ms <= nowMs) return;
  const { attempts } = await trx
    .selectFrom('outbox')
    .select('attempts')
    .where('id', '=', due.id)
    .executeTakeFirstOrThrow();
  await trx
    .updateTable('outbox')
    .set((eb) => ({
      attempts: attempts + 1,
      due_at_ms: nowMs + retryAfterMs(attempts, context.random.ratio()),
      published_at_ms: nowMs,
      ver: eb('ver', '+', 1),
    }))
    .where('id', '=', due.id)
    .execute();
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
  due: readonly Due[],
): Promise<void> {
  const heard = due.filter(({ node }) => context.reach.isOnline(cluster, node));
  if (heard.length === 0) return;
  await inStep(context, cluster, async (step) => {
    for (const one of heard) await offer(step, one);
  });
}
