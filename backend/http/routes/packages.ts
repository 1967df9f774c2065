/**
 * Packages of the daemon, for hosts that are to be let in or upgraded. A host has no account, so
 * the files are open to who can reach the server; what it must check them by, their checksum, is
 * told to accounts alone and reaches the host by the hand of a person.
 */
import { hostname } from 'node:os';
import { z } from 'zod';
import type { App } from '../app.ts';
import type { Context } from '../context.ts';
import { httpError } from '../errors.ts';
import { problems } from '../schemas.ts';
import { version } from '../../version.ts';

const tags = ['packages'];

const Listed = z.object({
  serverVersion: z.string(),
  /** Where hosts find `packages/<name>`; null while no address for other machines is set. */
  baseUrl: z.string().nullable(),
  items: z.array(
    z.object({
      name: z.string(),
      version: z.string(),
      architecture: z.string(),
      bytes: z.int(),
      sha256: z.string(),
    }),
  ),
});

const ByName = z.strictObject({ name: z.string().max(128) });

function baseUrlOf({ publicUrl, tls }: Context['config']): string | null {
  if (publicUrl !== null) return publicUrl.replace(/\/$/, '');
  if (tls === null) return null;
  const isWildcard = tls.host === '0.0.0.0' || tls.host === '::';
  return `https://${isWildcard ? hostname() : tls.host}:${tls.port}`;
}

export function packageRoutes(app: App, { config, packages }: Context): void {
  app.get('/api/v1/packages', {
    config: { access: 'fleet:read' },
    schema: {
      tags,
      summary: 'Packages of the daemon that this server hands out, with their checksums',
      response: { 200: Listed, ...problems },
    },
    handler: async () => ({
      serverVersion: version,
      baseUrl: baseUrlOf(config),
      items: await packages.list(),
    }),
  });

  app.get('/packages/:name', {
    config: { access: 'public' },
    schema: {
      tags,
      summary: 'One package; check it by the checksum of GET /api/v1/packages',
      params: ByName,
      response: { 200: z.unknown().describe('The file'), ...problems },
    },
    handler: async (request, reply) => {
      const { name } = request.params;
      const stream = await packages.read(name);
      if (stream) return reply.type('application/vnd.debian.binary-package').send(stream);
      const wayOut = 'GET /api/v1/packages lists them.';
      throw httpError('KR_NOT_FOUND', `There is no package ${name}.`, { field: 'name', wayOut });
    },
  });
}
