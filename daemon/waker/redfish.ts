/**
 * Switches a machine on by the Redfish service of its BMC. The certificate is checked before the
 * password leaves this host: by its pinned SHA-256, by the administrator's CA, or by the system's.
 * It follows no redirect and no link away from the BMC, and only ever asks for "on".
 */
import { readFileSync } from 'node:fs';
import { Agent, buildConnector, request } from 'undici';
import { z } from 'zod';
import { freshTls, pinnedConnector } from '../pinned.ts';
import { WakeError, type Waker, type WakeSent } from './port.ts';
import { readSecret } from './secret.ts';
import type { RedfishSettings } from './settings.ts';

/** BMCs are slow; some take seconds per answer. */
const answerMs = 15_000;
const answerBytesMax = 2 ** 20;

const systemsPath = '/redfish/v1/Systems';
const Path = z.string().regex(/^\/redfish\/v1\/[\w./#%:@-]{1,512}$/);
const Collection = z.object({ Members: z.array(z.object({ '@odata.id': Path })).max(1_024) });
const System = z.object({
  PowerState: z.string().nullish(),
  Actions: z.object({
    '#ComputerSystem.Reset': z.object({
      target: Path,
      'ResetType@Redfish.AllowableValues': z.array(z.string()).nullish(),
    }),
  }),
});

const plain = { ...freshTls, timeout: answerMs } as const;

function agentFor({ fingerprint, caFile }: RedfishSettings): Agent {
  const limits = { headersTimeout: answerMs, bodyTimeout: answerMs, connections: 1 };
  const own = caFile === undefined ? {} : { ca: readFileSync(caFile, 'utf8') };
  const connect =
    fingerprint === undefined
      ? buildConnector({ ...plain, ...own })
      : pinnedConnector(fingerprint, plain);
  return new Agent({ ...limits, maxResponseSize: answerBytesMax, connect });
}

type Session = {
  settings: RedfishSettings;
  agent: Agent;
  authorization: string;
  signal: AbortSignal;
};

const refused = ({ settings }: Session, why: string): WakeError =>
  new WakeError('KR_WAKE_REFUSED', `${new URL(settings.url).host}: ${why}`);

type Question = { method: 'GET' } | { method: 'POST'; body: object };

async function ask(session: Session, path: string, question: Question): Promise<unknown> {
  const { settings, agent: dispatcher, authorization, signal } = session;
  const isPost = question.method === 'POST';
  const { statusCode, body } = await request(new URL(path, settings.url), {
    method: question.method,
    dispatcher,
    signal,
    headers: {
      authorization,
      accept: 'application/json',
      'odata-version': '4.0',
      ...(isPost ? { 'content-type': 'application/json' } : {}),
    },
    ...(isPost ? { body: JSON.stringify(question.body) } : {}),
  });
  const text = await body.text();
  if (statusCode === 401 || statusCode === 403) {
    throw refused(session, `${statusCode} for ${path}: user, password or its rights are wrong`);
  }
  if (statusCode < 200 || statusCode > 299) {
    throw refused(session, `${statusCode} for ${path}: ${text.slice(0, 300)}`);
  }
  if (isPost) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    throw refused(session, `${path} is no JSON`);
  }
}

function read<T>(session: Session, schema: z.ZodType<T>, [path, value]: [string, unknown]): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw refused(session, `${path}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

async function systemPathOf(session: Session): Promise<string> {
  const { system } = session.settings;
  if (system !== undefined) return `${systemsPath}/${system}`;
  const answer = await ask(session, systemsPath, { method: 'GET' });
  const { Members } = read(session, Collection, [systemsPath, answer]);
  const [only] = Members;
  if (only && Members.length === 1) return only['@odata.id'];
  const names = Members.map((member) => member['@odata.id'].split('/').at(-1)).join(', ');
  throw refused(session, `serves ${Members.length} systems: set system to one of ${names}`);
}

async function switchOn(session: Session): Promise<string> {
  const path = await systemPathOf(session);
  const answer = await ask(session, path, { method: 'GET' });
  const { PowerState, Actions } = read(session, System, [path, answer]);
  if (PowerState === 'On') return `${path} is on already`;
  const reset = Actions['#ComputerSystem.Reset'];
  const allowed = reset['ResetType@Redfish.AllowableValues'] ?? ['On'];
  const ResetType = ['On', 'ForceOn'].find((type) => allowed.includes(type));
  if (ResetType === undefined) throw refused(session, `${path} allows only ${allowed.join(', ')}`);
  await ask(session, reset.target, { method: 'POST', body: { ResetType } });
  return `${path}: ${ResetType}`;
}

export function createRedfishWaker(settings: RedfishSettings, serves: Waker['serves']): Waker {
  const { host } = new URL(settings.url);
  async function wake(_: unknown, signal: AbortSignal): Promise<WakeSent> {
    const password = readSecret(settings.passwordFile);
    const token = Buffer.from(`${settings.user}:${password}`).toString('base64');
    const agent = agentFor(settings);
    try {
      const authorization = `Basic ${token}`;
      const detail = await switchOn({ settings, agent, authorization, signal });
      return { packets: 1, detail: `${host}${detail}` };
    } catch (cause) {
      if (cause instanceof WakeError) throw cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new WakeError('KR_WAKE_SEND', `${host}: ${why}`, { cause });
    } finally {
      await agent.destroy();
    }
  }
  return { name: 'redfish', wake, ...(serves && { serves }) };
}
