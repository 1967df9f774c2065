/**
 * The door of the WebSocket: foreign origins are turned away before the upgrade. The credential
 * comes as header from programs, as first message from browsers, which cannot set headers.
 */
import type { FastifySchema } from 'fastify';
import type { App } from '../app.ts';
import { bearerOf } from '../authentication.ts';
import type { Context } from '../context.ts';
import { assertSameOrigin } from '../guard.ts';
import type { Stream } from '../stream.ts';

const schema: FastifySchema = {
  tags: ['stream'],
  summary: 'WebSocket: send {token, topics, clusters?}, receive what happens',
  description:
    'Topics: telemetry (changed nodes, once a second), decisions, commands. The token may ' +
    'also come as Authorization header. Messages carry the field topic.',
};

export function streamRoutes(app: App, context: Context, stream: Stream): void {
  const { authentication, config } = context;
  app.get(
    '/api/v1/stream',
    {
      config: { access: 'public' },
      websocket: true,
      schema,
      preValidation: async (request) => {
        assertSameOrigin(request, config.publicUrl);
        request.principal = (await authentication.request(request)) ?? null;
      },
    },
    (socket, request) => {
      const secret = bearerOf(request);
      const principal = request.principal ?? undefined;
      stream.connect({
        socket,
        principal,
        authenticate: (token) => authentication.bearer(token),
        recheck: async () => (secret === undefined ? principal : authentication.bearer(secret)),
      });
    },
  );
}
