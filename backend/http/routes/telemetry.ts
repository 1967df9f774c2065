/** Stored series of nodes and guests. Every request is bounded in metrics, points and range. */
import { z } from 'zod';
import { ClusterId, GuestId, NodeId } from '../../../broker/contract/ids.ts';
import { type Entity, metricsOf } from '../../../broker/contract/metrics.ts';
import type { App } from '../app.ts';
import { type Context, requireKnownCluster } from '../context.ts';
import { httpError } from '../errors.ts';
import { problems, Time } from '../schemas.ts';

const metricsMax = 32;
const pointsMax = 10_000;
/** About 16 MB of JSON in the worst case, which still fits the memory budget. */
const pointsInTotalMax = 500_000;
const defaultRangeMs = 3_600_000;
const defaultPoints = 720;
const stepMinMs = 250;
const stepMaxMs = 30 * 86_400_000;

const TelemetryQuery = z
  .strictObject({
    cluster: ClusterId,
    node: NodeId.optional(),
    guest: GuestId.optional(),
    metrics: z
      .string()
      .max(2_048)
      .transform((list) => [...new Set(list.split(',').map((name) => name.trim()))])
      .meta({ description: 'Names of the metrics catalogue, separated by commas' }),
    from: Time.optional().meta({ description: 'Default: one hour before `to`' }),
    to: Time.optional().meta({ description: 'Default: now' }),
    stepMs: z.coerce.number().int().min(stepMinMs).max(stepMaxMs).optional(),
    aggregate: z.enum(['mean', 'min', 'max', 'last']).default('mean'),
  })
  .refine(({ node, guest }) => node === undefined || guest === undefined, {
    path: ['guest'],
    message: 'give node or guest, not both',
  });

const TelemetryView = z.object({
  series: z.array(
    z.object({
      metric: z.string(),
      node: z.string(),
      guest: z.string().optional(),
      points: z.array(z.tuple([z.number(), z.number().nullable()])),
    }),
  ),
  resolutionMs: z.int(),
});

function checkMetrics(names: readonly string[], entity: Entity): void {
  if (names.length > metricsMax) {
    const detail = `${names.length} metrics are named; at most ${metricsMax} are possible.`;
    throw httpError('KR_QUERY', detail, { field: 'metrics' });
  }
  const known = metricsOf(entity).map((metric) => metric.name);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw httpError('KR_METRIC_UNKNOWN', `There is no ${entity} metric ${unknown}.`, {
    field: 'metrics',
    wayOut: `Use one of ${known.join(', ')}.`,
  });
}

/** A step that fills the picture and is a whole number of seconds. */
const stepFor = (rangeMs: number): number =>
  Math.max(5_000, Math.ceil(rangeMs / defaultPoints / 1_000) * 1_000);

type Range = { fromMs: number; toMs: number; stepMs: number };

function rangeOf(
  query: { from?: number | undefined; to?: number | undefined; stepMs?: number | undefined },
  nowMs: number,
): Range {
  const toMs = query.to ?? nowMs;
  const fromMs = query.from ?? toMs - defaultRangeMs;
  if (fromMs >= toMs) {
    throw httpError('KR_QUERY', '`from` is not before `to`.', { field: 'from' });
  }
  const stepMs = query.stepMs ?? stepFor(toMs - fromMs);
  const points = Math.ceil((toMs - fromMs) / stepMs);
  if (points > pointsMax) {
    throw httpError('KR_QUERY', `This range has ${points} steps; at most ${pointsMax}.`, {
      field: 'stepMs',
      wayOut: `Use stepMs of at least ${Math.ceil((toMs - fromMs) / pointsMax)}.`,
    });
  }
  return { fromMs, toMs, stepMs };
}

const MissingQuery = z.strictObject({
  sinceMs: z.coerce.number().int().min(0).meta({ description: 'Unix time in ms' }),
});
const MissingView = z.object({
  samples: z.int().meta({ description: 'Samples stored since' }),
  missing: z.int().meta({ description: 'Sequence numbers absent between those stored' }),
});

/** Holes in the store, counted by query over every cluster; what "lost" means everywhere. */
function missingRoute(app: App, { metrics }: Context): void {
  app.get('/api/v1/telemetry/missing', {
    config: { access: 'metrics:read' },
    schema: {
      tags: ['telemetry'],
      summary: 'Sequence numbers missing in the store',
      querystring: MissingQuery,
      response: { 200: MissingView, ...problems },
    },
    handler: (request) => metrics.missing(request.query.sinceMs),
  });
}

export function telemetryRoutes(app: App, context: Context): void {
  const { clock, fleet, metrics } = context;
  missingRoute(app, context);

  app.get('/api/v1/telemetry', {
    config: { access: 'telemetry:read' },
    schema: {
      tags: ['telemetry'],
      summary: 'Series of one node, one guest, or every node of a cluster',
      querystring: TelemetryQuery,
      response: { 200: TelemetryView, ...problems },
    },
    handler: async (request) => {
      const { cluster, node, guest, metrics: names, aggregate } = request.query;
      await requireKnownCluster(context, cluster);
      const entity: Entity = guest === undefined ? 'node' : 'guest';
      checkMetrics(names, entity);
      const range = rangeOf(request.query, clock.wallMs());
      const isWhole = node === undefined && guest === undefined;
      const entities = isWhole ? (fleet().nodesByCluster.get(cluster)?.size ?? 0) : 1;
      const steps = Math.ceil((range.toMs - range.fromMs) / range.stepMs);
      if (entities * steps * names.length > pointsInTotalMax) {
        const detail = `This asks for more than ${pointsInTotalMax} points.`;
        throw httpError('KR_QUERY', detail, {
          field: 'stepMs',
          wayOut: 'Use a larger stepMs, a shorter range, fewer metrics, or name one node.',
        });
      }
      const series = await metrics.range({
        cluster,
        entity,
        ...(node === undefined ? {} : { node }),
        ...(guest === undefined ? {} : { guest }),
        metrics: names,
        ...range,
        aggregate,
      });
      return { series, resolutionMs: range.stepMs };
    },
  });
}
