/**
 * What emptying a node would mean as things stand: who would leave for where, in the engine's words,
 * and, where that is asked for, what the guards would say of each step. It only asks: no command, no
 * row. A guard that lets a move pass now may refuse it when its turn comes.
 */
import { z } from 'zod';
import { nodeKey } from '../../../broker/contract/ids.ts';
import { moveArgs } from '../../decide/evacuate.ts';
import type { Principal } from '../access.ts';
import type { App } from '../app.ts';
import type { Context } from '../context.ts';
import { httpError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { ByNode, problems } from '../schemas.ts';

const Denial = z.object({
  rule: z.string().nullable().describe('Of the guards; null where something else refuses it'),
  code: z.string(),
  reason: z.string(),
  wayOut: z.string(),
});
type Denial = z.infer<typeof Denial>;

const EmptyingView = z.object({
  guests: z
    .array(
      z.object({
        id: z.string(),
        name: z.string(),
        way: z
          .enum(['moves', 'leaving', 'ha', 'stays'])
          .describe('leaving: its move is under way; ha: moved by the hypervisor itself'),
        target: z.string().nullable(),
        targetCpuRatio: z.number().nullable().describe('With all that moves there before it'),
        why: z.string().nullable().describe('What keeps it; null where nothing does'),
        denials: z
          .array(Denial)
          .optional()
          .describe('What guards say against its move now; absent where they were not asked'),
      }),
    )
    .describe('What runs on it, in the order in which it leaves'),
  wakes: z.array(z.string()).describe('Sleeping nodes that are woken to make room'),
  inTheWay: z
    .array(z.object({ reason: z.string(), flip: z.string().nullable() }))
    .describe('Of its next step, with the smallest change that would let it be taken'),
  isProven: z.boolean().describe('False: it is not switched off, because nobody saw it wake'),
  offDenials: z
    .array(Denial)
    .optional()
    .describe('What guards say against switching it off now, its guests aside'),
});
export type EmptyingView = z.infer<typeof EmptyingView>;

export const unknownNode = ({ cluster, node }: { cluster: string; node: string }) => {
  const detail = `Cluster ${cluster} has no node ${node}; see GET /api/v1/nodes.`;
  return httpError('KR_NOT_FOUND', detail, { field: 'node' });
};

type At = { cluster: string; node: string };
type Wish = { kind: 'guest.migrate' | 'node.shutdown'; guest?: string; args: object };
type Asking = { context: Context; at: At; principal: Principal };

/** As the engine will ask for it once it was ordered. */
async function denialsOf({ context, at, principal }: Asking, wish: Wish): Promise<Denial[]> {
  const { actor } = principal;
  const order = { ...at, ...wish, origin: 'system', actor, approved: true } as const;
  const answer = await context.commands.rehearse(order);
  if (!answer.ok) {
    const { code, detail, wayOut } = answer.refusal;
    return [{ rule: null, code, reason: detail, wayOut }];
  }
  return answer.verdicts.flatMap(({ id: rule, denial }) =>
    denial ? [{ rule, code: denial.code, reason: denial.reason, wayOut: denial.wayOut }] : [],
  );
}

/** Each is asked in turn; of a node with more, the first that leave. */
const askedMax = 40;
/** It is empty by then. */
const ofGuests = 'empty-node';

async function withDenials(found: EmptyingView, asking: Asking): Promise<EmptyingView> {
  const { context, at } = asking;
  const known = context.fleet().nodes.get(nodeKey(at.cluster, at.node))?.guests ?? [];
  const said = new Map<string, Denial[]>();
  for (const { id, target, way } of found.guests) {
    if (way !== 'moves' || target === null || said.size === askedMax) continue;
    const args = moveArgs(known.find((guest) => guest.id === id)?.kind ?? 'vm', target);
    said.set(id, await denialsOf(asking, { kind: 'guest.migrate', guest: id, args }));
  }
  const off = { kind: 'node.shutdown', args: { mode: 'poweroff' } } as const;
  const offDenials = found.isProven ? await denialsOf(asking, off) : [];
  return {
    ...found,
    guests: found.guests.map((guest) => {
      const denials = said.get(guest.id);
      return { ...guest, ...(denials && { denials }) };
    }),
    offDenials: offDenials.filter(({ rule }) => rule !== ofGuests),
  };
}

export function emptyingRoute(app: App, context: Context): void {
  app.get('/api/v1/clusters/:cluster/nodes/:node/maintenance', {
    config: { access: 'fleet:read' },
    schema: {
      tags: ['nodes'],
      summary: 'Who would leave it for a maintenance and to where, as things stand now',
      params: ByNode,
      querystring: z.strictObject({
        guards: z
          .enum(['true', 'false'])
          .default('false')
          .describe('Also asks the guards about each step, as a dry run of each command does'),
      }),
      response: { 200: EmptyingView, ...problems },
    },
    handler: async (request) => {
      const known = context.emptying(request.params);
      if (known === null) throw unknownNode(request.params);
      const { rest: _, ...found } = known;
      if (request.query.guards === 'false') return found;
      const principal = principalOfRequest(request);
      return withDenials(found, { context, at: request.params, principal });
    },
  });
}
