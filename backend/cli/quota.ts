/**
 * `kernreaktor quota`: what may be taken and what is, and another limit for one scope. The server
 * keeps all limits as one document, so a change reads it, replaces one limit and writes it back.
 */
import { z } from 'zod';
import { bytes, dash } from '../format.ts';
import type { ClientApi } from './api.ts';
import { allOf, NotFound } from './find.ts';
import { json, number, table } from './output.ts';
import { pageOf } from './views.ts';

type Deps = { api: ClientApi };
type Json = { json?: boolean };

const path = '/api/v1/quotas';
const Limit = z.object({ cpuCount: z.number().nullable(), memoryBytes: z.number().nullable() });
type Limit = z.infer<typeof Limit>;
const Amount = z.object({ cpuCount: z.number(), memoryBytes: z.number() });
type Amount = z.infer<typeof Amount>;
/** What another version of the server holds beside these is written back as it was read. */
const Limits = z.looseObject({
  global: Limit,
  clusters: z.record(z.string(), Limit),
  accounts: z.record(z.string(), Limit),
  perAccountOnLxd: Limit,
});
type Limits = z.infer<typeof Limits>;
const All = z.object({
  quotas: Limits,
  taken: z.object({
    global: Amount,
    clusters: z.record(z.string(), Amount),
    accounts: z.record(z.string(), Amount),
  }),
});
const Own = z.object({
  limit: Limit.nullable(),
  limitOnLxd: Limit,
  taken: Amount,
  takenOnLxd: Amount,
});
const Account = z.looseObject({ id: z.string(), username: z.string() });

const nothing: Amount = { cpuCount: 0, memoryBytes: 0 };
const noLimit: Limit = { cpuCount: null, memoryBytes: null };

const readAll = ({ api }: Deps) => api.ask(All, { method: 'GET', path });
const accountsOf = ({ api }: Deps) => allOf(api, pageOf(Account), 'users');

const rowOf = (what: string, taken: Amount | null, limit: Limit) => [
  what,
  number(taken === null ? dash : String(taken.cpuCount)),
  number(limit.cpuCount === null ? 'none' : String(limit.cpuCount)),
  number(taken === null ? dash : bytes(taken.memoryBytes)),
  number(limit.memoryBytes === null ? 'none' : bytes(limit.memoryBytes)),
];
const tableOf = (rows: ReturnType<typeof rowOf>[]): string =>
  table(['of', 'cpus', 'limit', 'memory', 'limit'], rows);

export async function listQuotas(deps: Deps, options: Json): Promise<string> {
  const all = await readAll(deps);
  if (options.json) return json(all);
  const { quotas, taken } = all;
  const names = new Map((await accountsOf(deps)).map(({ id, username }) => [id, username]));
  const both = (a: object, b: object) => [...new Set([...Object.keys(a), ...Object.keys(b)])];
  const clusters = both(quotas.clusters, taken.clusters).toSorted();
  const accounts = both(quotas.accounts, taken.accounts);
  return tableOf([
    rowOf('everything', taken.global, quotas.global),
    ...clusters.map((id) =>
      rowOf(`cluster ${id}`, taken.clusters[id] ?? nothing, quotas.clusters[id] ?? noLimit),
    ),
    ...accounts.map((id) =>
      rowOf(
        `account ${names.get(id) ?? id}`,
        taken.accounts[id] ?? nothing,
        quotas.accounts[id] ?? noLimit,
      ),
    ),
    rowOf('each other account, on LXD', null, quotas.perAccountOnLxd),
  ]);
}

export async function ownQuota({ api }: Deps, options: Json): Promise<string> {
  const own = await api.ask(Own, { method: 'GET', path: `${path}/mine` });
  if (options.json) return json(own);
  const everywhere = rowOf('your guests', own.taken, own.limit ?? noLimit);
  // A limit of one's own takes the place of the one on LXD.
  if (own.limit) return tableOf([everywhere]);
  return tableOf([everywhere, rowOf('of them on LXD', own.takenOnLxd, own.limitOnLxd)]);
}

