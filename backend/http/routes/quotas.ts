/** Quotas: the limits, what is taken of them, and setting them. act/ holds them; this shows them. */
import { z } from 'zod';
import { type Held, Quotas, sumOf } from '../../act/quota.ts';
import type { App } from '../app.ts';
import type { Context } from '../context.ts';
import { principalOfRequest } from '../guard.ts';
import { problems } from '../schemas.ts';

const tags = ['quotas'];

const Amount = z.object({ cpuCount: z.number(), memoryBytes: z.number() });
const Limit = z.object({ cpuCount: z.int().nullable(), memoryBytes: z.number().nullable() });

const Mine = z.object({
  /** null: nobody set one for this account. */
  limit: Limit.nullable(),
  /** Of its guests on LXD, where it has none of its own. */
  limitOnLxd: Limit,
  taken: Amount,
  takenOnLxd: Amount,
});
export type OwnQuota = z.infer<typeof Mine>;

const All = z.object({
  quotas: Quotas,
  taken: z.object({
    global: Amount,
    clusters: z.record(z.string(), Amount),
    accounts: z.record(z.string(), Amount),
  }),
});

function sumsBy(held: readonly Held[], keyOf: (one: Held) => string | null) {
  const groups = Map.groupBy(held, keyOf);
  groups.delete(null);
  return Object.fromEntries([...groups].map(([key, of]) => [String(key), sumOf(of)]));
}

export function quotaRoutes(app: App, { commands }: Context): void {
  app.get('/api/v1/quotas/mine', {
    config: { access: 'session:own' },
    schema: {
      tags,
      summary: 'What you may still make: your limit, and what your guests take of it',
      response: { 200: Mine, ...problems },
    },
    handler: async (request) => {
      const { accountId } = principalOfRequest(request);
      const { quotas, held } = await commands.quotaStanding();
      const own = held.filter(({ account }) => account !== null && account === accountId);
      return {
        limit: quotas.accounts[accountId ?? ''] ?? null,
        limitOnLxd: quotas.perAccountOnLxd,
        taken: sumOf(own),
        takenOnLxd: sumOf(own.filter(({ isOnLxd }) => isOnLxd)),
      };
    },
  });

  app.get('/api/v1/quotas', {
    config: { access: 'quotas:manage' },
    schema: {
      tags,
      summary: 'All limits, and what is taken of each',
      response: { 200: All, ...problems },
    },
    handler: async () => {
      const { quotas, held } = await commands.quotaStanding();
      return {
        quotas,
        taken: {
          global: sumOf(held),
          clusters: sumsBy(held, ({ cluster }) => cluster),
          accounts: sumsBy(held, ({ account }) => account),
        },
      };
    },
  });

  app.put('/api/v1/quotas', {
    config: { access: 'quotas:manage' },
    schema: {
      tags,
      summary: 'Set all limits; what is over one stays, and may only shrink',
      body: Quotas.meta({
        examples: [{ clusters: { lab: { cpuCount: 32, memoryBytes: 68_719_476_736 } } }],
      }),
      response: { 204: z.undefined().describe('Kept'), ...problems },
    },
    handler: async (request, reply) => {
      await commands.setQuotas(request.body, principalOfRequest(request).actor);
      return reply.code(204).send();
    },
  });
}
