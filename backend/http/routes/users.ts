/** Accounts. An administrator without a cluster list always remains. */
import { z } from 'zod';
import type { Account } from '../../store/sql/accounts.ts';
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
  listQuery,
  pageOf,
  Password,
  problems,
  Role,
  Username,
} from '../schemas.ts';

const tags = ['users'];

const NewUser = z
  .strictObject({
    username: Username,
    password: Password,
    role: Role,
    clusters: ClusterList.default(null).describe('null = every cluster'),
  })
  .meta({
    examples: [
      { username: 'ben', password: 'another sentence to keep', role: 'operator', clusters: null },
    ],
  });

const UserChange = z
  .strictObject({
    role: Role.optional(),
    clusters: ClusterList.optional(),
    disabled: z.boolean().optional(),
    password: Password.optional(),
    secondFactor: z.literal('off').optional().describe('For who has lost the app'),
  })
  .refine((change) => Object.keys(change).length > 0, {
    message: 'name at least one of role, clusters, disabled, password, secondFactor',
  })
  .meta({ examples: [{ role: 'viewer' }, { disabled: true }] });

const UserView = z.object({
  id: z.string(),
  username: z.string(),
  role: Role,
  clusters: z.array(z.string()).nullable(),
  disabled: z.boolean(),
  hasSecondFactor: z.boolean(),
  createdAt: At,
});
export type UserView = z.infer<typeof UserView>;

function userView(account: Account): z.infer<typeof UserView> {
  const clusters = clustersOf(account.clusters);
  return {
    id: account.id,
    username: account.username,
    role: account.role,
    clusters: clusters && [...clusters],
    disabled: account.disabled === 1,
    hasSecondFactor: account.totp_secret !== null,
    createdAt: isoOf(account.created_at_ms),
  };
}

async function hashedUnlessWeak({ passwords }: Context, password: string, username: string) {
  const weakness = passwords.weakness(password, username);
  if (weakness !== null) throw httpError('KR_PASSWORD_WEAK', weakness, { field: 'password' });
  return passwords.hash(password);
}

function listRoutes(app: App, context: Context): void {
  const { accounts } = context;
  app.get('/api/v1/users', {
    config: { access: 'users:manage' },
    schema: {
      tags,
      summary: 'Accounts by user name',
      querystring: listQuery({}),
      response: { 200: pageOf(UserView), ...problems },
    },
    handler: async (request) => {
      const byName = new Map((await accounts.list()).map((row) => [row.username, row]));
      return pageOfKeys([...byName.keys()].sort(), request.query, (name) => {
        const account = byName.get(name);
        return account && userView(account);
      });
    },
  });

  app.post('/api/v1/users', {
    config: { access: 'users:manage' },
    schema: {
      tags,
      summary: 'Create an account',
      body: NewUser,
      response: { 201: UserView, ...problems },
    },
    handler: async (request, reply) => {
      const { username, password, role, clusters } = request.body;
      const passwordHash = await hashedUnlessWeak(context, password, username);
      const id = context.newId();
      const by = changeBy(context, principalOfRequest(request));
      const isCreated = await accounts.create({ id, username, passwordHash, role, clusters }, by);
      if (!isCreated) {
        throw httpError('KR_USERNAME_TAKEN', `There is an account ${username}.`, {
          field: 'username',
        });
      }
      const createdAt = isoOf(by.nowMs);
      const rest = { disabled: false, hasSecondFactor: false, createdAt };
      const view = { id, username, role, clusters, ...rest };
      return reply.code(201).send(view);
    },
  });
}

export function userRoutes(app: App, context: Context): void {
  listRoutes(app, context);

  app.patch('/api/v1/users/:id', {
    config: { access: 'users:manage' },
    schema: {
      tags,
      summary: 'Change role, clusters or password, or disable; ends sessions where it must',
      params: ById,
      body: UserChange,
      response: { 200: UserView, ...problems },
    },
    handler: async (request) => {
      const { id } = request.params;
      const { role, clusters, disabled, password, secondFactor } = request.body;
      const account = await context.accounts.find(id);
      const unknown = httpError('KR_NOT_FOUND', `There is no account ${id}.`, { field: 'id' });
      if (!account) throw unknown;
      const passwordHash =
        password === undefined
          ? undefined
          : await hashedUnlessWeak(context, password, account.username);
      const updated = await context.accounts.update(
        id,
        {
          ...(role === undefined ? {} : { role }),
          ...(clusters === undefined ? {} : { clusters }),
          ...(disabled === undefined ? {} : { disabled }),
          ...(passwordHash === undefined ? {} : { passwordHash }),
          ...(secondFactor === undefined ? {} : { totpSecret: null }),
        },
        changeBy(context, principalOfRequest(request)),
      );
      if (updated.ok) return userView(updated.account);
      if (updated.why === 'unknown') throw unknown;
      const field = disabled === true ? 'disabled' : role === undefined ? 'clusters' : 'role';
      throw httpError('KR_LAST_ADMIN', `${account.username} is the last one.`, { field });
    },
  });
}
