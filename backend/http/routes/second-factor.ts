/**
 * One's own second factor and sessions. A second factor is set up by showing that the app has it,
 * and is taken away by a fresh proof of the password; its secret is sealed and never answered again.
 */
import { z } from 'zod';
import type { Secrets } from '../../store/sql/secrets.ts';
import type { App } from '../app.ts';
import { changeBy, type Context } from '../context.ts';
import { httpError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { At, ById, isoOf, Password, problems } from '../schemas.ts';
import { newTotp, totpPattern, totpSecretPattern } from '../totp.ts';

const tags = ['session'];

export const totpName = (account: string): string => `totp/${account}`;

/** The plain secret of an account, null without a second factor. */
export const totpSecretOf = (
  secrets: Secrets,
  account: { id: string; totp_secret: string | null },
): string | null =>
  account.totp_secret === null ? null : secrets.unseal(totpName(account.id), account.totp_secret);

export const TotpCode = z.string().regex(totpPattern, 'use the six digits that the app shows');

const Proof = z
  .strictObject({
    password: Password.optional().describe('Not needed within 5 minutes of the last proof'),
  })
  .meta({ examples: [{}] });

const ConfirmBody = z
  .strictObject({
    secret: z.string().regex(totpSecretPattern, 'use the secret that POST answered'),
    code: TotpCode,
    password: Password.optional(),
  })
  .meta({ examples: [{ secret: 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP', code: '123456' }] });

/** Only a person with an account has a second factor. */
async function ownAccount(context: Context, request: Parameters<typeof principalOfRequest>[0]) {
  const { accountId, kind } = principalOfRequest(request);
  const account = kind === 'session' ? await context.accounts.find(accountId ?? '') : undefined;
  if (account) return account;
  throw httpError('KR_REQUEST', 'This request carries no session of an account.', {
    field: 'Authorization',
    wayOut: 'Sign in with POST /api/v1/session.',
  });
}

function factorRoutes(app: App, context: Context): void {
  const { accounts, authentication, secrets, checkTotp, random, clock } = context;
  app.post('/api/v1/session/totp', {
    config: { access: 'session:own' },
    schema: {
      tags,
      summary: 'A new secret for an authenticator app; it counts once PUT has confirmed it',
      body: Proof,
      response: { 200: z.object({ secret: z.string(), uri: z.string() }), ...problems },
    },
    handler: async (request, reply) => {
      const account = await ownAccount(context, request);
      await authentication.requireFreshProof(principalOfRequest(request), request.body.password);
      return reply.header('cache-control', 'no-store').send(newTotp(account.username, random));
    },
  });

  app.put('/api/v1/session/totp', {
    config: { access: 'session:own' },
    schema: {
      tags,
      summary: 'Switch the second factor on, by a code of the app',
      body: ConfirmBody,
      response: { 204: z.undefined().describe('From now on signing in needs a code'), ...problems },
    },
    handler: async (request, reply) => {
      const account = await ownAccount(context, request);
      const principal = principalOfRequest(request);
      const { secret, code, password } = request.body;
      await authentication.requireFreshProof(principal, password);
      const { id, username } = account;
      if (!checkTotp({ id, username, secret }, code, clock.wallMs())) {
        throw httpError('KR_TOTP', 'This is not the code of now.', { field: 'code' });
      }
      const totpSecret = secrets.seal(totpName(id), secret);
      await accounts.update(id, { totpSecret }, changeBy(context, principal));
      return reply.code(204).send();
    },
  });

  app.delete('/api/v1/session/totp', {
    config: { access: 'session:own' },
    schema: {
      tags,
      summary: 'Switch the second factor off',
      body: Proof,
      response: { 204: z.undefined().describe('The password alone is enough again'), ...problems },
    },
    handler: async (request, reply) => {
      const { id } = await ownAccount(context, request);
      const principal = principalOfRequest(request);
      await authentication.requireFreshProof(principal, request.body.password);
      await accounts.update(id, { totpSecret: null }, changeBy(context, principal));
      return reply.code(204).send();
    },
  });
}

const SessionView = z.object({
  id: z.string(),
  username: z.string(),
  address: z.string(),
  userAgent: z.string(),
  createdAt: At,
  expiresAt: At,
  isThis: z.boolean(),
});
export type SessionView = z.infer<typeof SessionView>;

function sessionListRoutes(app: App, context: Context): void {
  const { sessions, clock } = context;
  app.get('/api/v1/sessions', {
    config: { access: 'session:own' },
    schema: {
      tags,
      summary: 'Where you are signed in; on the machine of the server, where everybody is',
      response: { 200: z.object({ items: z.array(SessionView) }), ...problems },
    },
    handler: async (request) => {
      const { accountId, credentialId } = principalOfRequest(request);
      const rows = await sessions.list(accountId, clock.wallMs());
      const items = rows.map((row) => ({
        id: row.id,
        username: row.username,
        address: row.address,
        userAgent: row.user_agent,
        createdAt: isoOf(row.created_at_ms),
        expiresAt: isoOf(row.expires_at_ms),
        isThis: row.id === credentialId,
      }));
      return { items };
    },
  });

  app.delete('/api/v1/sessions/:id', {
    config: { access: 'session:own' },
    schema: {
      tags,
      summary: 'End a session of yours; it is worth nothing from now on',
      params: ById,
      response: { 204: z.undefined().describe('Ended'), ...problems },
    },
    handler: async (request, reply) => {
      const principal = principalOfRequest(request);
      const { id } = request.params;
      const rows = await sessions.list(principal.accountId, clock.wallMs());
      if (!rows.some((row) => row.id === id)) {
        const wayOut = 'GET /api/v1/sessions lists yours.';
        throw httpError('KR_NOT_FOUND', `You have no session ${id}.`, { field: 'id', wayOut });
      }
      await sessions.close(id, changeBy(context, principal));
      return reply.code(204).send();
    },
  });
}

export function secondFactorRoutes(app: App, context: Context): void {
  factorRoutes(app, context);
  sessionListRoutes(app, context);
}
