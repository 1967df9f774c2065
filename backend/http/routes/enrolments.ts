/**
 * Letting nodes in: a one-use token for a real node, or final credentials for thousands of
 * simulated ones. Both are shown once. A scoped administrator enrols into own clusters only.
 */
import { z } from 'zod';
import { ClusterId, NodeId } from '../../../broker/contract/ids.ts';
import { nodesPerDaemonMax, nodesPerEnrolmentMax } from '../../../broker/contract/limits.ts';
import { ServerKey } from '../../../broker/contract/server.ts';
import type { App } from '../app.ts';
import type { Context } from '../context.ts';
import { httpError, refusalError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { At, isoOf, problems } from '../schemas.ts';

/** 4,096 ids of 63 characters with quotes and comma, and the rest of the body. */
const bodyBytesMax = nodesPerEnrolmentMax * 66 + 1_024;

const EnrolBody = z
  .strictObject({
    cluster: ClusterId,
    node: NodeId.optional(),
    nodes: z.array(NodeId).min(1).max(nodesPerEnrolmentMax).optional(),
    simulated: z.boolean().default(false),
  })
  .refine(({ node, nodes }) => (node === undefined) !== (nodes === undefined), {
    path: ['node'],
    message: 'give node, or nodes for a daemon that speaks for many, or with simulated: true',
  })
  .refine(({ nodes = [], simulated }) => simulated || nodes.length <= nodesPerDaemonMax, {
    path: ['nodes'],
    message: `one daemon speaks for at most ${nodesPerDaemonMax} nodes`,
  })
  .refine(({ node, simulated }) => node === undefined || !simulated, {
    path: ['simulated'],
    message: 'must be false with node; simulated nodes are enrolled with nodes: [...]',
  })
  .refine(({ nodes }) => nodes === undefined || new Set(nodes).size === nodes.length, {
    path: ['nodes'],
    message: 'names a node twice',
  })
  .meta({
    examples: [
      { cluster: 'home', node: 'pve1' },
      { cluster: 'lab', nodes: ['pve1', 'pve2', 'pve3'] },
      { cluster: 'sim-1', nodes: ['node-1', 'node-2'], simulated: true },
    ],
  });

const Answer = z.union([
  z.object({ token: z.string(), expiresAt: At }),
  z.object({
    credentials: z.array(z.object({ node: z.string(), daemon: z.string(), secret: z.string() })),
    serverId: z.string(),
    serverKeys: z.array(ServerKey),
  }),
]);

export function enrolmentRoutes(app: App, context: Context): void {
  const { enrolments, identity } = context;
  app.post('/api/v1/enrolments', {
    config: { access: 'enrolments:create' },
    bodyLimit: bodyBytesMax,
    schema: {
      tags: ['enrolments'],
      summary: 'A one-use token (15 minutes) for a daemon, or credentials for simulated nodes',
      body: EnrolBody,
      response: { 201: Answer, ...problems },
    },
    handler: async (request, reply) => {
      const { cluster, nodes, simulated } = request.body;
      const [node, ...others] = nodes ?? [request.body.node];
      const { actor } = principalOfRequest(request);
      void reply.code(201);
      if (nodes !== undefined && simulated) {
        const answer = await enrolments.createCredentials({ cluster, nodes, actor });
        if (!answer.ok) throw refusalError(answer.refusal);
        const { serverId, serverKeys } = identity;
        return { credentials: answer.credentials, serverId, serverKeys: [...serverKeys] };
      }
      if (node === undefined) throw httpError('KR_BODY', 'node is missing.', { field: 'node' });
      const answer = await enrolments.createToken({
        cluster,
        node,
        others: others.flatMap((other) => other ?? []),
        actor,
      });
      if (!answer.ok) throw refusalError(answer.refusal);
      return { token: answer.token, expiresAt: isoOf(answer.expiresAtMs) };
    },
  });
}
