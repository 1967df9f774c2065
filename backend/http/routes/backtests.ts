/**
 * Backtests: what a policy would have done with telemetry that is stored already. They read and
 * compute; nothing is switched, moved or stored by them.
 */
import { z } from 'zod';
import { ClusterId } from '../../../broker/contract/ids.ts';
import type { Backtest } from '../../backtest/backtests.ts';
import { checkPolicy, problemText } from '../../policy-file.ts';
import { mayUseCluster } from '../access.ts';
import type { App } from '../app.ts';
import { type Context, requireKnownCluster } from '../context.ts';
import { httpError, refusalError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { At, ById, isoOf, isoOrNull, problems } from '../schemas.ts';

const tags = ['backtests'];
const dayMs = 86_400_000;
/** Minutes are kept for so long; older hours hide every peak. */
const daysMax = 90;

const Moment = z
  .union([z.int().min(0), z.iso.datetime({ offset: true })])
  .describe('Unix ms, or RFC 3339 such as 2026-01-31T12:00:00Z');

const Body = z
  .strictObject({
    cluster: ClusterId,
    policy: z
      .string()
      .min(1)
      .max(48_000)
      .describe('A policy as YAML, or the name of a shipped one such as save-power'),
    days: z.number().min(0.01).max(daysMax).default(30).describe('Up to now, where from is absent'),
    from: Moment.optional(),
    to: Moment.optional(),
    pricePerKwh: z.number().min(0).max(1_000).optional(),
  })
  .meta({ examples: [{ cluster: 'home', policy: 'extends: save-power', days: 30 }] });

const Run = { kwh: z.number(), minutesOver: z.number(), nodeHoursAwake: z.number() };

const OutcomeView = z.object({
  recorded: z.object({
    ...Run,
    measuredKwh: z.number().nullable().describe('By meters, where every awake node had one'),
  }),
  replayed: z.object({
    ...Run,
    moves: z.int(),
    movesPerDay: z.number(),
    wakes: z.int(),
    sleeps: z.int(),
  }),
  savedKwh: z.number(),
  saved: z.object({ amount: z.number(), pricePerKwh: z.number() }).nullable(),
  actions: z.array(
    z.object({
      at: At,
      kind: z.string(),
      target: z.string(),
      from: z.string().nullable(),
      to: z.string().nullable(),
      rule: z.string(),
      reason: z.string(),
    }),
  ),
  actionCount: z.int().describe('Of which `actions` holds the first 2000'),
  held: z
    .array(z.object({ rule: z.string(), reason: z.string(), rounds: z.int() }))
    .describe('What kept it from doing more, the most frequent first'),
  course: z
    .array(
      z.object({
        at: At,
        recordedKwh: z.number(),
        replayedKwh: z.number(),
        recordedMinutesOver: z.number(),
        replayedMinutesOver: z.number(),
        moves: z.int(),
      }),
    )
    .describe('Sums from the beginning on, at equal distances of time'),
  resolution: z.array(
    z.object({ from: At, to: At, stepMs: z.int(), source: z.enum(['raw', '1m', '1h']) }),
  ),
  coverage: z.number().describe('Share of the time for which anything was recorded'),
  assumptions: z.array(z.string()),
});

const BacktestView = z.object({
  id: z.string(),
  cluster: z.string(),
  actor: z.string(),
  state: z.enum(['running', 'done', 'cancelled', 'failed']),
  startedAt: At,
  finishedAt: At.nullable(),
  from: At,
  to: At,
  progress: z.number(),
  problem: z.string().nullable(),
  outcome: OutcomeView.nullable(),
});
export type BacktestView = z.infer<typeof BacktestView>;

function outcomeOf({ outcome }: Backtest): BacktestView['outcome'] {
  if (outcome === null) return null;
  const { cluster: _, fromMs: __, toMs: ___, actions, course, resolution, ...rest } = outcome;
  return {
    ...rest,
    actions: actions.map(({ atMs, ...action }) => ({ at: isoOf(atMs), ...action })),
    course: course.map(({ atMs, ...sums }) => ({ at: isoOf(atMs), ...sums })),
    resolution: resolution.map(({ fromMs, toMs, stepMs, source }) => ({
      from: isoOf(fromMs),
      to: isoOf(toMs),
      stepMs,
      source,
    })),
  };
}

const viewOf = (backtest: Backtest): BacktestView => ({
  id: backtest.id,
  cluster: backtest.cluster,
  actor: backtest.actor,
  state: backtest.state,
  startedAt: isoOf(backtest.startedAtMs),
  finishedAt: isoOrNull(backtest.finishedAtMs),
  from: isoOf(backtest.fromMs),
  to: isoOf(backtest.toMs),
  progress: backtest.progress,
  problem: backtest.problem,
  outcome: outcomeOf(backtest),
});

type Asked = z.infer<typeof Body>;

const msOf = (moment: Asked['from']): number | undefined =>
  typeof moment === 'string' ? Date.parse(moment) : moment;

function spanOf({ days, from, to }: Asked, nowMs: number): { fromMs: number; toMs: number } {
  const toMs = Math.min(msOf(to) ?? nowMs, nowMs);
  const fromMs = msOf(from) ?? toMs - days * dayMs;
  if (fromMs >= toMs) throw httpError('KR_BODY', '`from` is not before `to`.', { field: 'from' });
  if (toMs - fromMs > daysMax * dayMs) {
    throw httpError('KR_BODY', `At most ${daysMax} days are replayed at once.`, { field: 'from' });
  }
  return { fromMs, toMs };
}

function policyOf({ policy, cluster }: Asked, { fleet }: Context) {
  const isReal = fleet().clusters.get(cluster)?.simulated !== true;
  const checked = checkPolicy(policy, { isReal });
  if (checked.ok) return checked.policy;
  const detail = checked.problems.map(problemText).join('; ');
  const wayOut = 'Correct the policy at the named line and column; docs/policies.md explains it.';
  throw httpError('KR_BODY', detail, { field: 'policy', wayOut });
}

export function backtestRoutes(app: App, context: Context): void {
  const { backtests, clock } = context;

  app.post('/api/v1/backtests', {
    config: { access: 'backtests:run' },
    schema: {
      tags,
      summary: 'Replay stored telemetry under a policy; one at a time',
      body: Body,
      response: { 202: BacktestView, ...problems },
    },
    handler: async (request, reply) => {
      const { body } = request;
      const { cluster, pricePerKwh = null } = body;
      await requireKnownCluster(context, cluster);
      const started = backtests.start({
        cluster,
        policy: policyOf(body, context),
        ...spanOf(body, clock.wallMs()),
        pricePerKwh,
        actor: principalOfRequest(request).actor,
      });
      if (!started.ok) throw refusalError(started.refusal);
      return reply.code(202).send(viewOf(started.backtest));
    },
  });

  app.get('/api/v1/backtests', {
    config: { access: 'decisions:read' },
    schema: {
      tags,
      summary: 'The newest backtests since this server started, without their actions and course',
      response: { 200: z.object({ items: z.array(BacktestView) }), ...problems },
    },
    handler: async (request) => {
      const principal = principalOfRequest(request);
      const items = backtests
        .list()
        .filter(({ cluster }) => mayUseCluster(principal, cluster))
        .map(viewOf)
        .map((view) => ({
          ...view,
          outcome: view.outcome && { ...view.outcome, actions: [], course: [] },
        }));
      return { items };
    },
  });

  const found = (id: string, request: Parameters<typeof principalOfRequest>[0]): Backtest => {
    const backtest = backtests.get(id);
    if (backtest && mayUseCluster(principalOfRequest(request), backtest.cluster)) return backtest;
    throw httpError('KR_NOT_FOUND', `There is no backtest ${id}.`, { field: 'id' });
  };

  app.get('/api/v1/backtests/:id', {
    config: { access: 'decisions:read' },
    schema: {
      tags,
      summary: 'How far a backtest is, and what it found',
      params: ById,
      response: { 200: BacktestView, ...problems },
    },
    handler: async (request) => viewOf(found(request.params.id, request)),
  });

  app.delete('/api/v1/backtests/:id', {
    config: { access: 'backtests:run' },
    schema: {
      tags,
      summary: 'End a backtest that runs',
      params: ById,
      response: { 200: BacktestView, ...problems },
    },
    handler: async (request) => {
      const { id } = found(request.params.id, request);
      await backtests.cancel(id);
      return viewOf(found(id, request));
    },
  });
}
