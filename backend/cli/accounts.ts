/** `user` and `token`: who may come in. A password is asked for, never taken from the arguments. */
import { z } from 'zod';
import type { ClientApi } from './api.ts';
import { allOf, NotFound } from './find.ts';
import { json, table } from './output.ts';
import type { Person } from './prove-wake.ts';
import { pageOf } from './views.ts';

const UserRow = z.looseObject({
  id: z.string(),
  username: z.string(),
  role: z.string(),
  clusters: z.array(z.string()).nullable(),
  disabled: z.boolean(),
});
const TokenRow = z.looseObject({
  id: z.string(),
  name: z.string(),
  role: z.string(),
  clusters: z.array(z.string()).nullable(),
  expiresAt: z.string().nullable(),
  revokedAt: z.string().nullable(),
});

type Deps = { api: ClientApi; person: Person };
type Json = { json?: boolean };

const clustersText = (clusters: string[] | null): string => clusters?.join(', ') ?? 'every';
/** `home,lab`; undefined leaves the server's default. */
const clustersIn = (text: string | undefined): { clusters?: string[] } =>
  text === undefined ? {} : { clusters: text.split(',').map((name) => name.trim()) };

export async function showUsers({ api }: Deps, { json: isJson }: Json): Promise<string> {
  const rows = await allOf(api, pageOf(UserRow), 'users');
  if (isJson) return json(rows);
  if (rows.length === 0) return 'no account yet: kernreaktor user add <name> --role admin';
  return table(
    ['user', 'role', 'clusters', ''],
    rows.map((row) => [
      row.username,
      row.role,
      clustersText(row.clusters),
      row.disabled ? 'locked out' : '',
    ]),
  );
}

async function newPassword({ person }: Deps): Promise<string> {
  const first = await person.askSecret('New password, at least 12 characters: ');
  const second = first === null ? null : await person.askSecret('The same again: ');
  if (first === null) throw new NotFound('nobody is there to type a password: use a terminal');
  if (first !== second) throw new NotFound('the two passwords differ; nothing was changed');
  return first;
}

export async function addUser(
  deps: Deps,
  username: string,
  { role, clusters, json: isJson }: { role: string; clusters?: string } & Json,
): Promise<string> {
  const password = await newPassword(deps);
  const body = { username, password, role, ...clustersIn(clusters) };
  const made = await deps.api.ask(UserRow, { method: 'POST', path: '/api/v1/users', body });
  return isJson ? json(made) : `${username} may sign in as ${role}`;
}

export type UserChange = {
  role?: string;
  clusters?: string;
  password?: boolean;
  lock?: boolean;
  unlock?: boolean;
  secondFactor?: boolean;
} & Json;

export async function changeUser(
  deps: Deps,
  username: string,
  change: UserChange,
): Promise<string> {
  const { role, clusters, password, lock, unlock, secondFactor } = change;
  const rows = await allOf(deps.api, pageOf(UserRow), 'users');
  const user = rows.find((row) => row.username === username);
  if (!user) throw new NotFound(`there is no account ${username}: kernreaktor user list`);
  const body = {
    ...(role === undefined ? {} : { role }),
    ...(clusters === 'every' ? { clusters: null } : clustersIn(clusters)),
    ...(lock === true ? { disabled: true } : {}),
    ...(unlock === true ? { disabled: false } : {}),
    ...(secondFactor === false ? { secondFactor: 'off' } : {}),
    ...(password === true ? { password: await newPassword(deps) } : {}),
  };
  const path = `/api/v1/users/${user.id}`;
  const now = await deps.api.ask(UserRow, { method: 'PATCH', path, body });
  return change.json ? json(now) : `${username} is changed`;
}

export async function showTokens({ api }: Deps, { json: isJson }: Json): Promise<string> {
  const rows = await allOf(api, pageOf(TokenRow), 'tokens');
  if (isJson) return json(rows);
  if (rows.length === 0) return 'no token yet: kernreaktor token add <name> --account <user>';
  return table(
    ['token', 'name', 'role', 'clusters', 'ends'],
    rows.map((row) => [
      row.id,
      row.name,
      row.role,
      clustersText(row.clusters),
      row.revokedAt === null ? (row.expiresAt ?? 'never') : `revoked ${row.revokedAt}`,
    ]),
  );
}

const Created = z.object({ id: z.string(), token: z.string() });
const dayMs = 86_400_000;

/** The token alone, so that a script can keep it; it is never shown again. */
export async function addToken(
  { api }: Deps,
  name: string,
  order: { role: string; clusters?: string; days?: string; account?: string } & Json,
): Promise<string> {
  const { role, clusters, days, account, json: isJson } = order;
  const expires = days === undefined ? {} : { expiresInMs: Math.round(Number(days) * dayMs) };
  const owner = account === undefined ? {} : { account };
  const body = { name, role, ...clustersIn(clusters), ...expires, ...owner };
  const made = await api.ask(Created, { method: 'POST', path: '/api/v1/tokens', body });
  return isJson ? json(made) : made.token;
}

export async function revokeToken({ api }: Deps, id: string, options: Json): Promise<string> {
  const path = `/api/v1/tokens/${encodeURIComponent(id)}`;
  await api.ask(z.unknown(), { method: 'DELETE', path });
  return options.json ? json({ id }) : `${id} is worth nothing from now on`;
}
