/**
 * Notifications: what all channels obey, what was told, what could not be. The address of a message's button is public: whoever holds
 * its 256 bits may do this one thing once, as the operator to whom it was sent.
 */
import { z } from 'zod';
import { severities } from '../../notify/channels.ts';
import { NotifySettings } from '../../notify/settings.ts';
import type { App } from '../app.ts';
import { changeBy, type Context } from '../context.ts';
import { httpError, refusalError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { At, ById, isoOf, isoOrNull, problems } from '../schemas.ts';
import { hashOf } from '../secrets.ts';
import { channelRoutes } from './notification-channels.ts';

const tags = ['notifications'];
const access = 'notifications:manage';
const base = '/api/v1/notifications';

const NoticeView = z.object({
  id: z.string(),
  rule: z.string(),
  severity: z.enum(severities),
  cluster: z.string().nullable(),
  title: z.string(),
  text: z.string(),
  openedAt: At,
  isOpen: z.boolean(),
  resolvedAt: At.nullable(),
});
export type NoticeView = z.infer<typeof NoticeView>;

const DeadView = z.object({
  id: z.string(),
  title: z.string(),
  channel: z.string().nullable(),
  attempts: z.int(),
  problem: z.string().nullable(),
  createdAt: At,
});

function settingRoutes(app: App, context: Context): void {
  const { notifier } = context;
  app.get(`${base}/settings`, {
    config: { access },
    schema: {
      tags,
      summary: 'Rules, quiet hours, the morning line and the dead-man ping',
      response: { 200: NotifySettings, ...problems },
    },
    handler: () => notifier.settings(),
  });

  app.put(`${base}/settings`, {
    config: { access },
    schema: {
      tags,
      summary: 'Change them; what is left out becomes its default',
      body: NotifySettings.meta({
        examples: [{ quiet: { from: '22:00', to: '07:00', zone: 'Europe/Berlin' } }],
      }),
      response: { 200: NotifySettings, ...problems },
    },
    handler: async (request) => {
      const by = changeBy(context, principalOfRequest(request));
      await notifier.store.putSettings(JSON.stringify(request.body), by);
      return notifier.settings();
    },
  });
}

const historyMax = 200;

function historyRoutes(app: App, { notifier, clock }: Context): void {
  app.get(base, {
    config: { access },
    schema: {
      tags,
      summary: 'The newest notices, open ones among them',
      response: { 200: z.object({ items: z.array(NoticeView) }), ...problems },
    },
    handler: async () => {
      const rows = await notifier.store.history(historyMax);
      const items = rows.map((row) => ({
        id: row.id,
        rule: row.rule,
        severity: row.severity,
        cluster: row.cluster,
        title: row.title,
        text: row.body,
        openedAt: isoOf(row.opened_at_ms),
        isOpen: row.open_key !== null,
        resolvedAt: isoOrNull(row.resolved_at_ms),
      }));
      return { items };
    },
  });

  app.get(`${base}/dead`, {
    config: { access },
    schema: {
      tags,
      summary: 'What no attempt could deliver',
      response: { 200: z.object({ items: z.array(DeadView) }), ...problems },
    },
    handler: async () => {
      const rows = await notifier.store.dead(historyMax);
      const items = rows.map(({ id, title, channel, attempts, problem, created_at_ms: atMs }) => ({
        id,
        title,
        channel,
        attempts,
        problem,
        createdAt: isoOf(atMs),
      }));
      return { items };
    },
  });

  app.post(`${base}/dead/:id/retry`, {
    config: { access },
    schema: {
      tags,
      summary: 'Try it again from the start',
      params: ById,
      response: { 204: z.undefined().describe('Due now'), ...problems },
    },
    handler: async (request, reply) => {
      const { id } = request.params;
      if (!(await notifier.store.revive(id, clock.wallMs()))) {
        throw httpError('KR_NOT_FOUND', `No dead delivery has the id ${id}.`, { field: 'id' });
      }
      notifier.wake();
      return reply.code(204).send();
    },
  });
}

const ByToken = z.strictObject({ token: z.string().regex(/^[0-9a-f]{64}$/) });

function actionRoute(app: App, context: Context): void {
  const { notifier, commands, clock } = context;
  app.post(`${base}/actions/:token`, {
    config: { access: 'public' },
    schema: {
      tags,
      summary: 'The button of a message: approve or reject one proposal, once',
      params: ByToken,
      response: { 200: z.object({ id: z.string(), state: z.string() }), ...problems },
    },
    handler: async (request, reply) => {
      const action = await notifier.store.useAction(hashOf(request.params.token), clock.wallMs());
      if (!action) {
        const wayOut = 'Sign in and look at the proposal there.';
        const detail = 'This button was used, is too old, or never was.';
        throw httpError('KR_NOT_FOUND', detail, { field: 'token', wayOut });
      }
      const { command_id: id, verb } = action;
      const actor = 'notification';
      const answer = await (verb === 'approve'
        ? commands.approve(id, actor)
        : commands.cancel(id, actor));
      if (!answer.ok) throw refusalError(answer.refusal);
      return reply.header('cache-control', 'no-store').send({ id, state: answer.state });
    },
  });
}

export function notificationRoutes(app: App, context: Context): void {
  channelRoutes(app, context);
  settingRoutes(app, context);
  historyRoutes(app, context);
  actionRoute(app, context);
}
