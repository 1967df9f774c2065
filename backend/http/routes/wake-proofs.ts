/**
 * Proving that a node comes back when it is woken, and saying where Kernreaktor itself lives. Both
 * are for administrators who prove their password anew: a person must be present.
 */
import { z } from 'zod';
import { ClusterId, GuestId, NodeId } from '../../../broker/contract/ids.ts';
import { cyclesMax } from '../../act/campaign.ts';
import { houseParts } from '../../act/house.ts';
import { isProof, proofsMin, wakerKinds } from '../../act/wake-ways.ts';
import type { App } from '../app.ts';
import type { Context } from '../context.ts';
import type { WakeStanding } from '../deps.ts';
import { httpError, refusalError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { Autonomy } from '../views.ts';
import { At, ByNode, isoOf, isoOrNull, Password, problems } from '../schemas.ts';

const Waker = z.enum(wakerKinds);

const ProveBody = z
  .strictObject({
    cycles: z.int().min(1).max(cyclesMax).default(proofsMin),
    waker: Waker.default('wol'),
    confirm: z.string().describe("The node's id, typed: it will be switched off and woken"),
    password: Password.optional().describe('Not needed within 5 minutes of the last proof'),
  })
  .meta({ examples: [{ cycles: 3, waker: 'wol', confirm: 'pve2' }] });

const Standing = z.object({
  cluster: z.string(),
  node: z.string(),
  isProven: z.boolean(),
  ways: z.array(z.object({ executor: z.string(), by: Waker })),
  proofs: z.array(
    z.object({
      waker: Waker,
      succeeded: z.int(),
      needed: z.int(),
      isProof: z.boolean(),
      youngestAgeMs: z.number().nullable(),
      bootMs: z.number().nullable(),
    }),
  ),
  campaign: z
    .object({
      id: z.string(),
      state: z.enum(['running', 'succeeded', 'failed', 'cancelled']),
      phase: z.enum(['off', 'wake', 'rejoin']),
      waker: z.string(),
      actor: z.string(),
      cycles: z.int(),
      done: z.int(),
      proven: z.int(),
      why: z.string(),
      commandId: z.string().nullable(),
      startedAt: At,
      deadlineAt: At,
      finishedAt: At.nullable(),
    })
    .nullable(),
  watch: z.object({
    wished: Autonomy,
    level: Autonomy,
    automaticAt: At.nullable().describe('null: at once, in a simulated cluster'),
    reason: z.string().nullable(),
  }),
});
export type Standing = z.infer<typeof Standing>;

function viewOf({
  campaign,
  proofs,
  ways,
  watch,
  ...rest
}: WakeStanding): z.infer<typeof Standing> {
  return {
    ...rest,
    ways: ways.map(({ executor, by }) => ({ executor, by })),
    watch: {
      wished: watch.wished,
      level: watch.level,
      automaticAt: isoOrNull(watch.automaticAtMs),
      reason: watch.reason,
    },
    proofs: proofs.map((proof) => ({ ...proof, needed: proofsMin, isProof: isProof(proof) })),
    campaign: campaign && {
      id: campaign.id,
      state: campaign.state,
      phase: campaign.phase,
      waker: campaign.waker,
      actor: campaign.actor,
      cycles: campaign.cycles,
      done: campaign.done,
      proven: campaign.proven,
      why: campaign.why,
      commandId: campaign.command_id,
      startedAt: isoOf(campaign.started_at_ms),
      deadlineAt: isoOf(campaign.deadline_at_ms),
      finishedAt: isoOrNull(campaign.finished_at_ms),
    },
  };
}

type Stood = Awaited<ReturnType<Context['commands']['wakeStanding']>>;

function shown(answer: Stood): z.infer<typeof Standing> {
  if (!answer.ok) throw refusalError(answer.refusal);
  return viewOf(answer.standing);
}

const path = '/api/v1/clusters/:cluster/nodes/:node/wake-proofs';

function proofRoutes(app: App, { commands, authentication }: Context): void {
  app.get(path, {
    config: { access: 'fleet:read' },
    schema: {
      tags: ['nodes'],
      summary: 'What is proven of waking a node, how it could be woken, and what is being tried',
      params: ByNode,
      response: { 200: Standing, ...problems },
    },
    handler: async (request) => shown(await commands.wakeStanding(request.params)),
  });

  app.post(path, {
    config: { access: 'wake:prove' },
    schema: {
      tags: ['nodes'],
      summary: 'Switch the node off and wake it, again and again, while somebody stands by',
      params: ByNode,
      body: ProveBody,
      response: { 202: Standing, ...problems },
    },
    handler: async (request, reply) => {
      const principal = principalOfRequest(request);
      const { cycles, waker, confirm, password } = request.body;
      const { node } = request.params;
      if (confirm !== node) {
        const detail = `It names ${confirm || 'nothing'}; the node is ${node}.`;
        const wayOut = 'Type the id of the node there.';
        throw httpError('KR_BODY', detail, { field: 'confirm', wayOut });
      }
      await authentication.requireFreshProof(principal, password);
      const { actor } = principal;
      const begun = await commands.proveWake({ ...request.params, cycles, waker, actor });
      return reply.code(202).send(shown(begun));
    },
  });

  app.delete(path, {
    config: { access: 'commands:cancel' },
    schema: {
      tags: ['nodes'],
      summary: 'End it: the node is not switched off again, and still woken if it sleeps',
      params: ByNode,
      response: { 200: Standing, ...problems },
    },
    handler: async (request) =>
      shown(await commands.endProving(request.params, principalOfRequest(request).actor)),
  });
}

const TrustBody = z
  .strictObject({
    confirm: z
      .string()
      .describe("The cluster's id, typed: its nodes may sleep unasked from now on"),
    password: Password.optional().describe('Not needed within 5 minutes of the last proof'),
  })
  .meta({ examples: [{ confirm: 'home' }] });

function trustRoute(app: App, { commands, authentication }: Context): void {
  app.post('/api/v1/clusters/:cluster/nodes/:node/end-watch', {
    config: { access: 'wake:prove' },
    schema: {
      tags: ['nodes'],
      summary: 'End the seven days in which power-offs of this cluster are only watched',
      params: ByNode,
      body: TrustBody,
      response: { 200: Standing, ...problems },
    },
    handler: async (request) => {
      const principal = principalOfRequest(request);
      const { confirm, password } = request.body;
      const { cluster } = request.params;
      if (confirm !== cluster) {
        const detail = `It names ${confirm || 'nothing'}; the cluster is ${cluster}.`;
        const wayOut = 'Type the id of the cluster there.';
        throw httpError('KR_BODY', detail, { field: 'confirm', wayOut });
      }
      await authentication.requireFreshProof(principal, password);
      return shown(await commands.trustEngine(request.params, principal.actor));
    },
  });
}

const Place = z.strictObject({
  part: z.enum(houseParts).default('backend'),
  cluster: ClusterId,
  node: NodeId,
  guest: GuestId.nullable().default(null),
});

const HouseBody = z
  .strictObject({
    places: z.array(Place).max(64).describe('Empty: on no machine of these clusters'),
    password: Password.optional().describe('Not needed within 5 minutes of the last proof'),
  })
  .meta({
    examples: [{ places: [{ part: 'backend', cluster: 'home', node: 'pve1', guest: '100' }] }],
  });

const HouseView = z.object({
  residents: z.array(
    z.object({
      part: z.enum(houseParts),
      cluster: z.string(),
      node: z.string(),
      guest: z.string().nullable(),
      by: z.string(),
    }),
  ),
  unknown: z.array(z.enum(houseParts)),
});

function houseRoutes(app: App, { commands, authentication }: Context): void {
  app.get('/api/v1/own-house', {
    config: { access: 'house:answer' },
    schema: {
      tags: ['operations'],
      summary: 'Where Kernreaktor itself lives, and which of its parts nobody could find',
      response: { 200: HouseView, ...problems },
    },
    handler: async () => {
      const { residents, unknown } = await commands.houseNow();
      return { residents: [...residents], unknown: [...unknown] };
    },
  });

  app.put('/api/v1/own-house', {
    config: { access: 'house:answer' },
    schema: {
      tags: ['operations'],
      summary: 'Say where Kernreaktor lives; what it finds by itself is added, never taken away',
      body: HouseBody,
      response: { 204: z.undefined().describe('Kept'), ...problems },
    },
    handler: async (request, reply) => {
      const principal = principalOfRequest(request);
      await authentication.requireFreshProof(principal, request.body.password);
      await commands.answerHouse(request.body.places, principal.actor);
      return reply.code(204).send();
    },
  });
}

export function wakeProofRoutes(app: App, context: Context): void {
  proofRoutes(app, context);
  trustRoute(app, context);
  houseRoutes(app, context);
}
