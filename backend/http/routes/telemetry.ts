/** Stored series of nodes and guests. Every request is bounded in metrics, points and range. */
import { z } from 'zod';
import { ClusterId, GuestId, NodeId } from '../../../broker/contract/ids.ts';
import type { Entity } from '../../../broker/contract/metrics.ts';
import type { App } from '../app.ts';
import { type Context, requireKnownCluster } from '../context.ts';
import { httpError } from '../errors.ts';
import { problems } from '../schemas.ts';
import { checkMetrics, MetricNames, rangeFields, rangeOf, StepMs } from '../telemetry-range.ts';

/** About 16 MB of JSON in the worst case, which still fits the memory budget. */
const pointsInTotalMax = 500_000;

const TelemetryQuery = z
  .strictObject({
    cluster: ClusterId,
    node: NodeId.optional(),
    guest: GuestId.optional(),
    metrics: MetricNames,
    ...rangeFields,
    stepMs: StepMs,
    aggregate: z
      .enum(['mean', 'min', 'max', 'last', 'p95'])
      .default('mean')
      .meta({
        description:
          'Over the samples of a step. From roll-ups min, last and p95 are those of the means of ' +
          'a minute or an hour; mean and max are those of the samples',
      }),
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

const MissingQuery = z.strictObject({
  sinceMs: z.coerce.number().int().min(0).meta({ description: 'Unix time in ms' }),
  clusterPrefix: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'use lower-case letters, digits and hyphens')
    .optional()
    .meta({ description: 'Only clusters whose id begins so' }),
});
const MissingView = z.object({
  samples: z.int().meta({ description: 'Samples stored since' }),
  missing: z.int().meta({ description: 'Sequence numbers absent between those stored' }),
});

/** Holes in the store, counted by query; what "lost" means everywhere. */
function missingRoute(app: App, { metrics }: Context): void {
  app.get('/api/v1/telemetry/missing', {
    config: { access: 'metrics:read' },
    schema: {
      tags: ['telemetry'],
      summary: 'Sequence numbers missing in the store',
      querystring: MissingQuery,
      response: { 200: MissingView, ...problems },
    },
    handler: ({ query }) => metrics.missing(query.sinceMs, query.clusterPrefix),
  });
}

export function telemetryRoutes(app: App, context: Context): void {
  const { clock, fleet, metrics } = context;
  missingRoute(app, context);

  app.get('/api/v1/telemetry', {
    config: { access: 'telemetry:read' },
    schema: {
      tags: ['telemetry'],
      summary: 'Series of one node, one guest, or every node of a cluster; a gap is null',
      querystring: TelemetryQuery,
      response: { 200: TelemetryView, ...problems },
    },
    handler: async (request) => {
      const { cluster, node, guest, metrics: names, aggregate } = request.query;
      await requireKnownCluster(context, cluster);
      const entity: Entity = guest === undefined ? 'node' : 'guest';
      checkMetrics(names, entity);
      const finest = (fromMs: number) => metrics.finestStepMs(fromMs);
      const range = rangeOf(request.query, clock.wallMs(), finest);
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
