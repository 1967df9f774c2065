/**
 * Commands of people and API tokens. A submission is approved by the act itself; what the guards
 * say still applies. This file checks shapes and scope; act/ decides.
 */
import { z } from 'zod';
import { CommandKind, commandArgs, CommandState } from '../../../broker/contract/command.ts';
import { firstIssue } from '../../../broker/contract/codec.ts';
import { ClusterId, GuestId, NodeId } from '../../../broker/contract/ids.ts';
import { isPlanned, stepsOf } from '../../act/wake-first.ts';
import { mayUseCluster, type Principal } from '../access.ts';
import type { App } from '../app.ts';
import { type Context, requireKnownCluster } from '../context.ts';
import type { StateAnswer, Submission } from '../deps.ts';
import { httpError, refusalError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import type { CommandRow } from '../queries.ts';
import { At, ById, isoOf, isoOrNull, listQuery, pageOf, Password, problems } from '../schemas.ts';

const tags = ['commands'];
const reason = z.string().trim().min(1).max(512);

export const SubmitBody = z
  .strictObject({
    cluster: ClusterId,
    kind: CommandKind,
    node: NodeId.describe('For guest kinds the node that executes it'),
    guest: GuestId.optional().describe('Required by guest kinds, refused by node kinds'),
    args: z.record(z.string().max(128), z.unknown()).default({}),
    reason: reason.optional(),
  })
  .meta({
    examples: [
      {
        cluster: 'home',
        kind: 'guest.migrate',
        node: 'pve1',
        guest: '100',
        args: { targetNode: 'pve2' },
      },
      { cluster: 'home', kind: 'node.shutdown', node: 'pve3', args: { mode: 'poweroff' } },
    ],
  });

const IdempotencyHeaders = z.object({
  'idempotency-key': z
    .string()
    .regex(/^[\x21-\x7e]{1,200}$/, 'use 1 to 200 visible ASCII characters')
    .optional(),
});

const ResolveBody = z
  .strictObject({
    outcome: z.enum(['succeeded', 'failed']),
    note: z.string().trim().min(1).max(512),
    password: Password.optional().describe('Not needed within 5 minutes of the last proof'),
  })
  .meta({ examples: [{ outcome: 'failed', note: 'Looked at the console: it never started.' }] });

const Accepted = z.object({ id: z.string(), state: CommandState });

const commandFields = {
  id: z.string(),
  cluster: z.string(),
  kind: z.string(),
  target: z.object({ kind: z.enum(['node', 'guest']), id: z.string() }),
  node: z.string(),
  state: CommandState,
  reason: z.string().nullable(),
  stateReason: z.string().nullable(),
  origin: z.enum(['person', 'token', 'engine', 'system']),
  actor: z.string(),
  decisionId: z.string().nullable(),
  simulated: z.boolean(),
  plannedAt: At,
  startedAt: At.nullable(),
  finishedAt: At.nullable(),
  /** When a person was called: in doubt for 5 min, or something is left to do (`result.left`). */
  alarmedAt: At.nullable(),
};

const CommandView = z.object(commandFields);
export type CommandView = z.infer<typeof CommandView>;
const CommandDetail = z.object({
  ...commandFields,
  args: z.record(z.string(), z.unknown()),
  approvedBy: z.string().nullable(),
  parentId: z.string().nullable(),
  expiresAt: At,
  guards: z.unknown(),
  witnesses: z.unknown(),
  result: z.unknown().nullable(),
  /** Of a start on a sleeping node: what was and is to be done for it, in order. */
  steps: z
    .array(
      z.object({
        step: z.enum(['wake', 'ready', 'start']),
        node: z.string(),
        /** null: no command, or somebody else's. */
        command: z.string().nullable(),
        state: z.enum(['waiting', 'running', 'done', 'failed', 'in-doubt', 'skipped']),
        reason: z.string().nullable(),
      }),
    )
    .optional(),
  history: z.array(
    z.object({
      state: CommandState,
      at: At,
      actor: z.string(),
      reason: z.string().optional(),
    }),
  ),
});
export type CommandDetail = z.infer<typeof CommandDetail>;

function commandView(row: CommandRow): z.infer<typeof CommandView> {
  return {
    id: row.id,
    cluster: row.cluster,
    kind: row.kind,
    target: { kind: row.target_kind, id: row.target_id },
    node: row.executor,
    state: row.state as CommandState,
    reason: row.reason,
    stateReason: row.state_reason,
    origin: row.origin,
    actor: row.actor,
    decisionId: row.decision_id,
    simulated: row.simulated === 1,
    plannedAt: isoOf(row.planned_at_ms),
    startedAt: isoOrNull(row.started_at_ms),
    finishedAt: isoOrNull(row.finished_at_ms),
    alarmedAt: isoOrNull(row.alarmed_at_ms),
  };
}

async function commandDetail(context: Context, row: CommandRow) {
  const history = await context.queries.history(row.id);
  const wasQueued = history.some(({ state }) => state === 'QUEUED');
  const steps = isPlanned(row)
    ? stepsOf(row, await context.queries.wakesOfPlan(row), wasQueued)
    : null;
  return {
    ...commandView(row),
    args: JSON.parse(row.args) as Record<string, unknown>,
    approvedBy: row.approved_by,
    parentId: row.parent_id,
    expiresAt: isoOf(row.expires_at_ms),
    guards: JSON.parse(row.guards) as unknown,
    witnesses: JSON.parse(row.witnesses) as unknown,
    result: row.result === null ? null : (JSON.parse(row.result) as unknown),
    ...(steps && { steps }),
    history: history.map(({ state, at_ms, actor, reason }) => ({
      state: state as CommandState,
      at: isoOf(at_ms),
      actor,
      ...(reason === null ? {} : { reason }),
    })),
  };
}

/** A command of a foreign cluster is as unknown as one that never was. */
async function commandInScope(context: Context, principal: Principal, id: string) {
  const row = await context.queries.command(id);
  if (row && mayUseCluster(principal, row.cluster)) return row;
  throw httpError('KR_NOT_FOUND', `There is no command ${id}.`, { field: 'id' });
}

function checkedArgs(body: z.infer<typeof SubmitBody>): unknown {
  const isOfGuest = body.kind.startsWith('guest.');
  if (isOfGuest && body.guest === undefined) {
    throw httpError('KR_BODY', `${body.kind} needs a guest.`, { field: 'guest' });
  }
  if (!isOfGuest && body.guest !== undefined) {
    const wayOut = 'Leave guest out, or use a guest kind.';
    throw httpError('KR_BODY', `${body.kind} takes no guest.`, { field: 'guest', wayOut });
  }
  const args = commandArgs[body.kind].safeParse(body.args);
  if (args.success) return args.data;
  const { field, hint } = firstIssue(args.error, 'args');
  throw httpError('KR_BODY', hint, { field });
}

/** What a body asks for, as whoever sends it; a click or a token's call is its own approval. */
export async function wishOf(
  context: Context,
  principal: Principal,
  body: z.infer<typeof SubmitBody>,
): Promise<Submission> {
  const { cluster, kind, node, guest } = body;
  const args = checkedArgs(body);
  await requireKnownCluster(context, cluster);
  return {
    cluster,
    kind,
    node,
    ...(guest === undefined ? {} : { guest }),
    args,
    origin: principal.kind === 'token' ? 'token' : 'person',
    actor: principal.actor,
    ...(principal.accountId !== null && { account: principal.accountId }),
    approved: true,
  };
}

function submitRoute(app: App, context: Context): void {
  app.post('/api/v1/commands', {
    config: { access: 'commands:submit' },
    schema: {
      tags,
      summary: 'Ask for an action; repeat safely with the same Idempotency-Key within 24 hours',
      headers: IdempotencyHeaders,
      body: SubmitBody,
      response: { 202: Accepted, ...problems },
    },
    handler: async (request, reply) => {
      const { reason } = request.body;
      const idempotencyKey = request.headers['idempotency-key'];
      const answer = await context.commands.submit({
        ...(await wishOf(context, principalOfRequest(request), request.body)),
        ...(reason === undefined ? {} : { reason }),
        ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      });
      if (!answer.ok) throw refusalError(answer.refusal);
      const { id, state, replayed } = answer;
      if (replayed) void reply.header('idempotent-replayed', 'true');
      return reply.code(202).header('location', `/api/v1/commands/${id}`).send({ id, state });
    },
  });
}

function readRoutes(app: App, context: Context): void {
  app.get('/api/v1/commands', {
    config: { access: 'commands:read' },
    schema: {
      tags,
      summary: 'Commands in your scope, newest first',
      querystring: listQuery({
        state: CommandState.optional(),
        kind: CommandKind.optional(),
        target: z.union([NodeId, GuestId]).optional().describe('Id of a node or guest'),
      }),
      response: { 200: pageOf(CommandView), ...problems },
    },
    handler: async (request) => {
      const { cluster, state, kind, target } = request.query;
      await requireKnownCluster(context, cluster);
      const { clusters } = principalOfRequest(request);
      const filter = { clusters, cluster, state, kind, target };
      return context.queries.commands(filter, request.query, commandView);
    },
  });

  app.get('/api/v1/commands/:id', {
    config: { access: 'commands:read' },
    schema: {
      tags,
      summary: 'One command with its history',
      params: ById,
      response: { 200: CommandDetail, ...problems },
    },
    handler: async (request) => {
      const principal = principalOfRequest(request);
      return commandDetail(context, await commandInScope(context, principal, request.params.id));
    },
  });
}

function settled(id: string, answer: StateAnswer): { id: string; state: CommandState } {
  if (!answer.ok) throw refusalError(answer.refusal);
  return { id, state: answer.state };
}

function changeRoutes(app: App, context: Context): void {
  for (const verb of ['cancel', 'approve'] as const) {
    app.post(`/api/v1/commands/:id/${verb}`, {
      config: { access: `commands:${verb}` },
      schema: {
        tags,
        summary: verb === 'cancel' ? 'Withdraw it, where it can be' : 'Approve a proposal',
        params: ById,
        response: { 200: Accepted, ...problems },
      },
      handler: async (request) => {
        const principal = principalOfRequest(request);
        const { id } = await commandInScope(context, principal, request.params.id);
        return settled(id, await context.commands[verb](id, principal.actor));
      },
    });
  }

  app.post('/api/v1/commands/:id/resolve', {
    config: { access: 'commands:resolve' },
    schema: {
      tags,
      summary: 'State what really happened to an INDETERMINATE command, as a witness',
      params: ById,
      body: ResolveBody,
      response: { 200: Accepted, ...problems },
    },
    handler: async (request) => {
      const principal = principalOfRequest(request);
      const { outcome, note, password } = request.body;
      const { id } = await commandInScope(context, principal, request.params.id);
      await context.authentication.requireFreshProof(principal, password);
      const statement = { outcome, note, actor: principal.actor };
      return settled(id, await context.commands.resolve(id, statement));
    },
  });
}

export function commandRoutes(app: App, context: Context): void {
  submitRoute(app, context);
  readRoutes(app, context);
  changeRoutes(app, context);
}
