/**
 * A node in a person's hands: under maintenance nobody expects to hear it, so its silence holds up
 * neither a cluster (T1) nor a start (T3), and no wake table has it woken. It is no licence: every
 * guard that looks at the node itself goes on looking.
 */
import type { Transaction } from 'kysely';
import { z } from 'zod';
import { nodeKey } from '../../../broker/contract/ids.ts';
import { appendAudit } from '../../audit/chain.ts';
import { setKeepAwake, setMaintenance } from '../../store/sql/clusters.ts';
import { beginEvacuation, endEvacuation, returnGuests } from '../../store/sql/evacuations.ts';
import type { Schema } from '../../store/sql/schema.ts';
import type { App } from '../app.ts';
import { changeBy, type Context } from '../context.ts';
import { principalOfRequest } from '../guard.ts';
import { At, ByNode, isoOrNull, problems } from '../schemas.ts';
import { emptyingRoute, unknownNode } from './emptying.ts';

const MaintenanceBody = z
  .strictObject({
    maintenance: z.boolean(),
    evacuate: z
      .boolean()
      .optional()
      .describe('First its guests move to other nodes; it rests once it is empty'),
    forProof: z
      .boolean()
      .optional()
      .describe('With evacuate: emptied for its wake proof alone; its guests return after that'),
    sleep: z.boolean().optional().describe('With evacuate: once empty it is switched off'),
    guestsReturn: z
      .boolean()
      .optional()
      .describe('At the end: false leaves the guests that were moved where they are'),
    reason: z.string().trim().min(1).max(512).optional(),
  })
  .refine(({ maintenance, evacuate }) => maintenance || evacuate !== true, {
    path: ['evacuate'],
    message: 'belongs to the beginning of a maintenance',
  })
  .refine(({ sleep, evacuate }) => sleep !== true || evacuate === true, {
    path: ['sleep'],
    message: 'needs evacuate',
  })
  .refine(({ forProof, evacuate, sleep }) => forProof !== true || (evacuate === true && !sleep), {
    path: ['forProof'],
    message: 'needs evacuate, and the proof itself switches it off',
  })
  .meta({ examples: [{ maintenance: true, evacuate: true, reason: 'new fans' }] });
type MaintenanceWish = z.infer<typeof MaintenanceBody>;

type Order = { cluster: string; node: string; guests: readonly string[]; actor: string };

/** @returns what it is called in the audit trail; null: there is no such node */
async function orderMaintenance(
  trx: Transaction<Schema>,
  wish: MaintenanceWish,
  { cluster, node, guests, actor, nowMs }: Order & { nowMs: number },
): Promise<string | null> {
  const { maintenance, evacuate = false, sleep = false, guestsReturn = true } = wish;
  const isOn = maintenance && !evacuate;
  if (!(await setMaintenance(trx, { cluster, node, isOn }))) return null;
  if (maintenance && evacuate) {
    const phase = wish.forProof === true ? 'prove' : 'evacuate';
    await beginEvacuation(trx, { cluster, node, phase, sleeps: sleep, guests, actor, nowMs });
    return 'node.evacuation-begun';
  }
  if (maintenance) return 'node.maintenance-begun';
  if (guestsReturn) await returnGuests(trx, { cluster, node });
  else await endEvacuation(trx, { cluster, node });
  return 'node.maintenance-ended';
}

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
      throw unknownNode(request.params);
    },
  });
}

export function maintenanceRoutes(app: App, context: Context): void {
  keepAwakeRoute(app, context);
  emptyingRoute(app, context);
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
      const { maintenance: _, reason = null, ...how } = request.body;
      const { actor, nowMs } = changeBy(context, principalOfRequest(request));
      const record = context.fleet().nodes.get(nodeKey(cluster, node));
      const guests = (record?.guests ?? []).filter(({ state }) => state !== 'stopped');
      const isKnown = await context.database.transaction(async (trx) => {
        const order = { cluster, node, guests: guests.map(({ id }) => id), actor, nowMs };
        const action = await orderMaintenance(trx, request.body, order);
        if (action === null) return false;
        await appendAudit(trx, {
          chain: cluster,
          actor,
          action,
          subject: `node:${node}`,
          phase: 'done',
          detail: { reason, ...how },
          atMs: nowMs,
        });
        return true;
      });
      if (isKnown) return reply.code(204).send();
      throw unknownNode(request.params);
    },
  });
}
