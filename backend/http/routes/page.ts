/** The status page: four files, read once, served as they are; no script or style is inline. */
import { readFileSync } from 'node:fs';
import type { App } from '../app.ts';

const files = [
  ['/', 'index.html', 'text/html; charset=utf-8'],
  ['/page/style.css', 'style.css', 'text/css; charset=utf-8'],
  ['/page/app.js', 'app.js', 'text/javascript; charset=utf-8'],
  ['/page/icon.svg', 'icon.svg', 'image/svg+xml'],
] as const;

export function pageRoutes(app: App): void {
  for (const [url, file, type] of files) {
    const content = readFileSync(new URL(`../page/${file}`, import.meta.url));
    app.get(url, {
      config: { access: 'public' },
      schema: { hide: true },
      handler: (_request, reply) =>
        reply.type(type).header('cache-control', 'no-cache').send(content),
    });
  }
}
