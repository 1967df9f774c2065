/**
 * `kernreaktor enrol <cluster> [node]`: asks the server for the one-use token by which a daemon
 * enters. With `--out` it is written to a file that only its owner may read, and nothing of it is
 * printed. It decides nothing; the server refuses who may not ask.
 */
import { rename, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import type { ClientApi } from './api.ts';

const Enrolment = z.object({ token: z.string(), expiresAt: z.string() });

export type EnrolOrder = { cluster: string; node: string; out: string | undefined };

/**
 * Answers what to print: the token, or where it was written and until when it serves.
 * @throws ApiRefused
 */
export async function enrol(
  { cluster, node, out }: EnrolOrder,
  { api }: { api: ClientApi },
): Promise<string> {
  const path = '/api/v1/enrolments';
  const order = { method: 'POST', path, body: { cluster, node } } as const;
  const { token, expiresAt } = await api.ask(Enrolment, order);
  if (out === undefined) return token;
  // Renamed into place, so that a daemon that starts meanwhile never reads half a token.
  await writeFile(`${out}.new`, `${token}\n`, { mode: 0o600 });
  await rename(`${out}.new`, out);
  return `token for ${cluster}/${node} in ${out}, until ${expiresAt}`;
}
