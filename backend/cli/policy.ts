/** `policy check | diff | list | enable`: policies as files, beside those that the server keeps. */
import { existsSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { isStrategy, strategyNames } from '../decide/strategies.ts';
import { checkPolicy, policyDifferences, problemText } from '../policy-file.ts';
import type { ClientApi } from './api.ts';
import { policyText } from './backtest.ts';
import { NotFound } from './find.ts';
import { json, number, table } from './output.ts';

const View = z.looseObject({
  name: z.string(),
  version: z.number(),
  source: z.string(),
  about: z.string().nullable(),
  yaml: z.string(),
});
const Listed = z.object({ items: z.array(View) });

export type Checked = { ok: boolean; text: string; problems: readonly unknown[] };

/** Without a server. */
export function checkFile(path: string): Checked {
  const checked = checkPolicy(policyText(path));
  return checked.ok
    ? { ok: true, text: `${path}: fine`, problems: [] }
    : {
        ok: false,
        text: checked.problems.map((problem) => `${path}:${problemText(problem)}`).join('\n'),
        problems: checked.problems,
      };
}

const listed = (api: ClientApi) =>
  api.ask(Listed, { method: 'GET', path: '/api/v1/policies' }).then(({ items }) => items);

/** Whole policy of a file, a shipped name, or one that the server keeps. */
async function wholeOf(wanted: string, api: () => ClientApi): Promise<unknown> {
  if (isStrategy(wanted) || existsSync(wanted)) {
    const checked = checkPolicy(policyText(wanted));
    if (checked.ok) return checked.policy;
    throw new NotFound(checked.problems.map((one) => `${wanted}:${problemText(one)}`).join('\n'));
  }
  const items = await listed(api());
  const found = items.find(({ name }) => name === wanted);
  if (found) return parse(found.yaml);
  const names = [...new Set([...items.map(({ name }) => name), ...strategyNames])].join(', ');
  throw new NotFound(`${wanted}: there is no such file or policy (${names})`);
}

export async function diffPolicies(
  before: string,
  after: string,
  api: () => ClientApi,
  isJson = false,
): Promise<string> {
  const found = policyDifferences(await wholeOf(before, api), await wholeOf(after, api));
  if (isJson) return json(found);
  if (found.length === 0) return 'no difference';
  return found
    .map(
      ({ field, before: was, after: is }) => `${field}: ${was ?? 'nothing'} -> ${is ?? 'nothing'}`,
    )
    .join('\n');
}

export async function showPolicies(api: ClientApi, isJson: boolean): Promise<string> {
  const items = await listed(api);
  if (isJson) return json(items);
  return table(
    ['policy', 'version', 'from', 'about'],
    items.map(({ name, version, source, about }) => [
      name,
      number(String(version)),
      source,
      about ?? '',
    ]),
  );
}

/** Stores a file under its name where one is given, then lets the cluster follow it. */
export async function enablePolicy(
  wanted: string,
  { cluster, name, json: isJson }: { cluster: string; name?: string; json?: boolean },
  api: ClientApi,
): Promise<string> {
  let policy = name ?? wanted;
  if (existsSync(wanted)) {
    policy = name ?? basename(wanted).replace(/\.ya?ml$/, '');
    const body = { name: policy, yaml: readFileSync(wanted, 'utf8') };
    await api.ask(View, { method: 'POST', path: '/api/v1/policies', body });
  }
  const path = `/api/v1/clusters/${encodeURIComponent(cluster)}/policy`;
  const followed = await api.ask(View, { method: 'PUT', path, body: { policy } });
  return isJson
    ? json({ cluster, ...followed })
    : `${cluster} follows ${followed.name}, version ${followed.version}`;
}
