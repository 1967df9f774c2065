/**
 * Signing in and out. A failed sign-in costs the same time and gives the same answer whether the
 * name is unknown, the account disabled or the password wrong.
 */
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Account } from '../../store/sql/accounts.ts';
import type { App } from '../app.ts';
import { changeBy, type Context } from '../context.ts';
import { type HttpError, httpError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { At, isoOf, isoOrNull, Password, problems, Role, Username } from '../schemas.ts';
import { hashOf, newSecret } from '../secrets.ts';
import { TotpCode, totpSecretOf } from './second-factor.ts';

const sessionMs = 24 * 3_600_000;

const Credentials = z
  .strictObject({
    username: Username,
    password: Password,
    totp: TotpCode.optional().describe('Six digits, where a second factor is set up'),
  })
  .meta({ examples: [{ username: 'anna', password: 'a long sentence nobody guesses' }] });

const Opened = z.object({ token: z.string(), expiresAt: At });

const WhoAmI = z.object({
  kind: z.enum(['session', 'token', 'local']),
  username: z.string().nullable(),
  role: Role,
  clusters: z.array(z.string()).nullable(),
  expiresAt: At.nullable(),
  hasSecondFactor: z.boolean().nullable().describe('null: no account stands behind it'),
});

/** The unix socket has no address; whoever guesses there shares one counter. */
export const addressKey = (request: FastifyRequest): string =>
  request.raw.socket.remoteAddress === undefined ? 'local' : request.ip;

const refusedSignIn = (context: Context, error: HttpError): HttpError => {
  context.observation.refusedLogin();
  return error;
};

/** A wrong code counts as a failed sign-in, so that nobody tries a million of them. */
function requireSecondFactor(context: Context, account: Account, code: string | undefined): void {
  const { id, username } = account;
  const secret = totpSecretOf(context.secrets, account);
  if (secret === null) return;
  const nowMs = context.clock.wallMs();
  if (code !== undefined && context.checkTotp({ id, username, secret }, code, nowMs)) return;
  const detail = code === undefined ? 'This account needs a code, too.' : 'The code is wrong.';
  throw refusedSignIn(context, httpError('KR_TOTP', detail, { field: 'totp' }));
}

async function signIn(
  context: Context,
  request: FastifyRequest,
  body: z.infer<typeof Credentials>,
) {
  const { accounts, clock, delays, newId, passwords, random, sessions } = context;
  const { username, password } = body;
  const nowMs = clock.monotonicMs();
  const addressWaitMs = delays.byAddress.attempt(addressKey(request), nowMs);
  const waitMs = addressWaitMs || delays.byAccount.attempt(username, nowMs);
  // Nothing was guessed when the name's own delay turned it away.
  if (waitMs > 0 && addressWaitMs === 0) delays.byAddress.takeBack(addressKey(request));
  if (waitMs > 0) {
    const detail = 'Too many failed sign-ins from here or for this name.';
    throw refusedSignIn(context, httpError('KR_LOGIN_DELAY', detail, { retryAfterMs: waitMs }));
  }
  const account = await accounts.findByUsername(username);
  const isRight = await passwords.verify(account?.password_hash ?? null, password);
  if (!isRight || !account || account.disabled === 1) {
    const detail = 'User name or password is wrong.';
    throw refusedSignIn(context, httpError('KR_CREDENTIALS', detail, { field: 'password' }));
  }
  requireSecondFactor(context, account, body.totp);
  delays.byAddress.takeBack(addressKey(request));
  delays.byAccount.succeeded(username);
  const token = newSecret(random);
  const expiresAtMs = clock.wallMs() + sessionMs;
  await sessions.open(
    {
      id: newId(),
      tokenHash: hashOf(token),
      accountId: account.id,
      expiresAtMs,
      address: addressKey(request).slice(0, 64),
      userAgent: (request.headers['user-agent'] ?? '').slice(0, 512),
    },
    { actor: `account:${username}`, nowMs: clock.wallMs() },
  );
  return { token, expiresAt: isoOf(expiresAtMs) };
}

export function sessionRoutes(app: App, context: Context): void {
  const { accounts } = context;
  app.post('/api/v1/session', {
    config: { access: 'public' },
    schema: {
      tags: ['session'],
      summary: 'Sign in; the token is valid for 24 hours',
      body: Credentials,
      response: { 201: Opened, ...problems },
    },
    handler: async (request, reply) =>
      reply
        .code(201)
        .header('cache-control', 'no-store')
        .send(await signIn(context, request, request.body)),
  });

  app.get('/api/v1/session', {
    config: { access: 'session:own' },
    schema: {
      tags: ['session'],
      summary: 'Who am I, and what may I do',
      response: { 200: WhoAmI, ...problems },
    },
    handler: async (request) => {
      const { kind, username, role, clusters, expiresAtMs } = principalOfRequest(request);
      const account = username === null ? undefined : await accounts.findByUsername(username);
      return {
        kind,
        username,
        role,
        clusters: clusters && [...clusters],
        expiresAt: isoOrNull(expiresAtMs),
        hasSecondFactor: account ? account.totp_secret !== null : null,
      };
    },
  });

  app.delete('/api/v1/session', {
    config: { access: 'session:own' },
    schema: {
      tags: ['session'],
      summary: 'Sign out; the token is worth nothing from now on',
      response: { 204: z.undefined().describe('Signed out'), ...problems },
    },
    handler: async (request, reply) => {
      const principal = principalOfRequest(request);
      if (principal.kind !== 'session' || principal.credentialId === null) {
        throw httpError('KR_REQUEST', 'This request carries no session.', {
          field: 'Authorization',
          wayOut: 'Revoke an API token with DELETE /api/v1/tokens/<id>.',
        });
      }
      await context.sessions.close(principal.credentialId, changeBy(context, principal));
      return reply.code(204).send();
    },
  });
}
