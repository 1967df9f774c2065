/** Daemons of a cluster: who may speak for which nodes, and taking that right away. */
import { z } from 'zod';
import { DaemonId } from '../../../broker/contract/ids.ts';
import type { App } from '../app.ts';
import type { Context } from '../context.ts';
import { refusalError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { At, ByCluster, isoOf, isoOrNull, problems } from '../schemas.ts';

const tags = ['enrolments'];

const DaemonView = z.object({
  id: z.string(),
  nodes: z.array(z.string()),
  simulated: z.boolean(),
  enrolledAt: At,
  revokedAt: At.nullable(),
});
export type DaemonView = z.infer<typeof DaemonView>;

const ByDaemon = ByCluster.extend({ daemon: DaemonId });

export function daemonRoutes(app: App, context: Context): void {
  const { enrolments, queries } = context;

  app.get('/api/v1/clusters/:cluster/daemons', {
    config: { access: 'fleet:read' },
    schema: {
      tags,
      summary: 'Daemons that were let in, and for which nodes each speaks',
      params: ByCluster,
      response: { 200: z.object({ items: z.array(DaemonView) }), ...problems },
    },
    handler: async (request) => {
      const rows = await queries.daemons(request.params.cluster);
      const items = rows.map(({ id, nodes, simulated, created_at_ms, revoked_at_ms }) => ({
        id,
        nodes,
        simulated: simulated === 1,
        enrolledAt: isoOf(created_at_ms),
        revokedAt: isoOrNull(revoked_at_ms),
      }));
      return { items };
    },
  });

  app.delete('/api/v1/clusters/:cluster/daemons/:daemon', {
    config: { access: 'enrolments:create' },
    schema: {
      tags,
      summary: 'Take the credential of a daemon away; its connection ends at once',
      params: ByDaemon,
      response: { 204: z.undefined().describe('Revoked'), ...problems },
    },
    handler: async (request, reply) => {
      const { cluster, daemon } = request.params;
      const { actor } = principalOfRequest(request);
      const answer = await enrolments.revoke({ cluster, daemon, actor });
      if (!answer.ok) throw refusalError(answer.refusal);
      return reply.code(204).send();
    },
  });
}
