/**
 * One word for a node, the first that applies: what people and commands want of it comes before
 * what is seen of it, and what is seen before silence.
 */
import type { NodeRecord, NodeState } from './fleet.ts';

/** A sample is fresh for three intervals, at least 30 s (SAFETY T1). */
const staleAfterMs = (intervalMs: number): number => Math.max(3 * intervalMs, 30_000);
const lostAfterMs = 180_000;
const lostAfterWillMs = 30_000;

/** Age of the newest sample by this server's monotonic clock, null when there was none. */
export const sampleAgeMs = (record: NodeRecord, nowMs: number): number | null =>
  record.sampleAtMs === null ? null : Math.max(0, nowMs - record.sampleAtMs);

/** Whether it reports, be it late: its figures mean something, whatever is wanted of it. */
export function isHeard(record: NodeRecord, nowMs: number): boolean {
  const ageMs = sampleAgeMs(record, nowMs);
  return record.online && ageMs !== null && ageMs <= lostAfterMs;
}

/** @param nowMs monotonic */
export function nodeState(record: NodeRecord, nowMs: number): NodeState {
  const ageMs = sampleAgeMs(record, nowMs);
  const isFresh = record.online && ageMs !== null && ageMs <= staleAfterMs(record.intervalMs);
  if (record.maintenance) return 'maintenance';
  if (record.activeKind === 'node.wake') return 'waking';
  if (record.activeKind === 'node.drain' || record.activeKind === 'node.shutdown') {
    return 'draining';
  }
  if (record.desired === 'asleep' && !isFresh) return 'asleep';
  if (ageMs === null) return 'unknown';
  const isGone = record.offlineSinceMs !== null && nowMs - record.offlineSinceMs > lostAfterWillMs;
  if (ageMs > lostAfterMs || isGone) return 'lost';
  return ageMs > staleAfterMs(record.intervalMs) ? 'stale' : 'awake';
}
