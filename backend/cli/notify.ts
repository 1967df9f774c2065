/**
 * `kernreaktor notify`: channels of notifications, what was told through them, and what could not
 * be. A secret is asked for or read from a file, never taken from the arguments, and never shown.
 */
import { readFile } from 'node:fs/promises';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { type ChannelKind, secretFieldOf } from '../notify/channels.ts';
import type { ClientApi } from './api.ts';
import { NotFound } from './find.ts';
import { json, table } from './output.ts';
import type { Person } from './prove-wake.ts';

type Deps = { api: ClientApi; person: Person };
type Json = { json?: boolean };

const base = '/api/v1/notifications';
const Channel = z.looseObject({
  id: z.string(),
  name: z.string(),
  target: z.looseObject({
    kind: z.string(),
    topic: z.string().optional(),
    url: z.string().optional(),
    host: z.string().optional(),
  }),
  enabled: z.boolean(),
  fallbackId: z.string().nullable(),
});
type Channel = z.infer<typeof Channel>;
const Told = z.looseObject({
  rule: z.string(),
  severity: z.string(),
  title: z.string(),
  openedAt: z.string(),
  isOpen: z.boolean(),
});
const Dead = z.looseObject({
  id: z.string(),
  title: z.string(),
  channel: z.string().nullable(),
  attempts: z.number(),
  problem: z.string().nullable(),
});
const listOf = <T extends z.ZodType>(item: T) => z.object({ items: z.array(item) });

async function channels({ api }: Deps): Promise<Channel[]> {
  const call = { method: 'GET', path: `${base}/channels` } as const;
  return (await api.ask(listOf(Channel), call)).items;
}

async function channelNamed(deps: Deps, name: string): Promise<Channel> {
  const found = (await channels(deps)).find((one) => one.name === name || one.id === name);
  if (found) return found;
  throw new NotFound(`there is no channel ${name}: kernreaktor notify list`);
}

/** Where it goes, in a word; no kind's secret is among these. */
const whereTo = ({ target }: Channel): string => target.topic ?? target.url ?? target.host ?? '';

export async function listChannels(deps: Deps, { json: isJson }: Json): Promise<string> {
  const all = await channels(deps);
  if (isJson) return json(all);
  if (all.length === 0) return 'no channel yet: kernreaktor notify add phone --kind ntfy --help';
  const nameOf = (id: string | null): string => all.find((one) => one.id === id)?.name ?? '';
  return table(
    ['channel', 'kind', 'to', 'fallback', ''],
    all.map((one) => [
      one.name,
      one.target.kind,
      whereTo(one),
      nameOf(one.fallbackId),
      one.enabled ? '' : 'off',
    ]),
  );
}

/** `url=https://ntfy.sh`; several addresses of mail are separated by commas. */
function fieldsOf(pairs: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [, name = '', value = ''] = /^(\w+)=(.*)$/s.exec(pair) ?? [];
      if (name === '') throw new NotFound(`--set ${pair}: write <field>=<value>`);
      if (name === 'to') return [name, value.split(',').map((one) => one.trim())];
      return [name, name === 'port' ? Number(value) : value];
    }),
  );
}

export type ChannelOrder = {
  kind: ChannelKind;
  set: readonly string[];
  secretFile?: string;
  fallback?: string;
  off?: boolean;
} & Json;

/** null: none was given, so one that was kept before stays. */
async function secretOf({ person }: Deps, order: ChannelOrder): Promise<string | null> {
  const { kind, secretFile } = order;
  const field = secretFieldOf(kind);
  if (secretFile !== undefined) return (await readFile(secretFile, 'utf8')).trim();
  if (field === null) return null;
  const hint = field.isNeeded ? '' : ', empty for none';
  const typed = await person.askSecret(`${field.field} of ${kind}${hint}: `);
  return typed === null || typed === '' ? null : typed;
}

