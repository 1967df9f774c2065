/**
 * Nodes and guests, straight from memory: a page costs its items, not the fleet. The lists are
 * the busiest reads, so nothing here touches a store.
 */
import { z } from 'zod';
import { CommandKind } from '../../../broker/contract/command.ts';
import { nodeKey, NodeId } from '../../../broker/contract/ids.ts';
import { GuestState } from '../../../broker/contract/telemetry.ts';
import { nodeState } from '../../state/node-state.ts';
import type { Principal } from '../access.ts';
import type { App } from '../app.ts';
import { type Context, requireKnownCluster } from '../context.ts';
import { httpError, refusalError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { keysOfClusters, pageOfKeys } from '../paging.ts';
import { ByGuest, ByNode, listQuery, pageOf, Password, problems } from '../schemas.ts';
import {
  GuestDetail,
  guestDetail,
  GuestView,
  guestView,
  NodeDetail,
  nodeDetail,
  NodeView,
  nodeView,
} from '../views.ts';
import { nodeStates } from '../../state/fleet.ts';

const NodesQuery = listQuery({
  state: z.enum(nodeStates).optional(),
  can: CommandKind.optional().describe('Only nodes whose driver offers this kind'),
});
const GuestsQuery = listQuery({
  node: NodeId.optional(),
  state: GuestState.optional(),
}).refine(({ node, cluster }) => node === undefined || cluster !== undefined, {
  path: ['cluster'],
  message: 'is needed with node: a node is named by cluster and node',
});

function keysInScope(
  keys: readonly string[],
  principal: Principal,
  cluster: string | undefined,
): readonly string[] {
  if (cluster !== undefined) return keysOfClusters(keys, [cluster]);
  return principal.clusters === null ? keys : keysOfClusters(keys, principal.clusters);
}

function nodeRoutes(app: App, context: Context): void {
  const { clock, fleet, nodeKeys } = context;

  app.get('/api/v1/nodes', {
    config: { access: 'fleet:read' },
    schema: {
      tags: ['nodes'],
      summary: 'Nodes in your scope, by cluster and id',
      querystring: NodesQuery,
      response: { 200: pageOf(NodeView), ...problems },
    },
    handler: async (request) => {
      const { cluster, state, can } = request.query;
      await requireKnownCluster(context, cluster);
      const nowMs = clock.monotonicMs();
      const { nodes } = fleet();
      const all = keysInScope(nodeKeys.at(nowMs), principalOfRequest(request), cluster);
      const recordOf = (key: string) => nodes.get(key as ReturnType<typeof nodeKey>);
      const keys =
        state === undefined && can === undefined
          ? all
          : all.filter((key) => {
              const record = recordOf(key);
              if (record === undefined) return false;
              if (can !== undefined && !record.driver?.capabilities.includes(can)) return false;
              return state === undefined || nodeState(record, nowMs) === state;
            });
      return pageOfKeys(keys, request.query, (key) => {
        const record = recordOf(key);
        return record && nodeView(record, nowMs);
      });
    },
  });

  app.get('/api/v1/clusters/:cluster/nodes/:node', {
    config: { access: 'fleet:read' },
    schema: {
      tags: ['nodes'],
      summary: 'One node with every value and fact',
      params: ByNode,
      response: { 200: NodeDetail, ...problems },
    },
    handler: (request) => {
      const { cluster, node } = request.params;
      const record = fleet().nodes.get(nodeKey(cluster, node));
      if (record) return nodeDetail(record, clock.monotonicMs());
      throw httpError('KR_NOT_FOUND', `There is no node ${node} in ${cluster}.`, { field: 'node' });
    },
  });
}

const ConfirmBody = z
  .strictObject({
    password: Password.optional().describe('Not needed within 5 minutes of the last proof'),
  })
  .meta({ examples: [{}] });

function journalRoute(app: App, context: Context): void {
  app.post('/api/v1/clusters/:cluster/nodes/:node/confirm-journal', {
    config: { access: 'journal:confirm' },
    schema: {
      tags: ['nodes'],
      summary:
        'State that what a lost journal may have begun was looked at; the node may act again',
      params: ByNode,
      body: ConfirmBody,
      response: { 204: z.undefined().describe('Confirmed'), ...problems },
    },
    handler: async (request, reply) => {
      const principal = principalOfRequest(request);
      await context.authentication.requireFreshProof(principal, request.body.password);
      const answer = await context.commands.confirmJournal(request.params, principal.actor);
      if (!answer.ok) throw refusalError(answer.refusal);
      return reply.code(204).send();
    },
  });
}

function guestRoutes(app: App, context: Context): void {
  const { clock, fleet, guestKeys } = context;

  app.get('/api/v1/guests', {
    config: { access: 'fleet:read' },
    schema: {
      tags: ['guests'],
      summary: 'Guests in your scope, by cluster and id',
      querystring: GuestsQuery,
      response: { 200: pageOf(GuestView), ...problems },
    },
    handler: async (request) => {
      const { cluster, node, state } = request.query;
      await requireKnownCluster(context, cluster);
      const nowMs = clock.monotonicMs();
      const { guests } = fleet();
      const all =
        state === undefined
          ? guestKeys.at(nowMs)
          : guestKeys.where(nowMs, state, (guest) => guest.state === state);
      const inScope = keysInScope(all, principalOfRequest(request), cluster);
      const keys =
        node === undefined ? inScope : inScope.filter((key) => guests.get(key)?.node === node);
      return pageOfKeys(keys, request.query, (key) => {
        const guest = guests.get(key);
        return guest && guestView(guest, nowMs);
      });
    },
  });

  app.get('/api/v1/clusters/:cluster/guests/:guest', {
    config: { access: 'fleet:read' },
    schema: {
      tags: ['guests'],
      summary: 'One guest with every value and fact',
      params: ByGuest,
      response: { 200: GuestDetail, ...problems },
    },
    handler: (request) => {
      const { cluster, guest: id } = request.params;
      const guest = fleet().guests.get(`${cluster}/${id}`);
      if (!guest) {
        const detail = `There is no guest ${id} in ${cluster}.`;
        throw httpError('KR_NOT_FOUND', detail, { field: 'guest' });
      }
      const record = fleet().nodes.get(nodeKey(cluster, guest.node));
      return guestDetail(guest, record, clock.monotonicMs());
    },
  });
}

export function fleetRoutes(app: App, context: Context): void {
  nodeRoutes(app, context);
  journalRoute(app, context);
  guestRoutes(app, context);
}
