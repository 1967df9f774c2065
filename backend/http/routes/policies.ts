/** Policies: which there are, new versions of them, and which one a cluster follows. */
import { z } from 'zod';
import { ClusterId } from '../../../broker/contract/ids.ts';
import { appendAudit, systemChain } from '../../audit/chain.ts';
import { checkPolicy, policyDifferences, problemText, storedForm } from '../../policy-file.ts';
import { isStrategy, shippedPolicy, strategies, strategyNames } from '../../decide/strategies.ts';
import {
  ensurePolicy,
  followPolicy,
  newestPolicies,
  policyVersions,
} from '../../store/sql/policies.ts';
import type { Policies } from '../../store/sql/schema.ts';
import type { App } from '../app.ts';
import { changeBy, type Context, requireKnownCluster } from '../context.ts';
import { httpError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { At, ByCluster, isoOf, problems } from '../schemas.ts';

const tags = ['policies'];

const PolicyName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'use lower-case letters, digits and hyphens');

const PolicyView = z.object({
  name: z.string(),
  version: z.int().describe('0 for a shipped one that no cluster follows'),
  source: z.enum(['file', 'panel', 'shipped']),
  about: z.string().nullable(),
  yaml: z.string().describe('Whole: what it extends is already in it'),
  hash: z.string(),
  author: z.string(),
  createdAt: At.nullable(),
});
export type PolicyView = z.infer<typeof PolicyView>;

const NewPolicy = z
  .strictObject({
    name: PolicyName,
    yaml: z.string().min(1).max(48_000).describe('A policy; see docs/policies.md'),
  })
  .meta({ examples: [{ name: 'evening-saver', yaml: 'extends: save-power' }] });

const Follow = z
  .strictObject({
    policy: PolicyName.describe('A stored one, its newest version, or a shipped'),
    version: z.int().min(1).optional().describe('Back to an earlier version of a stored one'),
  })
  .meta({ examples: [{ policy: 'save-power' }] });

const Draft = z
  .strictObject({
    yaml: z.string().max(48_000),
    cluster: ClusterId.optional().describe('Judge by its limits, compare with what it follows'),
  })
  .meta({ examples: [{ yaml: 'extends: save-power', cluster: 'home' }] });

const Checked = z.object({
  problems: z
    .array(z.object({ line: z.int(), column: z.int(), field: z.string(), hint: z.string() }))
    .describe('None: it can be stored'),
  yaml: z.string().nullable().describe('Whole, as it would be stored; null where it has problems'),
  differences: z
    .array(
      z.object({ field: z.string(), before: z.string().nullable(), after: z.string().nullable() }),
    )
    .nullable()
    .describe('From what the cluster follows now; null without a cluster, or with problems'),
});
export type PolicyCheck = z.infer<typeof Checked>;

const viewOf = (row: Policies): PolicyView => ({
  name: row.name,
  version: row.version,
  source: row.source,
  about: isStrategy(row.name) ? strategies[row.name].about : null,
  yaml: row.yaml,
  hash: row.hash,
  author: row.author,
  createdAt: isoOf(row.created_at_ms),
});

function shippedViews(stored: readonly Policies[]): PolicyView[] {
  const known = new Set(stored.map(({ name }) => name));
  return strategyNames.filter(isStrategy).flatMap((name): PolicyView[] => {
    if (known.has(name)) return [];
    const { about } = strategies[name];
    const shown = { name, about, ...storedForm(shippedPolicy(name)) };
    return [{ ...shown, version: 0, source: 'shipped', author: 'kernreaktor', createdAt: null }];
  });
}

function checked(yaml: string, isReal: boolean) {
  const found = checkPolicy(yaml, { isReal });
  if (found.ok) return found;
  const detail = found.problems.map(problemText).join('; ');
  throw httpError('KR_BODY', detail, { field: 'yaml' });
}

function policyRoutesOfAll(app: App, { database, clock, newId }: Context): void {
  app.get('/api/v1/policies', {
    config: { access: 'decisions:read' },
    schema: {
      tags,
      summary: 'The newest version of every policy, shipped ones included',
      response: { 200: z.object({ items: z.array(PolicyView) }), ...problems },
    },
    handler: async () => {
      const stored = await newestPolicies(database.db);
      return { items: [...stored.map(viewOf), ...shippedViews(stored)] };
    },
  });

  app.post('/api/v1/policies', {
    config: { access: 'policies:write' },
    schema: {
      tags,
      summary: 'Store a policy; a new version where its text differs from the newest one',
      body: NewPolicy,
      response: { 201: PolicyView, ...problems },
    },
    handler: async (request, reply) => {
      const { name, yaml } = request.body;
      if (isStrategy(name)) {
        const detail = `${name} is the name of a shipped policy.`;
        const wayOut = `Take another name and write extends: ${name}.`;
        throw httpError('KR_CONFLICT', detail, { field: 'name', wayOut });
      }
      const form = checked(yaml, true);
      const { actor, nowMs } = changeBy({ clock }, principalOfRequest(request));
      const row = await database.transaction(async (trx) => {
        const { yaml: whole, hash } = form;
        const id = newId();
        const wanted = { id, name, source: 'panel', yaml: whole, hash, author: actor } as const;
        const kept = await ensurePolicy(trx, { ...wanted, nowMs });
        await appendAudit(trx, {
          chain: systemChain,
          actor,
          action: 'policy.store',
          subject: `policy:${name}`,
          phase: 'done',
          detail: { version: kept.version, hash: kept.hash },
          atMs: nowMs,
        });
        return kept;
      });
      return reply.code(201).send(viewOf(row));
    },
  });
}

