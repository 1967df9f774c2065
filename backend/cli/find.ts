/**
 * Which node or guest a person means: an id or name, or `<cluster>/<id>` where it is not unique.
 * Never a guess: two that fit are a refusal that names both.
 */
import type { z } from 'zod';
import type { ClientApi } from './api.ts';
import { GuestRow, NodeRow, pageOf } from './views.ts';

export class NotFound extends Error {
  override readonly name = 'NotFound';
  readonly code = 'KR_NOT_FOUND';
}

export type Subject =
  | { kind: 'node'; cluster: string; id: string; node: NodeRow }
  | { kind: 'guest'; cluster: string; id: string; guest: GuestRow };

const pageSize = 5_000;

export async function allOf<T>(
  api: ClientApi,
  schema: ReturnType<typeof pageOf<z.ZodType<T>>>,
  path: string,
): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const more: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
    const page: { items: T[]; nextCursor: string | null } = await api.ask(schema, {
      method: 'GET',
      path: `/api/v1/${path}${path.includes('?') ? '&' : '?'}limit=${pageSize}${more}`,
    });
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return items;
}

export const allNodes = (api: ClientApi): Promise<NodeRow[]> =>
  allOf(api, pageOf(NodeRow), 'nodes');
export const allGuests = (api: ClientApi): Promise<GuestRow[]> =>
  allOf(api, pageOf(GuestRow), 'guests');

/** @throws NotFound when nothing or more than one fits. */
export async function findSubject(api: ClientApi, wanted: string): Promise<Subject> {
  const [cluster, name = ''] = wanted.includes('/') ? wanted.split('/', 2) : [undefined, wanted];
  const isIn = (row: { cluster: string }) => cluster === undefined || row.cluster === cluster;
  const nodes = (await allNodes(api)).filter((row) => isIn(row) && row.id === name);
  const guests = (await allGuests(api)).filter(
    (row) => isIn(row) && (row.id === name || row.name === name),
  );
  const found: Subject[] = [
    ...nodes.map((node) => ({ kind: 'node' as const, cluster: node.cluster, id: node.id, node })),
    ...guests.map((guest) => ({
      kind: 'guest' as const,
      cluster: guest.cluster,
      id: guest.id,
      guest,
    })),
  ];
  const [only] = found;
  if (only && found.length === 1) return only;
  const names = found.map(({ kind, cluster: home, id }) => `${kind} ${home}/${id}`).join(', ');
  throw new NotFound(
    only
      ? `${wanted} may be ${names}: write <cluster>/<id>`
      : `there is no node or guest ${wanted}: kernreaktor nodes and kernreaktor guests list them`,
  );
}
