/**
 * A node in a person's hands: under maintenance nobody expects to hear it, so its silence holds up
 * neither a cluster (T1) nor a start (T3), and no wake table has it woken. It is no licence: every
 * guard that looks at the node itself goes on looking.
 */
import { z } from 'zod';
import { appendAudit } from '../../audit/chain.ts';
import { setMaintenance } from '../../store/sql/clusters.ts';
import type { App } from '../app.ts';
import { changeBy, type Context } from '../context.ts';
import { httpError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { ByNode, problems } from '../schemas.ts';

const MaintenanceBody = z
  .strictObject({
    maintenance: z.boolean(),
    reason: z.string().trim().min(1).max(512).optional(),
  })
  .meta({ examples: [{ maintenance: true, reason: 'new fans' }] });

export function maintenanceRoutes(app: App, context: Context): void {
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
