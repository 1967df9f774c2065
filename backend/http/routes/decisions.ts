/** Decisions with their one-sentence explanation, and the audit trail with its check. */
import { z } from 'zod';
import { systemChain, verifyChain } from '../../audit/chain.ts';
import type { Plan, Report } from '../../decide/plan.ts';
import { checkPolicy } from '../../policy-file.ts';
import { policyOfHash } from '../../store/sql/policies.ts';
import { hasRole, mayUseCluster, type Principal } from '../access.ts';
import type { App } from '../app.ts';
import { type Context, requireKnownCluster } from '../context.ts';
import { httpError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { cursorOf } from '../paging.ts';
import type { AuditRow, DecisionRow } from '../queries.ts';
import { At, ById, isoOf, listQuery, pageOf, problems } from '../schemas.ts';

const Outcome = z.enum(['acted', 'recommended', 'awaiting-approval', 'nothing', 'dropped']);

const decisionFields = {
  id: z.string(),
  cluster: z.string(),
  at: At,
  outcome: Outcome,
  intentCount: z.int(),
  summary: z.string().describe('The explanation in one sentence, with its numbers'),
};

const DecisionView = z.object(decisionFields);
export type DecisionView = z.infer<typeof DecisionView>;
const DecisionDetail = z.object({
  ...decisionFields,
  policyHash: z.string().nullable(),
  inputsHash: z.string(),
  intents: z.array(z.unknown()),
  nonActions: z.array(z.unknown()),
  measured: z.unknown().nullable(),
  thresholds: z
    .record(z.string(), z.object({ above: z.number(), clear: z.number() }))
    .describe('By rule, as the policy of then had them; none where its text is not known'),
  commands: z.array(z.object({ id: z.string(), kind: z.string(), state: z.string() })),
});
export type DecisionDetail = z.infer<typeof DecisionDetail>;

function decisionView(row: DecisionRow): z.infer<typeof DecisionView> {
  return {
    id: row.id,
    cluster: row.cluster,
    at: isoOf(row.at_ms),
    outcome: row.outcome,
    intentCount: row.intents,
    summary: row.summary,
  };
}

type Band = { above: number; clear: number };

/** Where the lines of a chart belong. Decisions without a hash followed `balance`. */
async function thresholdsOf({ database }: Context, hash: string | null) {
  const yaml = hash === null ? 'balance' : (await policyOfHash(database.db, hash))?.yaml;
  const checked = yaml === undefined ? null : checkPolicy(yaml, { isReal: false });
  if (!checked?.ok) return {};
  const bands = Object.entries(checked.policy.relieve).flatMap(([name, value]): [string, Band][] =>
    typeof value === 'object' && 'clear' in value
      ? [[`relieve.${name}`, { above: value.above, clear: value.clear }]]
      : [],
  );
  return Object.fromEntries(bands);
}

async function decisionDetail(context: Context, row: DecisionRow) {
  const plan = JSON.parse(row.plan) as Partial<Plan>;
  const report = JSON.parse(row.report) as Partial<Report>;
  return {
    ...decisionView(row),
    policyHash: row.policy_hash,
    inputsHash: row.inputs_hash,
    intents: plan.intents ?? [],
    nonActions: report.nonActions ?? [],
    measured: row.measured === null ? null : (JSON.parse(row.measured) as unknown),
    thresholds: await thresholdsOf(context, row.policy_hash),
    commands: await context.queries.commandsOfDecision(row.id, row.cluster),
  };
}

const AuditEntry = z.object({
  chain: z.string(),
  seq: z.int(),
  at: At,
  actor: z.string(),
  action: z.string(),
  subject: z.string(),
  phase: z.enum(['opened', 'closed', 'done']),
  openedSeq: z.int().nullable(),
  detail: z.record(z.string(), z.unknown()),
  hash: z.string(),
});
export type AuditEntry = z.infer<typeof AuditEntry>;

const auditView = (row: AuditRow): z.infer<typeof AuditEntry> => ({
  chain: row.chain,
  seq: row.seq,
  at: isoOf(row.at_ms),
  actor: row.actor,
  action: row.action,
  subject: row.subject,
  phase: row.phase,
  openedSeq: row.opened_seq,
  detail: JSON.parse(row.detail) as Record<string, unknown>,
  hash: row.hash,
});

const Verification = z.union([
  z.object({ chain: z.string(), ok: z.literal(true), entries: z.int() }),
  z.object({ chain: z.string(), ok: z.literal(false), brokenAtSeq: z.int(), why: z.string() }),
]);

/** Without a cluster the `system` chain is meant: accounts, tokens, enrolments. */
async function chainFor(context: Context, principal: Principal, cluster: string | undefined) {
  if (cluster !== undefined) {
    await requireKnownCluster(context, cluster);
    return cluster;
  }
  if (principal.clusters !== null || !hasRole(principal.role, 'admin')) {
    throw httpError('KR_SCOPE', 'The system chain is for unrestricted administrators.', {
      field: 'cluster',
      wayOut: 'Name one of your clusters in the parameter cluster.',
    });
  }
  return systemChain;
}

function auditRoutes(app: App, context: Context): void {
  const tags = ['audit'];
  app.get('/api/v1/audit', {
    config: { access: 'audit:read' },
    schema: {
      tags,
      summary: 'Audit entries of a cluster, or of the system when none is named; newest first',
      querystring: listQuery({}),
      response: { 200: pageOf(AuditEntry), ...problems },
    },
    handler: async (request) => {
      const { cluster, limit } = request.query;
      const chain = await chainFor(context, principalOfRequest(request), cluster);
      const { rows, total } = await context.queries.auditEntries(chain, request.query);
      const shown = rows.slice(0, limit);
      const last = shown.at(-1);
      const nextCursor = last && rows.length > limit ? cursorOf(String(last.seq)) : null;
      return { items: shown.map(auditView), total, nextCursor };
    },
  });

  app.get('/api/v1/audit/verify', {
    config: { access: 'audit:read' },
    schema: {
      tags,
      summary: 'Recompute every hash of a chain',
      querystring: listQuery({}),
      response: { 200: Verification, ...problems },
    },
    handler: async (request) => {
      const chain = await chainFor(context, principalOfRequest(request), request.query.cluster);
      return { chain, ...(await verifyChain(context.database.db, chain)) };
    },
  });
}

export function decisionRoutes(app: App, context: Context): void {
  const tags = ['decisions'];
  app.get('/api/v1/decisions', {
    config: { access: 'decisions:read' },
    schema: {
      tags,
      summary: 'Decisions in your scope, newest first, those that did nothing included',
      querystring: listQuery({ outcome: Outcome.optional() }),
      response: { 200: pageOf(DecisionView), ...problems },
    },
    handler: async (request) => {
      const { cluster, outcome } = request.query;
      await requireKnownCluster(context, cluster);
      const { clusters } = principalOfRequest(request);
      return context.queries.decisions({ clusters, cluster, outcome }, request.query, decisionView);
    },
  });

  app.get('/api/v1/decisions/:id', {
    config: { access: 'decisions:read' },
    schema: {
      tags,
      summary: 'One decision: what was seen, intended, refused and why',
      params: ById,
      response: { 200: DecisionDetail, ...problems },
    },
    handler: async (request) => {
      const { id } = request.params;
      const row = await context.queries.decision(id);
      if (row && mayUseCluster(principalOfRequest(request), row.cluster)) {
        return decisionDetail(context, row);
      }
      throw httpError('KR_NOT_FOUND', `There is no decision ${id}.`, { field: 'id' });
    },
  });

  auditRoutes(app, context);
}
