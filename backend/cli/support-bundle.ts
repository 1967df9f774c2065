/**
 * `kernreaktor support-bundle`: what somebody who helps needs to know, as one text that is shown
 * before it is written anywhere. Invariant: secrets are never in it, addresses and names only under
 * pseudonyms; it is sent to nobody.
 */
import { writeFile } from 'node:fs/promises';
import { arch, cpus, hostname, release, totalmem } from 'node:os';
import { z } from 'zod';
import type { Environment } from '../../broker/contract/environment.ts';
import { ConfigError } from '../config.ts';
import type { Finding } from '../doctor/finding.ts';
import { examineAll } from '../doctor/run.ts';
import type { ReachParts } from '../doctor/reach.ts';
import { version } from '../version.ts';
import { ApiRefused, type ClientApi, createClientApi } from './api.ts';
import { givenEnvironment, readServerAddress } from './config.ts';
import { NotFound } from './find.ts';
import { json } from './output.ts';
import type { Person } from './prove-wake.ts';
import { redact } from './redact.ts';

const Rows = z.object({ items: z.array(z.looseObject({})) });
/** What an id or a name may stand in, in any list. */
const nameKeys = ['id', 'cluster', 'node', 'name', 'username', 'actor'];

const paths = [
  'clusters',
  'nodes?limit=500',
  'commands?limit=50',
  'decisions?limit=20',
  'hold',
  'own-house',
  'backups',
] as const;

async function answersOf(api: ClientApi): Promise<{ text: string; names: string[] }> {
  const texts: string[] = [];
  const names: string[] = [];
  for (const path of paths) {
    const answer = await api
      .ask(z.unknown(), { method: 'GET', path: `/api/v1/${path}` })
      .catch((error: unknown) => {
        if (error instanceof ApiRefused) return { refused: error.message };
        throw error;
      });
    for (const row of Rows.safeParse(answer).data?.items ?? []) {
      for (const key of nameKeys) {
        const value = row[key];
        if (typeof value === 'string') names.push(value.replace(/^account:/, ''));
      }
    }
    texts.push(`## GET /api/v1/${path}\n${JSON.stringify(answer, null, 1)}`);
  }
  // A UUID tells nothing of anybody, and ties lines together.
  return { text: texts.join('\n\n'), names: names.filter((name) => !/^[0-9a-f-]{36}$/.test(name)) };
}

const settingsText = (environment: Environment): string =>
  Object.entries(environment)
    .filter(([name]) => name.startsWith('KR_'))
    .map(([name, value]) =>
      /PASSWORD|TOKEN|SECRET/.test(name) && !name.endsWith('_FILE')
        ? `${name}=<secret>`
        : `${name}=${value ?? ''}`,
    )
    .join('\n');

export type BundleDeps = {
  /** null where no server answers. */
  api: ClientApi | null;
  person: Person;
  environment: Environment;
  findings: () => Promise<readonly Finding[]>;
};

/** Everything, redacted. */
export async function bundleText(deps: Omit<BundleDeps, 'person'>): Promise<string> {
  const { api, environment, findings } = deps;
  const told = api ? await answersOf(api) : { text: '## no server answers here', names: [] };
  const machine = `${process.platform} ${release()} ${arch()}, ${cpus().length} cpus, ${Math.round(totalmem() / 2 ** 30)} GiB, node ${process.version}`;
  const parts = [
    `# Kernreaktor ${version}\n${machine}`,
    `## settings\n${settingsText(environment)}`,
    `## doctor\n${JSON.stringify(await findings(), null, 1)}`,
    told.text,
  ];
  return redact(parts.join('\n\n'), [hostname(), ...told.names]);
}

export type BundleOptions = { out: string; yes?: boolean; json?: boolean };

export async function supportBundle(
  deps: BundleDeps,
  { out, yes, json: isJson }: BundleOptions,
): Promise<string> {
  const { person } = deps;
  if (isJson && !yes) throw new NotFound('--json shows nobody what is in it: add --yes');
  const text = await bundleText(deps);
  if (!isJson) person.say(text);
  const answer =
    yes === true ? 'yes' : await person.ask(`\nThis is all of it. Write it to ${out}? [yes/no] `);
  if (answer === null) throw new NotFound('nobody is there to look at it: add --yes');
  if (answer.trim().toLowerCase() !== 'yes') return 'nothing was written';
  await writeFile(out, `${text}\n`, { mode: 0o600 });
  if (isJson) return json({ file: out, bytes: Buffer.byteLength(text) + 1 });
  return `${out}: look through it once more before you send it to anybody`;
}

function openApi(environment: Environment): ClientApi | null {
  try {
    return createClientApi(readServerAddress(environment));
  } catch (error) {
    if (error instanceof ConfigError) return null;
    throw error;
  }
}

/** With or without a server that runs. */
export async function runSupportBundle(
  parts: ReachParts & { person: Person },
  options: BundleOptions,
): Promise<string> {
  const environment = givenEnvironment();
  const api = openApi(environment);
  const findings = () => examineAll(parts, environment);
  try {
    return await supportBundle({ api, person: parts.person, environment, findings }, options);
  } finally {
    await api?.close();
  }
}
