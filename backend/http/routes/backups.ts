/**
 * Backups: what there is, one more now, and taking one away over the network. They leave encrypted
 * as they lie; the key that opens them never does.
 */
import { z } from 'zod';
import { appendAudit } from '../../audit/chain.ts';
import type { App } from '../app.ts';
import type { Context } from '../context.ts';
import { httpError } from '../errors.ts';
import { principalOfRequest } from '../guard.ts';
import { At, isoOf, problems } from '../schemas.ts';

const tags = ['backups'];

const BackupView = z.object({ name: z.string(), at: At, bytes: z.int() });
const Listed = z.object({
  items: z.array(BackupView),
  last: z.object({ at: At, problem: z.string().nullable() }).nullable(),
});

const ByName = z.strictObject({ name: z.string().max(64) });

const viewOf = ({ name, atMs, bytes }: { name: string; atMs: number; bytes: number }) => ({
  name,
  at: isoOf(atMs),
  bytes,
});

export function backupRoutes(app: App, context: Context): void {
  const { backups, clock, database } = context;

  app.get('/api/v1/backups', {
    config: { access: 'backups:manage' },
    schema: {
      tags,
      summary: 'Backups that lie in the backup folder, and how the last attempt went',
      response: { 200: Listed, ...problems },
    },
    handler: async () => {
      const last = backups.last();
      return {
        items: (await backups.list()).map(viewOf),
        last: last && { at: isoOf(last.atMs), problem: last.problem },
      };
    },
  });

  app.post('/api/v1/backups', {
    config: { access: 'backups:manage' },
    schema: {
      tags,
      summary: 'Make one now; answers when it is whole and durable',
      response: { 201: BackupView, ...problems },
    },
    handler: async (request, reply) => {
      const { actor } = principalOfRequest(request);
      const made = await backups.make();
      await database.transaction((trx) =>
        appendAudit(trx, {
          chain: 'system',
          actor,
          action: 'backup.made',
          subject: `backup:${made.name}`,
          phase: 'done',
          detail: { bytes: made.bytes },
          atMs: clock.wallMs(),
        }),
      );
      return reply.code(201).send(viewOf(made));
    },
  });

  app.get('/api/v1/backups/:name', {
    config: { access: 'backups:manage' },
    schema: {
      tags,
      summary: 'One backup, encrypted',
      params: ByName,
      response: { 200: z.unknown().describe('The encrypted file'), ...problems },
    },
    handler: async (request, reply) => {
      const { name } = request.params;
      const stream = await backups.read(name);
      if (stream) return reply.type('application/octet-stream').send(stream);
      const wayOut = 'GET /api/v1/backups lists them.';
      throw httpError('KR_NOT_FOUND', `There is no backup ${name}.`, { field: 'name', wayOut });
    },
  });
}
