/**
 * From which resolution a range is answered: raw samples, or the roll-ups to a minute and an hour
 * that outlive them. The newest part, which no roll-up holds yet, comes from the next finer one, so
 * that an answer always reaches up to now. Pure; both stores ask it.
 */
import { stepOf } from './grid.ts';

export const minuteMs = 60_000;
export const hourMs = 3_600_000;
export const dayMs = 86_400_000;

export type Resolution = '1m' | '1h';
export type Source = 'raw' | Resolution;

/** How long each is kept; `raw` is a setting. */
export const retentionMs: Record<Resolution, number> = { '1m': 90 * dayMs, '1h': 730 * dayMs };
export const rawRetentionDaysDefault = 7;

/** Below, raw samples are fast enough and say more than their means. */
const rawRangeMaxMs = 6 * hourMs;
/** Above, a minute's rows are too many. */
const minuteRangeMaxMs = 2 * dayMs;

export type Span = { fromMs: number; toMs: number; stepMs: number };
export type Part = { source: Source; fromMs: number; toMs: number };
/** From where on raw samples are kept, and up to where each roll-up is complete. */
export type Horizons = { rawSinceMs: number; until: Record<Resolution, number> };

function coarsest({ fromMs, toMs, stepMs }: Span, rawSinceMs: number): Source {
  const isKept = fromMs >= rawSinceMs;
  if (stepMs % minuteMs !== 0 || (isKept && toMs - fromMs <= rawRangeMaxMs)) return 'raw';
  return stepMs % hourMs === 0 && toMs - fromMs > minuteRangeMaxMs ? '1h' : '1m';
}

/** In order of time, without gap or overlap; parts meet at steps, so that none is answered twice. */
export function partsOf(span: Span, { rawSinceMs, until }: Horizons): Part[] {
  const source = coarsest(span, rawSinceMs);
  const order: readonly Source[] = source === '1h' ? ['1h', '1m', 'raw'] : [source, 'raw'];
  const parts: Part[] = [];
  let fromMs = span.fromMs;
  for (const each of order) {
    const endMs = each === 'raw' ? span.toMs : stepOf(until[each], span.stepMs);
    const toMs = Math.min(span.toMs, endMs);
    if (toMs <= fromMs) continue;
    parts.push({ source: each, fromMs, toMs });
    fromMs = toMs;
  }
  return parts;
}

/** The shortest step that something is kept for as long ago as `fromMs`. */
export function shortestStepMs(fromMs: number, nowMs: number, rawRetentionDays: number): number {
  const ageMs = nowMs - fromMs;
  if (ageMs <= rawRetentionDays * dayMs) return 1;
  return ageMs <= retentionMs['1m'] ? minuteMs : hourMs;
}
