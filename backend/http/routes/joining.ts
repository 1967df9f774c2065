/**
 * How machines come in: a Proxmox VE cluster by its API, a host by one pasted line, or the demo's
 * simulated ones. What is looked at is only looked at; joining is one enrolment like any other.
 */
import { hostname } from 'node:os';
import { z } from 'zod';
import { ClusterId } from '../../../broker/contract/ids.ts';
import type { ProxmoxLook } from '../../joining.ts';
import { version } from '../../version.ts';
import type { App } from '../app.ts';
import type { Context } from '../context.ts';
import { httpError, refusalError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { installScript, sha256Of } from '../install-script.ts';
import { problems } from '../schemas.ts';

const tags = ['enrolments'];

const Endpoint = {
  urls: z
    .array(
      z.url({ protocol: /^https$/, error: 'write the API of a member, https://pve1.lan:8006' }),
    )
    .min(1)
    .max(16),
  tokenId: z
    .string()
    .regex(/^[^\s@!=]+@[^\s@!=]+![\w.-]+$/, 'write user@realm!token, as kr@pve!kernreaktor'),
  tokenSecret: z
    .string()
    .regex(
      /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i,
      'copy the secret that Proxmox VE showed once, a UUID',
    ),
  fingerprints: z
    .array(z.string().regex(/^[0-9a-f]{64}$/, 'use 64 lower-case hex digits'))
    .max(16)
    .default([])
    .describe('One per URL, once somebody has compared what `look` answered'),
};
const fingerprintsFit = ({ urls, fingerprints }: { urls: unknown[]; fingerprints: unknown[] }) =>
  fingerprints.length === 0 || fingerprints.length === urls.length;
const fingerprintsProblem = { path: ['fingerprints'], message: 'give one for each URL, or none' };

/** As people copy it from the address bar. */
const trimmed = <T extends { urls: string[] }>(body: T): T => ({
  ...body,
  urls: body.urls.map((url) => url.replace(/\/+$/, '')),
});

const example = {
  urls: ['https://pve1.lan:8006'],
  tokenId: 'kr@pve!kernreaktor',
  tokenSecret: '0f0f0f0f-1111-2222-3333-444444444444',
};
const LookBody = z
  .strictObject(Endpoint)
  .refine(fingerprintsFit, fingerprintsProblem)
  .meta({ examples: [example] });
const JoinBody = z
  .strictObject({ ...Endpoint, cluster: ClusterId })
  .refine(fingerprintsFit, fingerprintsProblem)
  .meta({ examples: [{ ...example, cluster: 'home' }] });

const Look = z.object({
  certificates: z.array(z.object({ url: z.string(), fingerprint: z.string() })),
  findings: z.array(
    z.object({
      check: z.string(),
      state: z.enum(['fine', 'note', 'wrong']),
      subject: z.string(),
      detail: z.string(),
      fix: z.array(z.string()),
    }),
  ),
  cluster: z
    .object({ name: z.string(), nodes: z.array(z.string()), guestCount: z.int() })
    .nullable(),
});
export type Look = z.infer<typeof Look>;

const lookView = ({ certificates, findings, cluster }: ProxmoxLook): Look => ({
  certificates: certificates.map(({ url, fingerprint }) => ({ url, fingerprint })),
  findings: findings.map(({ check, state, subject, detail, fix }) => ({
    check,
    state,
    subject,
    detail,
    fix: [...fix],
  })),
  cluster: cluster && { ...cluster, nodes: [...cluster.nodes] },
});

const Ways = z.object({
  proxmox: z.boolean().describe('This process can run a daemon for a cluster by its API'),
  demo: z.enum(['running', 'offered', 'none']),
  hostName: z.string(),
  /** null: other hosts cannot reach this server yet. */
  tls: z.object({ httpPort: z.int(), mqttPort: z.int() }).nullable(),
  architectures: z.array(z.string()).describe('Of which the server holds its own version'),
  scriptSha256: z.string().nullable(),
});
export type Ways = z.infer<typeof Ways>;

const ownPackages = async ({ packages }: Context) =>
  (await packages.list()).filter((one) => one.version === version);

const portOf = (url: string): number => Number(new URL(url).port);

function waysRoute(app: App, context: Context): void {
  const { joining, config, mqttTlsUrl } = context;
  app.get('/api/v1/joining', {
    config: { access: 'hosts:join' },
    schema: {
      tags,
      summary: 'How machines can come in, and what a pasted line has to name',
      response: { 200: Ways, ...problems },
    },
    handler: async () => {
      const packages = await ownPackages(context);
      const isRunning = joining?.demo.isRunning();
      return {
        proxmox: joining !== null,
        demo: isRunning === undefined ? 'none' : isRunning ? 'running' : 'offered',
        hostName: hostname(),
        tls:
          config.tls && mqttTlsUrl !== null
            ? { httpPort: config.tls.port, mqttPort: portOf(mqttTlsUrl) }
            : null,
        architectures: packages.map(({ architecture }) => architecture),
        scriptSha256: packages.length === 0 ? null : sha256Of(installScript(packages)),
      } as const;
    },
  });
}

function need<T>(part: T | null): T {
  if (part !== null) return part;
  throw httpError('KR_NOT_FOUND', 'This process only serves.', {
    wayOut: 'Run `kernreaktor start` or `kernreaktor backend`.',
  });
}

function proxmoxRoutes(app: App, context: Context): void {
  const { enrolments } = context;
  app.post('/api/v1/joining/proxmox/look', {
    config: { access: 'hosts:join' },
    schema: {
      tags,
      summary: 'What a Proxmox VE cluster would show by this token; nothing is changed anywhere',
      body: LookBody,
      response: { 200: Look, ...problems },
    },
    handler: async (request) =>
      lookView(await need(context.joining).lookAtProxmox(trimmed(request.body))),
  });

  app.post('/api/v1/joining/proxmox', {
    config: { access: 'hosts:join' },
    schema: {
      tags,
      summary: 'Watch a Proxmox VE cluster by its API, from this process, now and after each start',
      body: JoinBody,
      response: {
        201: z.object({ cluster: z.string(), nodes: z.array(z.string()), guestCount: z.int() }),
        ...problems,
      },
    },
    handler: async (request, reply) => {
      const joining = need(context.joining);
      const { cluster, ...endpoint } = trimmed(request.body);
      const found = (await joining.lookAtProxmox(endpoint)).cluster;
      const [node, ...others] = found?.nodes ?? [];
      if (!found || node === undefined) {
        throw httpError('KR_BODY', 'The cluster cannot be read by this token.', {
          field: 'tokenSecret',
          wayOut: 'POST /api/v1/joining/proxmox/look says why.',
        });
      }
      const { actor } = principalOfRequest(request);
      const made = await enrolments.createToken({ cluster, node, others, actor });
      if (!made.ok) throw refusalError(made.refusal);
      await joining.joinProxmox({ cluster, nodes: found.nodes, endpoint, token: made.token });
      void reply.code(201);
      return { cluster, nodes: [...found.nodes], guestCount: found.guestCount };
    },
  });
}

function demoRoute(app: App, context: Context): void {
  app.post('/api/v1/joining/demo', {
    config: { access: 'hosts:join' },
    schema: {
      tags,
      summary: 'Start the simulated homelab beside what is there; nothing real is touched',
      response: { 202: z.object({ state: z.literal('running') }), ...problems },
    },
    handler: async (_request, reply) => {
      const { demo } = need(context.joining);
      if (!demo.isRunning()) await demo.start();
      void reply.code(202);
      return { state: 'running' as const };
    },
  });
}

/** Without signing in: it holds no secret, and a host that comes in has no account. */
function scriptRoute(app: App, context: Context): void {
  app.get('/install/daemon.sh', {
    config: { access: 'public' },
    schema: { hide: true },
    handler: async (_request, reply) => {
      const packages = await ownPackages(context);
      if (packages.length > 0) {
        return reply.type('text/x-shellscript; charset=utf-8').send(installScript(packages));
      }
      throw httpError('KR_NOT_FOUND', `This server holds no package of version ${version}.`, {
        wayOut: 'In a checkout: npm run package:daemon -- --out <KR_DATA_DIR>/packages',
      });
    },
  });
}

export function joiningRoutes(app: App, context: Context): void {
  waysRoute(app, context);
  proxmoxRoutes(app, context);
  demoRoute(app, context);
  scriptRoute(app, context);
}
