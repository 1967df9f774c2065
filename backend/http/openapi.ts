/** `/openapi.json` (3.1, from the zod schemas of the routes) and `/docs`, which shows it. */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { jsonSchemaTransform } from 'fastify-type-provider-zod';
import type { App } from './app.ts';

const description = `Errors are RFC 9457 problem details with a stable \`code\`. Times are RFC 3339
in UTC, durations integer ms. Lists take \`limit\` and \`offset\` or \`cursor\`. A cluster outside
your scope answers like one that does not exist.`;

export async function installOpenApi(app: App, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Kernreaktor', version, description, license: { name: 'MIT' } },
      servers: [{ url: '/' }],
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
      security: [{ bearer: [] }],
    },
    // The WebSocket plugin hides its routes; people should find the stream all the same.
    transform: (route) =>
      jsonSchemaTransform(
        route.route.websocket === true
          ? { ...route, schema: { ...route.schema, hide: false } }
          : route,
      ),
  });
  // The user interface brings routes of its own, which are as public as the document.
  await app.register(async (docs) => {
    docs.addHook('onRoute', (route) => {
      route.config = { ...route.config, access: 'public' };
    });
    await docs.register(swaggerUi, {
      routePrefix: '/docs',
      uiConfig: { url: '/openapi.json', tryItOutEnabled: false },
      staticCSP: false,
    });
  });
}

export function openApiRoute(app: App): void {
  app.get('/openapi.json', {
    config: { access: 'public' },
    schema: { hide: true },
    handler: () => app.swagger(),
  });
}
