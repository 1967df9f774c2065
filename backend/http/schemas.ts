/**
 * What several routes share: ids in paths, paging, times, and the shape of problems. Bodies are
 * strict everywhere: an unknown key is an error that names it, since a misspelt limit that is
 * ignored is worse than a refused request.
 */
import { z } from 'zod';
import { ClusterId, GuestId, NodeId, Uuid } from '../../broker/contract/ids.ts';
import { roles } from './access.ts';

export const Problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.string().regex(/^KR_[A-Z0-9_]+$/),
    detail: z.string(),
    field: z.string().optional(),
    wayOut: z.string().optional(),
    instance: z.string().optional(),
  })
  .meta({
    description: 'RFC 9457 problem details',
    examples: [
      {
        type: 'urn:kernreaktor:error:body',
        title: 'Invalid body',
        status: 400,
        code: 'KR_BODY',
        detail: 'use 1 to 63 lower-case letters, digits or hyphens, not starting with a hyphen',
        field: 'node',
        wayOut: 'Correct the named field; /openapi.json has the schema.',
      },
    ],
  });

/** Every route documents the same two families of errors. */
export const problems = { '4xx': Problem, '5xx': Problem };

export const Role = z.enum(roles);
export const Username = z
  .string()
  .toLowerCase()
  .regex(
    /^[a-z0-9][a-z0-9._-]{1,62}$/,
    'use 2 to 63 letters, digits, or . _ -, starting with a letter or digit',
  );
/** Its rules are judged apart from its shape; this bound only keeps the hash cheap. */
export const Password = z.string().min(1).max(1_024);
export const ClusterList = z.array(ClusterId).min(1).max(4_096).nullable();

export const ById = z.strictObject({ id: Uuid });
export const ByCluster = z.strictObject({ cluster: ClusterId });
export const ByNode = z.strictObject({ cluster: ClusterId, node: NodeId });
export const ByGuest = z.strictObject({ cluster: ClusterId, guest: GuestId });

export const pageLimitMax = 5_000;

const paging = {
  limit: z.coerce.number().int().min(1).max(pageLimitMax).default(100),
  offset: z.coerce.number().int().min(0).max(10_000_000).optional(),
  cursor: z.string().min(1).max(512).optional(),
};

const notBoth = (query: { offset?: number | undefined; cursor?: string | undefined }): boolean =>
  query.offset === undefined || query.cursor === undefined;

/** A list's query: paging, cluster, and what the list adds. */
export const listQuery = <S extends z.ZodRawShape>(more: S) =>
  z
    .strictObject({ ...paging, cluster: ClusterId.optional(), ...more })
    .refine((query) => notBoth(query as Parameters<typeof notBoth>[0]), {
      path: ['cursor'],
      message: 'give offset or cursor, not both',
    });

export const pageOf = <T extends z.ZodType>(item: T) =>
  z.object({
    items: z.array(item),
    total: z.int().min(0),
    nextCursor: z.string().nullable(),
  });

/** RFC 3339 with offset, or integer ms; the value is ms either way. */
export const Time = z
  .union([
    z
      .string()
      .regex(/^\d{1,16}$/)
      .transform(Number),
    z.iso.datetime({ offset: true }).transform((text) => Date.parse(text)),
  ])
  .meta({ description: 'Unix ms, or RFC 3339 such as 2026-01-31T12:00:00Z' });

export const At = z.iso.datetime();
export const isoOf = (atMs: number): string => new Date(atMs).toISOString();
export const isoOrNull = (atMs: number | null): string | null =>
  atMs === null ? null : isoOf(atMs);
