/**
 * Stored series of many as one answer: the aggregate over every node or guest, the highest of
 * them, the events beside them, and everything as CSV. An account with a cluster list names one of
 * its clusters; without one, the answer is over all.
 */
import { Readable } from 'node:stream';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { ClusterId, GuestId, NodeId } from '../../../broker/contract/ids.ts';
import type { App } from '../app.ts';
import { type Context, requireKnownCluster } from '../context.ts';
import { csvOf } from '../csv.ts';
import { httpError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { isoOf, problems } from '../schemas.ts';
import {
  checkMetrics,
  MetricNames,
  rangeFields,
  rangeOf,
  StepMs,
  timesOf,
} from '../telemetry-range.ts';

const topMax = 100;
const eventsMax = 1_000;
/** Of one piece of an export: about 2 MB of CSV. */
const pointsPerPiece = 20_000;
const exportPointsMax = 50_000_000;

const clusterOrAll = ClusterId.optional().meta({ description: 'Default: every cluster' });
const entity = z.enum(['node', 'guest']).default('node');
const aggregates = ['mean', 'min', 'max', 'p95'] as const;
const tags = ['telemetry'];

const TotalQuery = z.strictObject({
  cluster: clusterOrAll,
  entity,
  metrics: MetricNames,
  ...rangeFields,
  stepMs: StepMs,
  aggregate: z.enum(aggregates).default('mean'),
});
const TotalView = z.object({
  series: z.array(
    z.object({
      metric: z.string(),
      points: z.array(z.tuple([z.number(), z.number().nullable()])),
    }),
  ),
  resolutionMs: z.int(),
});

const TopQuery = z.strictObject({
  cluster: clusterOrAll,
  entity,
  metric: z.string().max(64),
  ...rangeFields,
  aggregate: z.enum([...aggregates, 'last']).default('mean'),
  limit: z.coerce.number().int().min(1).max(topMax).default(10),
});
const TopView = z.object({
  items: z.array(
    z.object({
      cluster: z.string(),
      node: z.string(),
      guest: z.string().optional(),
      value: z.number(),
    }),
  ),
});

const EventsQuery = z.strictObject({
  cluster: clusterOrAll,
  ...rangeFields,
  limit: z.coerce.number().int().min(1).max(eventsMax).default(100),
});
const EventsView = z.object({
  items: z.array(
    z.object({
      at: z.string(),
      cluster: z.string(),
      kind: z.string(),
      outcome: z.string(),
      node: z.string().nullable(),
      guest: z.string().nullable(),
      text: z.string(),
      id: z.string().nullable(),
    }),
  ),
});

const ExportQuery = z.strictObject({
  cluster: ClusterId,
  entity,
  node: NodeId.optional(),
  guest: GuestId.optional(),
  metrics: MetricNames,
  ...rangeFields,
  stepMs: StepMs,
  aggregate: z.enum([...aggregates, 'last']).default('mean'),
});

/** @throws 403 when it is over clusters that are not the asker's, 404 for an unknown one. */
async function requireScope(context: Context, request: FastifyRequest, cluster?: string) {
  if (cluster === undefined && principalOfRequest(request).clusters !== null) {
    throw httpError('KR_SCOPE', 'Without a cluster this is about every cluster.', {
      field: 'cluster',
      wayOut: 'Name one of your clusters.',
    });
  }
  await requireKnownCluster(context, cluster);
}

const named = (cluster: string | undefined) => (cluster === undefined ? {} : { cluster });

function totalRoute(app: App, context: Context): void {
  const { clock, metrics } = context;
  app.get('/api/v1/telemetry/total', {
    config: { access: 'telemetry:read' },
    schema: {
      tags,
      summary: 'One series per metric over every node or guest of a cluster, or of all',
      querystring: TotalQuery,
      response: { 200: TotalView, ...problems },
    },
    handler: async (request) => {
      const { cluster, entity: of, metrics: names, aggregate } = request.query;
      await requireScope(context, request, cluster);
      checkMetrics(names, of);
      const finest = (fromMs: number) => metrics.finestStepMs(fromMs);
      const range = rangeOf(request.query, clock.wallMs(), finest);
      const query = { ...named(cluster), entity: of, metrics: names, ...range, aggregate };
      return { series: await metrics.total(query), resolutionMs: range.stepMs };
    },
  });
}

function topRoute(app: App, context: Context): void {
  const { clock, metrics } = context;
  app.get('/api/v1/telemetry/top', {
    config: { access: 'telemetry:read' },
    schema: {
      tags,
      summary: 'The nodes or guests with the highest value of a metric, over a range',
      querystring: TopQuery,
      response: { 200: TopView, ...problems },
    },
    handler: async (request) => {
      const { cluster, entity: of, metric, aggregate, limit } = request.query;
      await requireScope(context, request, cluster);
      checkMetrics([metric], of, 'metric');
      const times = timesOf(request.query, clock.wallMs());
      const query = { ...named(cluster), entity: of, metric, ...times, aggregate, limit };
      return { items: await metrics.top(query) };
    },
  });
}

function eventsRoute(app: App, context: Context): void {
  const { clock, metrics } = context;
  app.get('/api/v1/telemetry/events', {
    config: { access: 'telemetry:read' },
    schema: {
      tags,
      summary: 'What was decided and done, as points beside the series; the newest first',
      querystring: EventsQuery,
      response: { 200: EventsView, ...problems },
    },
    handler: async (request) => {
      const { cluster, limit } = request.query;
      await requireScope(context, request, cluster);
      const times = timesOf(request.query, clock.wallMs());
      const found = await metrics.events({ ...named(cluster), ...times, limit });
      return { items: found.map(({ atMs, ...event }) => ({ at: isoOf(atMs), ...event })) };
    },
  });
}

function exportRoute(app: App, context: Context): void {
  const { clock, fleet, metrics } = context;
  app.get('/api/v1/telemetry/export', {
    config: { access: 'telemetry:read' },
    schema: {
      tags,
      summary: 'Series as CSV, a row per step and node or guest; a gap is an empty field',
      querystring: ExportQuery,
      response: { 200: z.string(), ...problems },
    },
    handler: async (request, reply) => {
      const { cluster, entity: of, node, guest, metrics: names, aggregate } = request.query;
      await requireKnownCluster(context, cluster);
      checkMetrics(names, of);
      const finest = (fromMs: number) => metrics.finestStepMs(fromMs);
      const range = rangeOf(request.query, clock.wallMs(), finest);
      const nodes = fleet().nodesByCluster.get(cluster)?.size ?? 1;
      const perNode = of === 'node' ? 1 : Math.ceil(fleet().guests.size / fleet().nodes.size) || 1;
      const seriesCount = (node === undefined && guest === undefined ? nodes : 1) * perNode;
      const perStep = Math.max(1, seriesCount * names.length);
      const steps = Math.ceil((range.toMs - range.fromMs) / range.stepMs);
      if (perStep * steps > exportPointsMax) {
        throw httpError('KR_QUERY', `This is more than ${exportPointsMax} points.`, {
          field: 'stepMs',
          wayOut: 'Use a larger stepMs, a shorter range, fewer metrics, or name one node.',
        });
      }
      const query = {
        cluster,
        entity: of,
        ...(node === undefined ? {} : { node }),
        ...(guest === undefined ? {} : { guest }),
        metrics: names,
        ...range,
        aggregate,
      };
      const stepsPerPiece = Math.max(1, Math.floor(pointsPerPiece / perStep));
      const pieces = csvOf(query, stepsPerPiece, (piece) => metrics.range(piece));
      void reply.type('text/csv; charset=utf-8');
      void reply.header('content-disposition', `attachment; filename="${cluster}-${of}.csv"`);
      // The schema says what arrives: text. Fastify sends it as it comes.
      return reply.send(Readable.from(pieces) as unknown as string);
    },
  });
}

export function telemetryFleetRoutes(app: App, context: Context): void {
  totalRoute(app, context);
  topRoute(app, context);
  eventsRoute(app, context);
  exportRoute(app, context);
}
