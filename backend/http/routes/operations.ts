/**
 * What machines ask at the root: alive, ready, figures, the API's own description. `/healthz` and
 * `/readyz` need no credential and say no more than names and yes or no. `/metrics` is open to
 * the unix socket and to direct loopback connections (a scraper on this machine); everyone else,
 * a request through a proxy included, shows a token of an unrestricted viewer.
 */
import { z } from 'zod';
import { may } from '../access.ts';
import type { App } from '../app.ts';
import type { Context } from '../context.ts';
import { httpError } from '../errors.ts';
import { isLoopback } from '../networks.ts';
import { problems } from '../schemas.ts';
import type { FastifyRequest } from 'fastify';

const tags = ['operations'];
const Ready = z.object({
  isReady: z.boolean(),
  checks: z.array(z.object({ name: z.string(), ok: z.boolean() })),
});

/** A header of a proxy means that loopback is the proxy's address, not the client's. */
export function isDirectLoopback(request: FastifyRequest): boolean {
  const { remoteAddress } = request.raw.socket;
  const { 'x-forwarded-for': forwardedFor, forwarded } = request.headers;
  if (forwardedFor !== undefined || forwarded !== undefined) return false;
  return remoteAddress !== undefined && isLoopback(remoteAddress);
}

async function requireScraper({ authentication }: Context, request: FastifyRequest) {
  const principal = await authentication.request(request);
  if (principal === undefined && isDirectLoopback(request)) return;
  if (principal === undefined) {
    throw httpError('KR_UNAUTHENTICATED', 'Figures need a token from other machines.', {
      field: 'Authorization',
    });
  }
  if (may(principal, 'metrics:read') === 'allowed') return;
  throw httpError('KR_SCOPE', 'Figures concern every cluster; your access is limited to some.');
}

export function operationRoutes(app: App, context: Context): void {
  const { database, observation, readiness } = context;
  const sqlAnswers = async (): Promise<boolean> => {
    try {
      await database.db.selectFrom('settings').select('name').limit(1).execute();
      return true;
    } catch (error) {
      context.log.warn({ err: error }, 'the SQL store does not answer');
      return false;
    }
  };

  app.get('/healthz', {
    config: { access: 'public' },
    schema: {
      tags,
      summary: 'The process answers',
      response: { 200: z.object({ status: z.literal('ok') }), ...problems },
    },
    handler: () => ({ status: 'ok' as const }),
  });

  app.get('/readyz', {
    config: { access: 'public' },
    schema: {
      tags,
      summary: 'Stores and broker work; 503 while one does not',
      response: { 200: Ready, 503: Ready, '4xx': problems['4xx'] },
    },
    handler: async (_request, reply) => {
      const others = (await readiness()).map(({ name, ok }) => ({ name, ok }));
      const checks = [{ name: 'sql', ok: await sqlAnswers() }, ...others];
      const isReady = checks.every(({ ok }) => ok);
      return reply.code(isReady ? 200 : 503).send({ isReady, checks });
    },
  });

  app.get('/metrics', {
    config: { access: 'public' },
    schema: {
      tags,
      summary: 'Prometheus figures; a token unless asked from this machine',
      response: { 200: z.string(), ...problems },
    },
    handler: async (request, reply) => {
      await requireScraper(context, request);
      const { contentType, text } = await observation.render();
      return reply.type(contentType).serializer(String).send(text);
    },
  });
}
