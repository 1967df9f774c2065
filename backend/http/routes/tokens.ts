/**
 * API tokens: shown once, never above their creator in role or clusters. Everyone sees and
 * revokes their own; an unrestricted administrator everyone's. A token cannot make tokens, or a
 * stolen one would outlive its revocation.
 */
import { z } from 'zod';
import type { ApiToken } from '../../store/sql/sessions.ts';
import { hasRole, type Principal, requireCluster, requireRole } from '../access.ts';
import type { App } from '../app.ts';
import { clustersOf } from '../authentication.ts';
import { changeBy, type Context } from '../context.ts';
import { httpError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { pageOfKeys } from '../paging.ts';
import {
  At,
  ById,
  ClusterList,
  isoOf,
  isoOrNull,
  listQuery,
  pageOf,
  problems,
  Role,
} from '../schemas.ts';
import { hashOf, newSecret } from '../secrets.ts';

const tags = ['tokens'];
/** Longer than any rotation policy, short enough that forgotten ones end. */
const expiresInMaxMs = 10 * 365 * 86_400_000;

const NewToken = z
  .strictObject({
    name: z.string().trim().min(1).max(128),
    role: Role,
    clusters: ClusterList.optional().describe('Default: those of your account'),
    expiresInMs: z.int().min(60_000).max(expiresInMaxMs).optional().describe('Default: never'),
    account: z
      .string()
      .max(64)
      .optional()
      .describe('Whose it is; only over the unix socket, elsewhere it is yours'),
  })
  .meta({ examples: [{ name: 'grafana', role: 'viewer', clusters: ['home'] }] });

const TokenView = z.object({
  id: z.string(),
  name: z.string(),
  accountId: z.string(),
  role: Role,
  clusters: z.array(z.string()).nullable(),
  createdAt: At,
  expiresAt: At.nullable(),
  revokedAt: At.nullable(),
});
export type TokenView = z.infer<typeof TokenView>;

const Created = z.object({ id: z.string(), token: z.string(), expiresAt: At.nullable() });

function tokenView(token: ApiToken): z.infer<typeof TokenView> {
  const clusters = clustersOf(token.clusters);
  return {
    id: token.id,
    name: token.name,
    accountId: token.account_id,
    role: token.role,
    clusters: clusters && [...clusters],
    createdAt: isoOf(token.created_at_ms),
    expiresAt: isoOrNull(token.expires_at_ms),
    revokedAt: isoOrNull(token.revoked_at_ms),
  };
}

const isUnrestricted = ({ role, clusters }: Principal): boolean =>
  hasRole(role, 'admin') && clusters === null;

/** Whose tokens it may touch: null = everyone's. */
const ownerOf = (principal: Principal): string | null =>
  isUnrestricted(principal) ? null : (principal.accountId ?? '');

function grantedClusters(principal: Principal, asked: readonly string[] | null | undefined) {
  const own = principal.clusters && [...principal.clusters];
  if (asked === undefined) return own;
  if (asked === null) {
    if (own === null) return null;
    const detail = 'A token for every cluster exceeds your own access.';
    throw httpError('KR_SCOPE', detail, { field: 'clusters' });
  }
  for (const cluster of asked) requireCluster(principal, cluster, 'clusters');
  return asked;
}

/** Whose token it becomes, with that account's rights as the most it may have. */
async function ownerFor({ accounts }: Context, principal: Principal, username?: string) {
  const { accountId, kind } = principal;
  if (kind === 'session' && accountId !== null && username === undefined) {
    return { accountId, bounds: principal };
  }
  if (kind !== 'local') {
    throw httpError('KR_FORBIDDEN', 'A token belongs to the account that makes it.', {
      field: username === undefined ? 'Authorization' : 'account',
      wayOut: 'Sign in as a person with POST /api/v1/session.',
    });
  }
  const account = username === undefined ? undefined : await accounts.findByUsername(username);
  if (account && account.disabled === 0) {
    const { id, role, clusters } = account;
    return { accountId: id, bounds: { ...principal, role, clusters: clustersOf(clusters) } };
  }
  throw httpError('KR_BODY', 'A token belongs to an account, and this names none.', {
    field: 'account',
    wayOut: 'Name one that GET /api/v1/users lists: kernreaktor token add <name> --account <user>.',
  });
}

function createRoute(app: App, context: Context): void {
  app.post('/api/v1/tokens', {
    config: { access: 'tokens:own' },
    schema: {
      tags,
      summary: 'Create an API token; the answer is the only place where it is shown',
      body: NewToken,
      response: { 201: Created, ...problems },
    },
    handler: async (request, reply) => {
      const principal = principalOfRequest(request);
      const { name, role, clusters, expiresInMs, account } = request.body;
      const { accountId, bounds } = await ownerFor(context, principal, account);
      requireRole(bounds, role, `A token of role ${role}`);
      const granted = grantedClusters(bounds, clusters);
      const token = newSecret(context.random);
      const id = context.newId();
      const by = changeBy(context, principal);
      const expiresAtMs = expiresInMs === undefined ? null : by.nowMs + expiresInMs;
      await context.tokens.create(
        { id, name, tokenHash: hashOf(token), accountId, role, clusters: granted, expiresAtMs },
        by,
      );
      return reply.code(201).send({ id, token, expiresAt: isoOrNull(expiresAtMs) });
    },
  });
}

export function tokenRoutes(app: App, context: Context): void {
  createRoute(app, context);

  app.get('/api/v1/tokens', {
    config: { access: 'tokens:own' },
    schema: {
      tags,
      summary: 'Your API tokens, or everyone’s for an unrestricted administrator',
      querystring: listQuery({}),
      response: { 200: pageOf(TokenView), ...problems },
    },
    handler: async (request) => {
      const rows = await context.tokens.list(ownerOf(principalOfRequest(request)));
      const byId = new Map(rows.map((row) => [row.id, row]));
      return pageOfKeys([...byId.keys()].sort(), request.query, (id) => {
        const token = byId.get(id);
        return token && tokenView(token);
      });
    },
  });

  app.delete('/api/v1/tokens/:id', {
    config: { access: 'tokens:own' },
    schema: {
      tags,
      summary: 'Revoke a token; it is worth nothing from the next request on',
      params: ById,
      response: { 204: z.undefined().describe('Revoked'), ...problems },
    },
    handler: async (request, reply) => {
      const principal = principalOfRequest(request);
      const { id } = request.params;
      const by = changeBy(context, principal);
      if (await context.tokens.revoke(id, ownerOf(principal), by)) {
        return reply.code(204).send();
      }
      throw httpError('KR_NOT_FOUND', `There is no valid token ${id}.`, { field: 'id' });
    },
  });
}
