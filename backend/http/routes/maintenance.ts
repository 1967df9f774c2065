/**
 * A node in a person's hands: under maintenance nobody expects to hear it, so its silence holds up
 * neither a cluster (T1) nor a start (T3), and no wake table has it woken. It is no licence: every
 * guard that looks at the node itself goes on looking.
 */
import { z } from 'zod';
import { appendAudit } from '../../audit/chain.ts';
import { setKeepAwake, setMaintenance } from '../../store/sql/clusters.ts';
import type { App } from '../app.ts';
import { changeBy, type Context } from '../context.ts';
import { httpError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { At, ByNode, isoOrNull, problems } from '../schemas.ts';

const MaintenanceBody = z
  .strictObject({
    maintenance: z.boolean(),
    reason: z.string().trim().min(1).max(512).optional(),
  })
  .meta({ examples: [{ maintenance: true, reason: 'new fans' }] });

const weekMs = 7 * 86_400_000;
const KeepAwakeBody = z
  .strictObject({
    forMs: z.int().min(60_000).max(weekMs).nullable().describe('null: it may sleep again'),
    reason: z.string().trim().min(1).max(512).optional(),
  })
  .meta({ examples: [{ forMs: 14_400_000, reason: 'film night' }] });

function keepAwakeRoute(app: App, context: Context): void {
  app.put('/api/v1/clusters/:cluster/nodes/:node/keep-awake', {
    config: { access: 'commands:submit' },
    schema: {
      tags: ['nodes'],
      summary: 'Nothing puts this node to sleep until then, whatever is saved by it',
      params: ByNode,
      body: KeepAwakeBody,
      response: { 200: z.object({ until: At.nullable() }), ...problems },
    },
    handler: async (request) => {
      const { cluster, node } = request.params;
      const { forMs, reason = null } = request.body;
      const { actor, nowMs } = changeBy(context, principalOfRequest(request));
      const untilMs = forMs === null ? null : nowMs + forMs;
      const isKnown = await context.database.transaction(async (trx) => {
        if (!(await setKeepAwake(trx, { cluster, node, untilMs }))) return false;
        await appendAudit(trx, {
          chain: cluster,
          actor,
          action: untilMs === null ? 'node.may-sleep' : 'node.kept-awake',
          subject: `node:${node}`,
          phase: 'done',
          detail: { untilMs, reason },
          atMs: nowMs,
        });
        return true;
      });
      if (isKnown) return { until: isoOrNull(untilMs) };
      const detail = `Cluster ${cluster} has no node ${node}; see GET /api/v1/nodes.`;
      throw httpError('KR_NOT_FOUND', detail, { field: 'node' });
    },
  });
}

export function maintenanceRoutes(app: App, context: Context): void {
  keepAwakeRoute(app, context);
  app.put('/api/v1/clusters/:cluster/nodes/:node/maintenance', {
    config: { access: 'clusters:change' },
    schema: {
      tags: ['nodes'],
      summary: 'Take a node in hand, or give it back; shown by GET from the next tick on',
      params: ByNode,
      body: MaintenanceBody,
      response: { 204: z.undefined().describe('Set'), ...problems },
    },
    handler: async (request, reply) => {
      const { cluster, node } = request.params;
      const { maintenance, reason = null } = request.body;
      const { actor, nowMs } = changeBy(context, principalOfRequest(request));
      const isKnown = await context.database.transaction(async (trx) => {
        if (!(await setMaintenance(trx, { cluster, node, isOn: maintenance }))) return false;
        await appendAudit(trx, {
          chain: cluster,
          actor,
          action: maintenance ? 'node.maintenance-begun' : 'node.maintenance-ended',
          subject: `node:${node}`,
          phase: 'done',
          detail: { reason },
          atMs: nowMs,
        });
        return true;
      });
      if (isKnown) return reply.code(204).send();
      const detail = `Cluster ${cluster} has no node ${node}; see GET /api/v1/nodes.`;
      throw httpError('KR_NOT_FOUND', detail, { field: 'node' });
    },
  });
}
