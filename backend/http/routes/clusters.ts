/** Clusters: what they are, how much the engine may do in them, and HOLD. */
import { z } from 'zod';
import { CommandKind } from '../../../broker/contract/command.ts';
import type { Transaction } from 'kysely';
import { boundProblem, LimitChange, SettingChange } from '../../act/guard-limits.ts';
import { appendAudit } from '../../audit/chain.ts';
import type { Database } from '../../store/sql/database.ts';
import type { Clusters, Schema } from '../../store/sql/schema.ts';
import { clusterUnknown, mayUseCluster, type Principal, requireRole } from '../access.ts';
import type { App } from '../app.ts';
import { changeBy, type Context } from '../context.ts';
import { type ErrorCode, httpError, refusalError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { pageOfKeys } from '../paging.ts';
import { ByCluster, listQuery, pageOf, Password, problems } from '../schemas.ts';
import { Autonomy, clusterView, ClusterView } from '../views.ts';

const tags = ['clusters'];

const ClusterChange = z
  .strictObject({
    autonomy: z
      .partialRecord(z.union([CommandKind, z.literal('default')]), Autonomy)
      .optional()
      .describe('Replaces the levels of the named kinds; `default` is for the rest'),
    timeScale: z.number().positive().max(86_400).optional().describe('Simulated clusters only'),
    limits: LimitChange.optional().describe(
      'What guards and limiter measure by; null takes a value back to its default. Real clusters have hard bounds',
    ),
    settings: SettingChange.optional().describe('wakeProof assumed is for simulated clusters only'),
    frozen: z.literal(false).optional().describe('Lifts a freeze and the quarantine of its nodes'),
    confirm: z.string().optional().describe('The cluster id, typed, for limits.spareVoters 0'),
    simulated: z.boolean().optional().describe('Fixed at creation; accepted only unchanged'),
  })
  .refine((change) => Object.keys(change).length > 0, {
    message: 'name at least one of autonomy, timeScale, limits, settings, frozen',
  })
  .meta({ examples: [{ autonomy: { default: 'recommend', 'guest.migrate': 'auto' } }] });

const HoldBody = z
  .strictObject({
    hold: z.boolean(),
    reason: z.string().trim().min(1).max(512).optional(),
    password: Password.optional().describe('Proves who releases; not needed within 5 minutes'),
  })
  .meta({ examples: [{ hold: true, reason: 'firmware update in rack 2' }] });

const HoldView = z.object({ all: z.boolean(), clusters: z.array(z.string()) });

type ChangeBody = z.infer<typeof ClusterChange>;
type Refused = { code: ErrorCode; detail: string; field: string };

type Row = Pick<Clusters, 'id' | 'simulated' | 'limits' | 'settings' | 'time_scale' | 'autonomy'>;

function refusalOf(row: Row, change: ChangeBody): Refused | undefined {
  const { id } = row;
  const isSimulated = row.simulated === 1;
  const conflict = (field: string, detail: string): Refused => ({
    code: 'KR_CONFLICT',
    detail,
    field,
  });
  if (change.simulated !== undefined && change.simulated !== isSimulated) {
    const detail = `Cluster ${id} was created with simulated ${String(isSimulated)}.`;
    return { code: 'KR_SIMULATED_FIXED', detail, field: 'simulated' };
  }
  if (isSimulated) return undefined;
  if ((change.timeScale ?? row.time_scale) !== 1) {
    return conflict('timeScale', `Cluster ${id} is real; its time cannot be scaled.`);
  }
  if (change.settings?.wakeProof === 'assumed' || change.settings?.reserve === 'none') {
    return conflict('settings', `Cluster ${id} is real; wakes must be proven and memory kept.`);
  }
  const problem = boundProblem(change.limits ?? {});
  if (problem) return conflict(`limits.${problem.name}`, `It must be ${problem.detail}.`);
  if (change.limits?.spareVoters === 0 && change.confirm !== id) {
    return conflict('confirm', `Without a spare vote one failure resets ${id}; type its id here.`);
  }
  return undefined;
}

const merged = (before: string, change: object | undefined): object => {
  const all = Object.entries({ ...(JSON.parse(before) as object), ...change });
  return Object.fromEntries(all.filter(([, value]) => value !== null && value !== undefined));
};

async function liftFreeze(trx: Transaction<Schema>, id: string): Promise<void> {
  await trx
    .updateTable('clusters')
    .set({ frozen_until_ms: null, frozen_reason: null })
    .where('id', '=', id)
    .execute();
  await trx
    .updateTable('nodes')
    .set((eb) => ({ quarantined_until_ms: null, ver: eb('ver', '+', 1) }))
    .where('cluster', '=', id)
    .where('quarantined_until_ms', 'is not', null)
    .execute();
}

async function changeCluster(
  database: Database,
  id: string,
  { change, by }: { change: ChangeBody; by: { actor: string; nowMs: number } },
): Promise<Refused | undefined> {
  return database.transaction(async (trx) => {
    const row = await trx
      .selectFrom('clusters')
      .select(['id', 'simulated', 'autonomy', 'time_scale', 'limits', 'settings', 'ver'])
      .where('id', '=', id)
      .executeTakeFirst();
    if (!row) {
      return { code: 'KR_CLUSTER_UNKNOWN', detail: `There is no cluster ${id}.`, field: 'cluster' };
    }
    const refused = refusalOf(row, change);
    if (refused) return refused;
    const timeScale = change.timeScale ?? row.time_scale;
    const limits = merged(row.limits, change.limits);
    const settings = merged(row.settings, change.settings);
    const before = JSON.parse(row.autonomy) as Record<string, string>;
    const autonomy = { ...before, ...change.autonomy };
    const updated = await trx
      .updateTable('clusters')
      .set({
        autonomy: JSON.stringify(autonomy),
        time_scale: timeScale,
        limits: JSON.stringify(limits),
        settings: JSON.stringify(settings),
        ver: row.ver + 1,
      })
      .where('id', '=', id)
      .where('ver', '=', row.ver)
      .executeTakeFirst();
    if (updated.numUpdatedRows === 0n) {
      return {
        code: 'KR_CONFLICT',
        detail: 'Somebody else changed it just now.',
        field: 'cluster',
      };
    }
    if (change.frozen === false) await liftFreeze(trx, id);
    await appendAudit(trx, {
      chain: id,
      actor: by.actor,
      action: 'cluster.change',
      subject: `cluster:${id}`,
      phase: 'done',
      detail: {
        after: { autonomy, timeScale, limits, settings },
        before: {
          autonomy: before,
          timeScale: row.time_scale,
          limits: row.limits,
          settings: row.settings,
        },
        isThawed: change.frozen === false,
      },
      atMs: by.nowMs,
    });
    return undefined;
  });
}

function readRoutes(app: App, context: Context): void {
  const { clock, fleet } = context;
  const view = (id: string) => {
    const cluster = fleet().clusters.get(id);
    const now = { nowMs: clock.monotonicMs(), wallMs: clock.wallMs() };
    return cluster && clusterView(cluster, fleet(), now);
  };

  app.get('/api/v1/clusters', {
    config: { access: 'fleet:read' },
    schema: {
      tags,
      summary: 'Clusters in your scope',
      querystring: listQuery({}),
      response: { 200: pageOf(ClusterView), ...problems },
    },
    handler: (request) => {
      const principal = principalOfRequest(request);
      const { cluster } = request.query;
      const ids = [...fleet().clusters.keys()]
        .filter((id) => mayUseCluster(principal, id) && (cluster === undefined || id === cluster))
        .sort();
      return pageOfKeys(ids, request.query, view);
    },
  });

  app.get('/api/v1/clusters/:cluster', {
    config: { access: 'fleet:read' },
    schema: {
      tags,
      summary: 'One cluster',
      params: ByCluster,
      response: { 200: ClusterView, ...problems },
    },
    handler: (request) => {
      const { cluster } = request.params;
      const found = view(cluster);
      if (!found) throw clusterUnknown(cluster, 'cluster');
      return found;
    },
  });

  app.patch('/api/v1/clusters/:cluster', {
    config: { access: 'clusters:change' },
    schema: {
      tags,
      summary: 'Change what the engine may do here; shown by GET from the next tick on',
      params: ByCluster,
      body: ClusterChange,
      response: { 204: z.undefined().describe('Changed'), ...problems },
    },
    handler: async (request, reply) => {
      const by = changeBy(context, principalOfRequest(request));
      const order = { change: request.body, by };
      const refused = await changeCluster(context.database, request.params.cluster, order);
      if (refused) throw httpError(refused.code, refused.detail, { field: refused.field });
      return reply.code(204).send();
    },
  });
}

async function setHold(
  context: Context,
  principal: Principal,
  { cluster, body }: { cluster: string | null; body: z.infer<typeof HoldBody> },
): Promise<void> {
  const { hold, reason = null, password } = body;
  if (!hold) {
    requireRole(principal, 'admin', 'Releasing HOLD');
    await context.authentication.requireFreshProof(principal, password);
  }
  const { actor } = principal;
  const answer = await context.commands.setHold({ cluster, hold, reason, actor });
  if (!answer.ok) throw refusalError(answer.refusal);
}

function holdRoutes(app: App, context: Context): void {
  const { commands, fleet } = context;

  app.get('/api/v1/hold', {
    config: { access: 'fleet:read' },
    schema: {
      tags,
      summary: 'What is on HOLD',
      response: { 200: HoldView, ...problems },
    },
    handler: (request) => {
      const principal = principalOfRequest(request);
      const clusters = [...fleet().clusters.values()]
        .filter(({ id, hold }) => hold && mayUseCluster(principal, id))
        .map(({ id }) => id);
      return { all: commands.isHeld(), clusters };
    },
  });

  app.put('/api/v1/hold', {
    config: { access: 'hold:all' },
    schema: {
      tags,
      summary: 'Stop or release everything; releasing needs an administrator and a fresh password',
      body: HoldBody,
      response: { 204: z.undefined().describe('Set'), ...problems },
    },
    handler: async (request, reply) => {
      await setHold(context, principalOfRequest(request), { cluster: null, body: request.body });
      return reply.code(204).send();
    },
  });

  app.put('/api/v1/clusters/:cluster/hold', {
    config: { access: 'hold:cluster' },
    schema: {
      tags,
      summary: 'Stop or release one cluster',
      params: ByCluster,
      body: HoldBody,
      response: { 204: z.undefined().describe('Set'), ...problems },
    },
    handler: async (request, reply) => {
      const { cluster } = request.params;
      await setHold(context, principalOfRequest(request), { cluster, body: request.body });
      return reply.code(204).send();
    },
  });
}

export function clusterRoutes(app: App, context: Context): void {
  readRoutes(app, context);
  holdRoutes(app, context);
}
