/**
 * The panel, as `vite build` left it: the page itself is asked for anew every time, what it loads
 * carries its content's hash in its name and is kept for a year.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { App } from '../app.ts';
import { httpError } from '../errors.ts';

/** Where `@fastify/static` looks; it answers only what is asked of it below. */
export const panelFolder = join(import.meta.dirname, '..', '..', 'panel', 'dist');
const yearMs = 365 * 86_400_000;

const notBuilt = `<!doctype html><html lang="en"><title>Kernreaktor</title>
<p>The panel is not built yet: run <code>npm run panel</code> in the checkout, then load this page
again. The API works without it: <a href="docs">docs</a>.</p></html>`;

const ByFile = z.strictObject({ file: z.string().regex(/^[\w.-]+$/) });

export function pageRoutes(app: App): void {
  const hidden = { config: { access: 'public' }, schema: { hide: true } } as const;

  app.get('/', {
    ...hidden,
    handler: (_request, reply) => {
      if (!existsSync(join(panelFolder, 'index.html'))) {
        return reply.code(503).type('text/html; charset=utf-8').send(notBuilt);
      }
      return reply.sendFile('index.html', { cacheControl: false });
    },
  });
  app.get('/icon.svg', { ...hidden, handler: (_request, reply) => reply.sendFile('icon.svg') });
  app.get('/assets/:file', {
    config: { access: 'public' },
    schema: { hide: true, params: ByFile },
    handler: (request, reply) => {
      const file = join('assets', request.params.file);
      // A page from before an upgrade asks for what is gone.
      if (!existsSync(join(panelFolder, file))) {
        throw httpError('KR_NOT_FOUND', `There is no ${file}.`, { wayOut: 'Load the page again.' });
      }
      return reply.sendFile(file, { maxAge: yearMs, immutable: true });
    },
  });
}