export type QuotaScope = { cluster?: string; account?: string; eachAccountOnLxd?: boolean };
export type QuotaChange = QuotaScope & Json & { cpus?: string; memory?: string };

const units: Readonly<Record<string, number>> = { M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

function cpusOf(text: string): number | null {
  if (text === 'none') return null;
  if (/^\d{1,7}$/.test(text)) return Number(text);
  throw new NotFound(`--cpus ${text}: write a whole number, or none`);
}

function memoryOf(text: string): number | null {
  if (text === 'none') return null;
  const [, count = '', unit = ''] = /^(\d{1,7}(?:\.\d{1,3})?)([MGT])(?:iB)?$/.exec(text) ?? [];
  const scale = units[unit];
  if (scale === undefined) throw new NotFound(`--memory ${text}: write 512M, 64G, 1.5T or none`);
  return Math.round(Number(count) * scale);
}

type Place = {
  name: string;
  limit: Limit | undefined;
  put(limits: Limits, limit: Limit): Limits;
  without(limits: Limits): Limits;
};

const except = <T>(all: Record<string, T>, key: string): Record<string, T> =>
  Object.fromEntries(Object.entries(all).filter(([name]) => name !== key));

const entryOf = (
  of: 'clusters' | 'accounts',
  key: string,
  name: string,
  limits: Limits,
): Place => ({
  name,
  limit: limits[of][key],
  put: (all, limit) => ({ ...all, [of]: { ...all[of], [key]: limit } }),
  without: (all) => ({ ...all, [of]: except(all[of], key) }),
});

/** The server's default takes the place of what is left out. */
const fieldOf = (of: 'global' | 'perAccountOnLxd', name: string, limits: Limits): Place => ({
  name,
  limit: limits[of],
  put: (all, limit) => ({ ...all, [of]: limit }),
  without: (all) => except(all, of) as Limits,
});

/** @throws NotFound where several are named, or an account that is none. */
async function placeOf(deps: Deps, scope: QuotaScope, limits: Limits): Promise<Place> {
  const { cluster, account, eachAccountOnLxd } = scope;
  if ([cluster, account, eachAccountOnLxd].filter((one) => one !== undefined).length > 1) {
    throw new NotFound('name one of --cluster, --account and --each-account-on-lxd');
  }
  if (cluster !== undefined) return entryOf('clusters', cluster, `cluster ${cluster}`, limits);
  if (eachAccountOnLxd) return fieldOf('perAccountOnLxd', 'each account on LXD', limits);
  if (account === undefined) return fieldOf('global', 'everything', limits);
  const found = (await accountsOf(deps)).find(({ username }) => username === account);
  if (found) return entryOf('accounts', found.id, `account ${account}`, limits);
  throw new NotFound(`there is no account ${account}: kernreaktor user list`);
}

const write = ({ api }: Deps, body: Limits) => api.ask(z.unknown(), { method: 'PUT', path, body });

const limitText = ({ cpuCount, memoryBytes }: Limit): string =>
  `${cpuCount === null ? 'any number of' : cpuCount} cpus and ${memoryBytes === null ? 'any' : bytes(memoryBytes)} memory`;

/** What is not given stays as it is. */
export async function setQuota(deps: Deps, change: QuotaChange): Promise<string> {
  const { cpus, memory } = change;
  if (cpus === undefined && memory === undefined) {
    throw new NotFound('say what: --cpus 32, --memory 64G, or both');
  }
  const { quotas } = await readAll(deps);
  const place = await placeOf(deps, change, quotas);
  const limit = {
    ...(place.limit ?? noLimit),
    ...(cpus !== undefined && { cpuCount: cpusOf(cpus) }),
    ...(memory !== undefined && { memoryBytes: memoryOf(memory) }),
  };
  await write(deps, place.put(quotas, limit));
  return change.json ? json(limit) : `${place.name}: ${limitText(limit)}`;
}

export async function removeQuota(deps: Deps, scope: QuotaScope & Json): Promise<string> {
  const { quotas } = await readAll(deps);
  const place = await placeOf(deps, scope, quotas);
  await write(deps, place.without(quotas));
  return scope.json ? json({ removed: place.name }) : `${place.name}: the default holds again`;
}
