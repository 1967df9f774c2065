/** `kernreaktor keep-awake <node> --for 4h`: nothing puts it to sleep until then. */
import { z } from 'zod';
import type { ClientApi } from './api.ts';
import { findSubject, NotFound } from './find.ts';
import { json } from './output.ts';

const unitMs: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `90m`, `4h`, `2d`. @throws NotFound that names the way to write it */
export function durationOf(text: string, option = '--for'): number {
  const [, count = '', unit = ''] = /^(\d{1,4})([mhd])$/.exec(text) ?? [];
  const ms = Number(count) * (unitMs[unit] ?? 0);
  if (ms > 0) return ms;
  throw new NotFound(`${option} ${text}: write 90m, 4h or 2d`);
}

export async function keepAwake(
  { api }: { api: ClientApi },
  wanted: string,
  options: { for: string; end?: boolean; reason?: string; json?: boolean },
): Promise<string> {
  const { kind, cluster, id } = await findSubject(api, wanted);
  if (kind !== 'node') throw new NotFound(`${wanted} is a guest: name the node it runs on`);
  const at = `${encodeURIComponent(cluster)}/nodes/${encodeURIComponent(id)}`;
  const forMs = options.end === true ? null : durationOf(options.for);
  const { reason } = options;
  const body = { forMs, ...(reason === undefined ? {} : { reason }) };
  const path = `/api/v1/clusters/${at}/keep-awake`;
  const schema = z.object({ until: z.string().nullable() });
  const { until } = await api.ask(schema, { method: 'PUT', path, body });
  if (options.json) return json({ cluster, node: id, until });
  const name = `${cluster}/${id}`;
  return until === null ? `${name} may sleep again` : `${name} stays awake until ${until}`;
}
