/**
 * Sends what is due, again and again until it has arrived: the delays grow, and after the last one
 * a delivery is dead, listed, and can be revived. Where a channel fails three times, its fallback
 * is told as well. A message may come twice, never not at all without being listed.
 */
import type { Clock, Log, NewId } from '../../broker/contract/ports.ts';
import type { Insertable } from 'kysely';
import type { DeliveryRow, NoticeRow, NoticeStore } from '../store/sql/notices.ts';
import type { NoticeDeliveries } from '../store/sql/schema.ts';
import { ChannelTarget, type Message, rejoined } from './channels.ts';
import { send } from './send.ts';
import { quietUntilMs, type NotifySettings } from './settings.ts';

const secondMs = 1_000;
const hourMs = 3_600_000;
/** After the first failure, the second, and so on; those of Standard Webhooks. */
export const retryDelaysMs: readonly number[] = [
  5 * secondMs,
  300 * secondMs,
  1_800 * secondMs,
  2 * hourMs,
  5 * hourMs,
  10 * hourMs,
  14 * hourMs,
  20 * hourMs,
  24 * hourMs,
];
const fallbackAfter = 3;
/** While one is being sent it is nobody else's; longer than any time limit of a sender. */
const sendingMs = 60 * secondMs;
const atOnceMax = 32;

export type DeliverDeps = {
  store: NoticeStore;
  unseal(name: string, sealed: string): string;
  /** One-use addresses for what waits for approval; none without a public address. */
  actionsFor(notice: NoticeRow): Promise<Message['actions']>;
  clock: Clock;
  newId: NewId;
  log: Log;
};

export async function targetOf(
  { store, unseal }: Pick<DeliverDeps, 'store' | 'unseal'>,
  row: { id: string; target: string },
): Promise<ChannelTarget> {
  const kept = await store.secretOf(row.id);
  const secret = kept === undefined ? null : unseal(kept.name, kept.sealed);
  return rejoined(ChannelTarget.parse(JSON.parse(row.target)), secret);
}

export const newDelivery = (
  notice: string,
  channel: string,
  what: 'opened' | 'resolved',
  { id, atMs, dueAtMs }: { id: string; atMs: number; dueAtMs: number },
): Insertable<NoticeDeliveries> => ({
  id,
  notice_id: notice,
  channel_id: channel,
  what,
  state: 'waiting',
  attempts: 0,
  due_at_ms: dueAtMs,
  problem: null,
  created_at_ms: atMs,
  ended_at_ms: null,
  ver: 1,
});

async function messageOf(
  deps: DeliverDeps,
  delivery: DeliveryRow,
  notice: NoticeRow,
): Promise<Message> {
  const isRecovery = delivery.what === 'resolved';
  return {
    id: delivery.id,
    atMs: delivery.created_at_ms,
    rule: notice.rule,
    severity: notice.severity,
    title: isRecovery ? `Over: ${notice.title}` : notice.title,
    text: isRecovery ? `This began ${new Date(notice.opened_at_ms).toISOString()}.` : notice.body,
    cluster: notice.cluster,
    isRecovery,
    actions: isRecovery ? [] : await deps.actionsFor(notice),
  };
}

async function failed(deps: DeliverDeps, delivery: DeliveryRow, problem: string): Promise<void> {
  const { store, clock, newId, log } = deps;
  const nowMs = clock.wallMs();
  const attempts = delivery.attempts + 1;
  const delayMs = retryDelaysMs[attempts - 1];
  const isDead = delayMs === undefined;
  log.warn({ delivery: delivery.id, attempts, problem, isDead }, 'notification not delivered');
  await store.change(delivery, {
    attempts,
    problem: problem.slice(0, 512),
    ...(isDead ? { state: 'dead' as const, ended_at_ms: nowMs } : { due_at_ms: nowMs + delayMs }),
  });
  if (attempts !== fallbackAfter) return;
  const fallback = (await store.channel(delivery.channel_id))?.fallback_id ?? null;
  if (fallback === null) return;
  const when = { id: newId(), atMs: nowMs, dueAtMs: nowMs };
  await store.addDelivery(newDelivery(delivery.notice_id, fallback, delivery.what, when));
}

async function deliverOne(
  deps: DeliverDeps,
  row: DeliveryRow,
  quiet: NotifySettings['quiet'],
): Promise<void> {
  const { store, clock } = deps;
  const nowMs = clock.wallMs();
  const notice = await store.notice(row.notice_id);
  const channel = await store.channel(row.channel_id);
  if (!notice || channel?.is_enabled !== 1) {
    await store.change(row, { state: 'dropped', ended_at_ms: nowMs });
    return;
  }
  const mayRing = notice.severity === 'critical' && row.what === 'opened' && !quiet?.isStrict;
  const untilMs = mayRing ? null : quietUntilMs(quiet, nowMs);
  if (untilMs !== null) return void (await store.change(row, { due_at_ms: untilMs }));
  // Ours until then, also when this process dies over it.
  if (!(await store.change(row, { due_at_ms: nowMs + sendingMs }))) return;
  const taken = { ...row, ver: row.ver + 1 };
  try {
    const target = await targetOf(deps, channel);
    await send(target, await messageOf(deps, taken, notice), clock.wallMs());
  } catch (error) {
    return failed(deps, taken, error instanceof Error ? error.message : String(error));
  }
  await store.change(taken, {
    state: 'delivered',
    attempts: taken.attempts + 1,
    problem: null,
    ended_at_ms: clock.wallMs(),
  });
}

export async function deliverDue(deps: DeliverDeps, settings: NotifySettings): Promise<void> {
  const due = await deps.store.due(deps.clock.wallMs(), atOnceMax);
  await Promise.all(due.map((row) => deliverOne(deps, row, settings.quiet)));
}
