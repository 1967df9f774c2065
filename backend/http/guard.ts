/**
 * What every request passes before its body is read: address lists, rate limits, origin, then
 * the route's permission. A route without a declared access is a bug and answers nobody.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Access, may, permissions, type Principal, requireCluster } from './access.ts';
import type { Authentication } from './authentication.ts';
import type { HttpConfig } from './deps.ts';
import { httpError } from './errors.ts';
import type { App } from './app.ts';
import { networksOf } from './networks.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access;
  }
  interface FastifyRequest {
    principal: Principal | null;
  }
}

/** The principal of a route that is not public; the guard has put it there. */
export function principalOfRequest(request: FastifyRequest): Principal {
  if (request.principal === null) throw new Error('route is public, it has no principal');
  return request.principal;
}

const changing: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH', 'DELETE']);

function hostOf(origin: string): string | undefined {
  try {
    return new URL(origin).host;
  } catch {
    return undefined;
  }
}

/** Browsers say where a request comes from; nobody else sends these headers. */
export function assertSameOrigin(request: FastifyRequest, publicUrl: string | null): void {
  const site = request.headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none') {
    throw httpError('KR_CROSS_SITE', `Sec-Fetch-Site is ${site}.`, {
      field: 'Sec-Fetch-Site',
    });
  }
  const { origin } = request.headers;
  if (origin === undefined) return;
  const expected = [request.headers.host, publicUrl === null ? undefined : hostOf(publicUrl)];
  const host = hostOf(origin);
  if (host === undefined || !expected.includes(host)) {
    throw httpError('KR_CROSS_SITE', 'The request comes from another origin.', { field: 'Origin' });
  }
}

/**
 * A request that names a cluster anywhere (path, query, body) is judged here, once for all
 * routes; only rows found by id are judged by their route.
 */
export function assertClusterScope(request: FastifyRequest): void {
  if (request.principal === null) return;
  for (const part of [request.params, request.query, request.body]) {
    if (typeof part !== 'object' || part === null || !('cluster' in part)) continue;
    if (typeof part.cluster === 'string')
      requireCluster(request.principal, part.cluster, 'cluster');
  }
}

type Deps = {
  config: HttpConfig;
  authentication: Authentication;
  isLocal: (request: FastifyRequest) => boolean;
};

type Limiter = ReturnType<App['createRateLimit']>;

async function enforceLimit(limiter: Limiter, request: FastifyRequest, whose: string) {
  const limit = await limiter(request);
  if (limit.isAllowed || !limit.isExceeded) return;
  throw httpError('KR_RATE_LIMIT', `More than ${limit.max} requests a minute from ${whose}.`, {
    retryAfterMs: limit.ttl,
  });
}

function authorise(principal: Principal | undefined, access: Access): Principal {
  if (!principal) {
    throw httpError('KR_UNAUTHENTICATED', 'This route needs a session or an API token.', {
      field: 'Authorization',
    });
  }
  if (access === 'public') return principal;
  const verdict = may(principal, access);
  if (verdict === 'role') {
    const { role } = permissions[access];
    throw httpError('KR_FORBIDDEN', `This needs the role ${role}; yours is ${principal.role}.`);
  }
  if (verdict === 'scope') {
    throw httpError('KR_SCOPE', 'This concerns every cluster; your access is limited to some.');
  }
  return principal;
}

export function installGuard(app: App, { config, authentication, isLocal }: Deps): void {
  const networks = networksOf(config.allow, config.deny);
  const timeWindow = 60_000;
  const byAddress = app.createRateLimit({
    max: config.requestsPerMinute.perAddress,
    timeWindow,
    keyGenerator: (request) => `address ${request.ip}`,
  });
  const byAccount = app.createRateLimit({
    max: config.requestsPerMinute.perAccount,
    timeWindow,
    keyGenerator: (request) => `account ${request.principal?.accountId ?? ''}`,
  });

  app.decorateRequest('principal', null);
  app.addHook('onRequest', async (request: FastifyRequest, reply: FastifyReply) => {
    const local = isLocal(request);
    if (!local) {
      if (!networks.mayConnect(request.ip)) {
        throw httpError('KR_ADDRESS', 'Your address may not use this server.');
      }
      await enforceLimit(byAddress, request, 'your address');
    }
    if (changing.has(request.method)) assertSameOrigin(request, config.publicUrl);
    if (request.is404) return;
    const { access } = request.routeOptions.config;
    if (access === 'public') return;
    if (access === undefined) throw new Error(`${request.url} declares no access`);
    const principal = authorise(await authentication.request(request), access);
    request.principal = principal;
    if (principal.accountId !== null) await enforceLimit(byAccount, request, 'your account');
    void reply.header('cache-control', 'no-store');
  });
  app.addHook('preHandler', async (request: FastifyRequest) => assertClusterScope(request));
}
