/**
 * Channels of notifications, each with a test. Secrets go in and never come out.
 */
import { z } from 'zod';
import { Uuid } from '../../../broker/contract/ids.ts';
import { ChannelTarget, parted, secretFieldOf } from '../../notify/channels.ts';
import { NotSent } from '../../notify/http.ts';
import type { ChannelRow } from '../../store/sql/notices.ts';
import type { App } from '../app.ts';
import { changeBy, type Context } from '../context.ts';
import { httpError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { ById, problems } from '../schemas.ts';

const tags = ['notifications'];
const access = 'notifications:manage';
const base = '/api/v1/notifications';

const ChannelBody = z
  .strictObject({
    name: z.string().trim().min(1).max(64),
    target: ChannelTarget.describe('A secret that is left out keeps what was set before'),
    enabled: z.boolean().default(true),
    fallbackId: Uuid.nullable().default(null).describe('Told after three failures of this one'),
  })
  .meta({
    examples: [
      { name: 'phone', target: { kind: 'ntfy', url: 'https://ntfy.sh', topic: 'my-house-7f3a' } },
    ],
  });

const ChannelView = z.object({
  id: z.string(),
  name: z.string(),
  target: ChannelTarget,
  hasSecret: z.boolean(),
  enabled: z.boolean(),
  fallbackId: z.string().nullable(),
});
export type ChannelView = z.infer<typeof ChannelView>;

const unknownChannel = (id: string) =>
  httpError('KR_NOT_FOUND', `There is no channel ${id}.`, {
    field: 'id',
    wayOut: 'GET /api/v1/notifications/channels lists them.',
  });

async function channelView({ notifier }: Context, row: ChannelRow): Promise<ChannelView> {
  return {
    id: row.id,
    name: row.name,
    target: ChannelTarget.parse(JSON.parse(row.target)),
    hasSecret: (await notifier.store.secretOf(row.id)) !== undefined,
    enabled: row.is_enabled === 1,
    fallbackId: row.fallback_id,
  };
}

type Body = z.infer<typeof ChannelBody>;

async function requireFallback({ notifier }: Context, id: string, body: Body): Promise<void> {
  const { fallbackId } = body;
  if (fallbackId === null) return;
  const isOther = fallbackId !== id && (await notifier.store.channel(fallbackId)) !== undefined;
  if (isOther) return;
  throw httpError('KR_BODY', 'The fallback is no other channel.', { field: 'fallbackId' });
}

async function put(context: Context, row: ChannelRow, body: Body, by: ReturnType<typeof changeBy>) {
  const { notifier } = context;
  await requireFallback(context, row.id, body);
  const { shown, secret } = parted(body.target);
  const need = secretFieldOf(shown.kind);
  const isKept = row.kind === shown.kind && (await notifier.store.secretOf(row.id)) !== undefined;
  if (need?.isNeeded === true && secret === null && !isKept) {
    throw httpError('KR_BODY', `A ${shown.kind} channel needs it.`, {
      field: `target.${need.field}`,
    });
  }
  const name = notifier.store.nameOfSecret(row.id);
  const next: ChannelRow = {
    ...row,
    name: body.name,
    kind: shown.kind,
    target: JSON.stringify(shown),
    is_enabled: body.enabled ? 1 : 0,
    fallback_id: body.fallbackId,
    ver: row.ver + 1,
  };
  const sealed = secret === null ? null : notifier.seal(name, secret);
  if (await notifier.store.putChannel(next, sealed, by)) return channelView(context, next);
  throw httpError('KR_CONFLICT', `There is a channel ${body.name}.`, { field: 'name' });
}

function listRoutes(app: App, context: Context): void {
  const { notifier, newId, clock } = context;
  app.get(`${base}/channels`, {
    config: { access },
    schema: {
      tags,
      summary: 'Channels, without their secrets',
      response: { 200: z.object({ items: z.array(ChannelView) }), ...problems },
    },
    handler: async () => {
      const rows = await notifier.store.channels();
      return { items: await Promise.all(rows.map((row) => channelView(context, row))) };
    },
  });

  app.post(`${base}/channels`, {
    config: { access },
    schema: {
      tags,
      summary: 'Add a channel',
      body: ChannelBody,
      response: { 201: ChannelView, ...problems },
    },
    handler: async (request, reply) => {
      const by = changeBy(context, principalOfRequest(request));
      const id = newId();
      const empty = {
        id,
        name: '',
        kind: '',
        target: '',
        is_enabled: 1,
        fallback_id: null,
      } as const;
      const row: ChannelRow = { ...empty, created_at_ms: clock.wallMs(), ver: 0 };
      return reply.code(201).send(await put(context, row, request.body, by));
    },
  });

  app.put(`${base}/channels/:id`, {
    config: { access },
    schema: {
      tags,
      summary: 'Change a channel',
      params: ById,
      body: ChannelBody,
      response: { 200: ChannelView, ...problems },
    },
    handler: async (request) => {
      const { id } = request.params;
      const row = await notifier.store.channel(id);
      if (!row) throw unknownChannel(id);
      return put(context, row, request.body, changeBy(context, principalOfRequest(request)));
    },
  });
}

function oneChannelRoutes(app: App, context: Context): void {
  const { notifier } = context;
  app.delete(`${base}/channels/:id`, {
    config: { access },
    schema: {
      tags,
      summary: 'Remove a channel and its secret',
      params: ById,
      response: { 204: z.undefined().describe('Removed'), ...problems },
    },
    handler: async (request, reply) => {
      const { id } = request.params;
      const by = changeBy(context, principalOfRequest(request));
      if (await notifier.store.removeChannel(id, by)) return reply.code(204).send();
      throw unknownChannel(id);
    },
  });

  app.post(`${base}/channels/:id/test`, {
    config: { access },
    schema: {
      tags,
      summary: 'Send a test message now; says why when it does not arrive',
      params: ById,
      response: { 204: z.undefined().describe('Taken by the channel'), ...problems },
    },
    handler: async (request, reply) => {
      const { id } = request.params;
      const row = await notifier.store.channel(id);
      if (!row) throw unknownChannel(id);
      try {
        await notifier.test(row);
      } catch (error) {
        if (!(error instanceof NotSent)) throw error;
        throw httpError('KR_NOT_DELIVERED', error.message, { field: 'id' });
      }
      return reply.code(204).send();
    },
  });
}

export function channelRoutes(app: App, context: Context): void {
  listRoutes(app, context);
  oneChannelRoutes(app, context);
}
