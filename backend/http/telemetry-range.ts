/**
 * What every question about stored series shares: names of the catalogue, a range with a step that
 * the store can answer, and bounds on both. Pure.
 */
import { z } from 'zod';
import { type Entity, metricsOf } from '../../broker/contract/metrics.ts';
import { httpError } from './errors.ts';
import { Time } from './schemas.ts';

const metricsMax = 32;
const pointsMax = 10_000;
const defaultRangeMs = 3_600_000;
const defaultPoints = 720;
const stepMinMs = 250;
const stepMaxMs = 30 * 86_400_000;
const minuteMs = 60_000;
const hourMs = 3_600_000;

export const MetricNames = z
  .string()
  .max(2_048)
  .transform((list) => [...new Set(list.split(',').map((name) => name.trim()))])
  .meta({ description: 'Names of the metrics catalogue, separated by commas' });

export const rangeFields = {
  from: Time.optional().meta({ description: 'Default: one hour before `to`' }),
  to: Time.optional().meta({ description: 'Default: now' }),
};

export const StepMs = z.coerce
  .number()
  .int()
  .min(stepMinMs)
  .max(stepMaxMs)
  .optional()
  .meta({
    description:
      'Default: what fills a picture. Longer where only roll-ups are left: a minute beyond the ' +
      'retention of raw samples, an hour beyond 90 days; `resolutionMs` says which it is',
  });

/** @throws 400 naming `field`. */
export function checkMetrics(names: readonly string[], entity: Entity, field = 'metrics'): void {
  if (names.length > metricsMax) {
    const detail = `${names.length} metrics are named; at most ${metricsMax} are possible.`;
    throw httpError('KR_QUERY', detail, { field });
  }
  const known = metricsOf(entity).map((metric) => metric.name);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw httpError('KR_METRIC_UNKNOWN', `There is no ${entity} metric ${unknown}.`, {
    field,
    wayOut: `Use one of ${known.join(', ')}.`,
  });
}

type Asked = { from?: number | undefined; to?: number | undefined };
export type Times = { fromMs: number; toMs: number };

export function timesOf(query: Asked, nowMs: number): Times {
  const toMs = query.to ?? nowMs;
  const fromMs = query.from ?? toMs - defaultRangeMs;
  if (fromMs >= toMs) {
    throw httpError('KR_QUERY', '`from` is not before `to`.', { field: 'from' });
  }
  return { fromMs, toMs };
}

const upTo = (unitMs: number, stepMs: number): number => Math.ceil(stepMs / unitMs) * unitMs;

/** A step that fills the picture, in whole seconds, minutes or hours, as roll-ups are made. */
function stepFor(rangeMs: number): number {
  const stepMs = Math.max(5_000, upTo(1_000, rangeMs / defaultPoints));
  if (stepMs <= 30_000) return stepMs;
  return stepMs <= hourMs / 2 ? upTo(minuteMs, stepMs) : upTo(hourMs, stepMs);
}

export type Range = Times & { stepMs: number };

export function rangeOf(
  query: Asked & { stepMs?: number | undefined },
  nowMs: number,
  finestStepMs: (fromMs: number) => number,
): Range {
  const times = timesOf(query, nowMs);
  const { fromMs, toMs } = times;
  const finestMs = finestStepMs(fromMs);
  const stepMs = upTo(finestMs, query.stepMs ?? stepFor(toMs - fromMs));
  const points = Math.ceil((toMs - fromMs) / stepMs);
  if (points > pointsMax) {
    throw httpError('KR_QUERY', `This range has ${points} steps; at most ${pointsMax}.`, {
      field: 'stepMs',
      wayOut: `Use stepMs of at least ${Math.ceil((toMs - fromMs) / pointsMax)}.`,
    });
  }
  return { ...times, stepMs };
}