/** Under a name that is there already, the channel is changed. */
export async function putChannel(deps: Deps, name: string, order: ChannelOrder): Promise<string> {
  const { kind, set, fallback, off } = order;
  const fields = fieldsOf(set);
  const hidden = secretFieldOf(kind)?.field;
  if (hidden !== undefined && Object.hasOwn(fields, hidden)) {
    throw new NotFound(`--set ${hidden}: others could read it here; use --secret-file or type it`);
  }
  const secret = await secretOf(deps, order);
  const all = await channels(deps);
  const known = all.find((one) => one.name === name);
  const fallbackId = fallback === undefined ? null : (await channelNamed(deps, fallback)).id;
  const own = secret === null || hidden === undefined ? {} : { [hidden]: secret };
  const body = { name, target: { kind, ...fields, ...own }, enabled: off !== true, fallbackId };
  const path = known ? `${base}/channels/${known.id}` : `${base}/channels`;
  const now = await deps.api.ask(Channel, { method: known ? 'PUT' : 'POST', path, body });
  if (order.json) return json(now);
  return `${name} is ${known ? 'changed' : 'added'}; try it: kernreaktor notify test ${name}`;
}

export async function removeChannel(deps: Deps, name: string, options: Json): Promise<string> {
  const { id } = await channelNamed(deps, name);
  await deps.api.ask(z.unknown(), { method: 'DELETE', path: `${base}/channels/${id}` });
  return options.json ? json({ id }) : `${name} is removed, its secret with it`;
}

export async function testChannel(deps: Deps, name: string, options: Json): Promise<string> {
  const { id } = await channelNamed(deps, name);
  await deps.api.ask(z.unknown(), { method: 'POST', path: `${base}/channels/${id}/test` });
  return options.json ? json({ id }) : `${name} has taken a test message`;
}

export async function showTold({ api }: Deps, { json: isJson }: Json): Promise<string> {
  const { items } = await api.ask(listOf(Told), { method: 'GET', path: base });
  if (isJson) return json(items);
  if (items.length === 0) return 'nothing was told yet';
  return table(
    ['when', 'rule', 'severity', '', 'what'],
    items.map((one) => [one.openedAt, one.rule, one.severity, one.isOpen ? 'open' : '', one.title]),
  );
}

async function deadOnes({ api }: Deps): Promise<z.infer<typeof Dead>[]> {
  return (await api.ask(listOf(Dead), { method: 'GET', path: `${base}/dead` })).items;
}

export async function showDead(deps: Deps, { json: isJson }: Json): Promise<string> {
  const items = await deadOnes(deps);
  if (isJson) return json(items);
  if (items.length === 0) return 'everything was delivered, or is still tried';
  const rows = items.map((one) => [
    one.id,
    one.channel ?? 'removed',
    one.title,
    `${one.attempts} attempts: ${one.problem ?? 'no answer'}`,
  ]);
  return `${table(['delivery', 'channel', 'what', 'why'], rows)}\nagain: kernreaktor notify retry <delivery>, or all`;
}

/** `all`: every dead one. */
export async function retryDead(deps: Deps, which: string, options: Json): Promise<string> {
  const ids = which === 'all' ? (await deadOnes(deps)).map(({ id }) => id) : [which];
  for (const id of ids) {
    const path = `${base}/dead/${encodeURIComponent(id)}/retry`;
    await deps.api.ask(z.unknown(), { method: 'POST', path });
  }
  return options.json ? json({ ids }) : `${ids.length} will be tried again now`;
}

/** Prints the settings as YAML, or replaces them by those of a file. */
export async function settings(
  { api }: Deps,
  { file, json: isJson }: Json & { file?: string },
): Promise<string> {
  const path = `${base}/settings`;
  const body =
    file === undefined ? undefined : z.looseObject({}).parse(parse(await readFile(file, 'utf8')));
  const now = await api.ask(
    z.looseObject({}),
    body === undefined ? { method: 'GET', path } : { method: 'PUT', path, body },
  );
  return isJson ? json(now) : stringify(now).trimEnd();
}
