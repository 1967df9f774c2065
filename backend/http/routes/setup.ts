/**
 * First run: whoever holds the set-up token creates the first administrator. The token lives in
 * memory only, is void once an account exists, and of concurrent set-ups exactly one wins.
 */
import { z } from 'zod';
import type { App } from '../app.ts';
import type { Context } from '../context.ts';
import { httpError } from '../errors.ts';
import { Password, problems, Username } from '../schemas.ts';
import { isSameSecret } from '../secrets.ts';
import { addressKey } from './session.ts';

const SetupBody = z
  .strictObject({
    token: z.string().min(1).max(256),
    username: Username,
    password: Password,
  })
  .meta({
    examples: [
      {
        token: '7f0c1d6a3be24c55a1f39d0f6f0d2f6ce9b1f6a7c3d94e2f8a5b7c9d0e1f2a3b',
        username: 'anna',
        password: 'a long sentence nobody guesses',
      },
    ],
  });

export function setupRoutes(app: App, context: Context): void {
  const { accounts, clock, delays, newId, passwords, setup } = context;

  app.get('/api/v1/setup', {
    config: { access: 'public' },
    schema: {
      tags: ['setup'],
      summary: 'Whether the first account is still to be created',
      response: { 200: z.object({ isRequired: z.boolean() }), ...problems },
    },
    handler: () => ({ isRequired: setup.current() !== null }),
  });

  app.post('/api/v1/setup', {
    config: { access: 'public' },
    schema: {
      tags: ['setup'],
      summary: 'Create the first administrator with the set-up token',
      body: SetupBody,
      response: { 201: z.object({ id: z.string(), username: z.string() }), ...problems },
    },
    handler: async (request, reply) => {
      const { token, username, password } = request.body;
      const expected = setup.current();
      if (expected === null) throw httpError('KR_SETUP_DONE', 'The first account exists.');
      const waitMs = delays.byAddress.attempt(addressKey(request), clock.monotonicMs());
      if (waitMs > 0) {
        throw httpError('KR_LOGIN_DELAY', 'Too many attempts.', { retryAfterMs: waitMs });
      }
      if (!isSameSecret(token, expected)) {
        throw httpError('KR_SETUP_TOKEN', 'This is not the set-up token.', { field: 'token' });
      }
      delays.byAddress.takeBack(addressKey(request));
      const weakness = passwords.weakness(password, username);
      if (weakness !== null) throw httpError('KR_PASSWORD_WEAK', weakness, { field: 'password' });
      const passwordHash = await passwords.hash(password);
      const id = newId();
      const isFirst = await accounts.createFirst(
        { id, username, passwordHash, role: 'admin', clusters: null },
        { actor: 'setup', nowMs: clock.wallMs() },
      );
      if (!isFirst) throw httpError('KR_SETUP_DONE', 'Somebody else has just set this up.');
      await setup.spend();
      return reply.code(201).send({ id, username });
    },
  });
}