/** The newest of a name, or the version that was asked for. @returns undefined for a shipped one */
async function wantedPolicy(
  { database }: Pick<Context, 'database'>,
  { policy: name, version }: z.infer<typeof Follow>,
): Promise<Policies | undefined> {
  const stored = await newestPolicies(database.db);
  const newest = stored.find((row) => row.name === name);
  if (!newest && !isStrategy(name)) {
    const names = [...stored.map((row) => row.name), ...strategyNames].join(', ');
    const detail = `There is no policy ${name}; there are ${names}.`;
    throw httpError('KR_NOT_FOUND', detail, { field: 'policy' });
  }
  if (version === undefined || version === newest?.version) return newest;
  const versions = await policyVersions(database.db, name);
  const found = versions.find((row) => row.version === version);
  if (found) return found;
  const detail = `${name} has no version ${version}; GET /api/v1/policies/${name}/versions lists them.`;
  throw httpError('KR_NOT_FOUND', detail, { field: 'version' });
}

function versionsRoute(app: App, { database }: Context): void {
  app.get('/api/v1/policies/:name/versions', {
    config: { access: 'decisions:read' },
    schema: {
      tags,
      summary: 'Who wrote which version of a policy when, the newest first',
      params: z.object({ name: PolicyName }),
      response: { 200: z.object({ items: z.array(PolicyView) }), ...problems },
    },
    handler: async ({ params: { name } }) => {
      const rows = await policyVersions(database.db, name);
      if (rows.length === 0 && !isStrategy(name)) {
        throw httpError('KR_NOT_FOUND', `There is no policy ${name}.`, { field: 'name' });
      }
      return { items: rows.map(viewOf) };
    },
  });
}

/** What an editor asks while somebody types: nothing is stored. */
function checkRoute(app: App, context: Context): void {
  app.post('/api/v1/policies/check', {
    config: { access: 'decisions:read' },
    schema: {
      tags,
      summary: 'Every problem of a draft by line and column, and what it would change',
      body: Draft,
      response: { 200: Checked, ...problems },
    },
    handler: async (request) => {
      const { yaml, cluster } = request.body;
      await requireKnownCluster(context, cluster);
      const followed = context.fleet().clusters.get(cluster ?? '');
      const found = checkPolicy(yaml, { isReal: followed?.simulated !== true });
      if (!found.ok) return { problems: found.problems, yaml: null, differences: null };
      const running = checkPolicy(followed?.policyYaml ?? 'balance', { isReal: false });
      const isCompared = cluster !== undefined && running.ok;
      return {
        problems: [],
        yaml: found.yaml,
        differences: isCompared ? policyDifferences(running.policy, found.policy) : null,
      };
    },
  });
}

export function policyRoutes(app: App, context: Context): void {
  const { database, clock, newId, fleet } = context;
  policyRoutesOfAll(app, context);
  versionsRoute(app, context);
  checkRoute(app, context);

  app.put('/api/v1/clusters/:cluster/policy', {
    config: { access: 'clusters:change' },
    schema: {
      tags,
      summary: 'Let a cluster follow a policy from the next decision on',
      params: ByCluster,
      body: Follow,
      response: { 200: PolicyView, ...problems },
    },
    handler: async (request) => {
      const { cluster } = request.params;
      const { policy: name } = request.body;
      const { actor, nowMs } = changeBy({ clock }, principalOfRequest(request));
      const found = await wantedPolicy(context, request.body);
      // A limit that only simulated clusters may have was stored for one of those.
      if (found) checked(found.yaml, fleet().clusters.get(cluster)?.simulated !== true);
      return database.transaction(async (trx) => {
        const row =
          found ??
          (await ensurePolicy(trx, {
            id: newId(),
            name,
            source: 'shipped',
            ...storedForm(shippedPolicy(name as keyof typeof strategies)),
            author: actor,
            nowMs,
          }));
        const answer = await followPolicy(trx, cluster, row.id);
        if (answer === 'unknown') {
          throw httpError('KR_CLUSTER_UNKNOWN', `There is no cluster ${cluster}.`, {
            field: 'cluster',
          });
        }
        if (answer === 'file') {
          throw httpError('KR_CONFLICT', `${cluster} has its policy from kernreaktor.yaml.`, {
            field: 'cluster',
            wayOut: 'Name the policy there, or take it out there first.',
          });
        }
        await appendAudit(trx, {
          chain: cluster,
          actor,
          action: 'policy.follow',
          subject: `cluster:${cluster}`,
          phase: 'done',
          detail: { policy: name, version: row.version, hash: row.hash },
          atMs: nowMs,
        });
        return viewOf(row);
      });
    },
  });
}
