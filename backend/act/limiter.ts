/**
 * How often dangerous things may be queued (SAFETY W5, V10), below the engine and below every
 * guard: tokens are rows, taken by conditional update in the transaction that queues the command.
 * A bucket has slots, and a slot that was taken is free again after its window, so that no window
 * ever holds more than its slots. A token is never given back: what was queued may have happened.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import { ConflictError } from '../store/sql/errors.ts';
import type { Commands } from '../store/sql/schema.ts';
import { powerOffsMax } from './facts.ts';
import type { Denial } from './guard.ts';
import { type Limits, limitsOf } from './guard-limits.ts';
import { activeStates, isPowerOff } from './lifecycle.ts';
import { type Step, timeScaleOf } from './step.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
/** Twice the longest window: older rows limit nothing. */
const forgottenAfterMs = 2 * dayMs;

type Taker = Pick<Commands, 'id' | 'target_id' | 'origin'> & { kind: CommandKind };
type Bucket = { cluster: string; name: string; slots: number; windowMs: number; rule: string };
type Slot = { bucket: Bucket; name: string; ver: number | null };

const scaled = ({ cluster }: Step, ms: number): number => ms / timeScaleOf(cluster);

async function powerBuckets(step: Step, limits: Limits): Promise<Bucket[]> {
  const { id: cluster, simulated } = step.cluster;
  const perHour = Math.max(
    1,
    Math.floor((await step.rows.countNodes(cluster)) * limits.powerOffRatioPerHour),
  );
  const global = simulated === 1 ? 'power-off.simulated' : 'power-off';
  const bucket = { cluster, slots: 1, rule: 'W5' };
  return [
    { ...bucket, name: 'power-off', windowMs: limits.powerOffEveryMs },
    { ...bucket, name: 'power-off.hour', slots: perHour, windowMs: scaled(step, hourMs) },
    { ...bucket, cluster: '*', name: global, windowMs: limits.globalPowerOffEveryMs },
  ];
}

/** A window of nothing limits nothing; only simulated clusters may have one. */
async function bucketsOf(step: Step, row: Taker, limits: Limits): Promise<Bucket[]> {
  const { id: cluster } = step.cluster;
  if (isPowerOff(row.kind)) {
    const buckets = await powerBuckets(step, limits);
    return limits.powerOffEveryMs === 0 ? [] : buckets.filter(({ windowMs }) => windowMs > 0);
  }
  if (row.kind === 'node.wake' && limits.wakeEveryMs > 0) {
    return [{ cluster, name: 'wake', slots: 1, windowMs: limits.wakeEveryMs, rule: 'W5' }];
  }
  if (row.kind !== 'guest.migrate' || row.origin !== 'engine') return [];
  if (limits.guestCooldownMs === 0) return [];
  const name = `move:${row.target_id}`;
  const slots = limits.guestMovesPerDay;
  return [
    { cluster, name, slots: 1, windowMs: limits.guestCooldownMs, rule: 'V10' },
    { cluster, name: `${name}:day`, slots, windowMs: scaled(step, dayMs), rule: 'V10' },
  ];
}

/** A slot nobody took yet, or one whose window is over. */
async function freeSlot(step: Step, bucket: Bucket): Promise<Slot | undefined> {
  const names = Array.from({ length: bucket.slots }, (_, index) => `${bucket.name}#${index}`);
  const rows = await step.rows.limiterSlots(bucket.cluster, names);
  const known = new Map(rows.map((row) => [row.bucket, row]));
  for (const name of names) {
    const row = known.get(name);
    if (!row) return { bucket, name, ver: null };
    if (step.nowMs - row.updated_at_ms >= bucket.windowMs) return { bucket, name, ver: row.ver };
  }
  return undefined;
}

async function take(step: Step, { bucket, name, ver }: Slot): Promise<void> {
  const slot = { cluster: bucket.cluster, bucket: name, ver };
  const isOurs = await step.rows.takeSlot(slot, step.nowMs);
  if (!isOurs) throw new ConflictError(`limiter ${name} was taken meanwhile`);
}

const forget = (step: Step): Promise<void> =>
  step.rows.forgetSlots(step.cluster.id, step.nowMs - forgottenAfterMs);

/** Power-offs that wait or may have begun, other than this one. */
async function powerOffsInFlight(step: Step, row: Taker): Promise<number> {
  const rows = await step.rows.commandsOf(step.cluster.id, {
    kinds: ['node.shutdown', 'node.reboot'],
    states: [...activeStates, 'QUEUED', 'OFFERED'],
  });
  return rows.filter(({ id }) => id !== row.id).length;
}

const tooMany = (inFlight: number, max: number): Denial => ({
  rule: 'W5',
  code: 'KR_LIMITER',
  reason: `${inFlight} power-offs are in flight, at most ${max} may be`,
  wayOut: 'wait until one has ended, or resolve it when it is INDETERMINATE',
});

const spent = ({ name, slots, windowMs, rule }: Bucket): Denial => ({
  rule,
  code: 'KR_LIMITER',
  reason: `limit ${name} of ${slots} per ${Math.round(windowMs)} ms is used up`,
  wayOut: 'wait, and send it again; the limits of the cluster may be changed within their bounds',
});

/** A free token of every kind the command needs, or what there is none of. */
async function freeTokens(step: Step, row: Taker): Promise<Slot[] | Denial> {
  if (isPowerOff(row.kind)) {
    const inFlight = await powerOffsInFlight(step, row);
    const max = powerOffsMax(step);
    if (inFlight >= max) return tooMany(inFlight, max);
  }
  const slots: Slot[] = [];
  for (const bucket of await bucketsOf(step, row, limitsOf(step.cluster))) {
    const slot = await freeSlot(step, bucket);
    if (!slot) return spent(bucket);
    slots.push(slot);
  }
  return slots;
}

/** What would be said of the command now; nothing is taken. */
export async function lookAtTokens(step: Step, row: Taker): Promise<Denial | null> {
  const found = await freeTokens(step, row);
  return Array.isArray(found) ? null : found;
}

/** Takes every token the command needs, or none and says why. */
export async function takeTokens(step: Step, row: Taker): Promise<Denial | null> {
  const slots = await freeTokens(step, row);
  if (!Array.isArray(slots)) return slots;
  for (const slot of slots) await take(step, slot);
  if (slots.length > 0) await forget(step);
  return null;
}
