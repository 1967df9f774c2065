/**
 * `kernreaktor enrol <cluster> [nodes...]`: asks the server for the one-use token by which a daemon
 * enters, for its host or for all the nodes that it speaks for. With `--out` it is written to a file
 * that only its owner may read, and nothing of it is printed. It decides nothing; the server refuses who may not ask.
 */
import { rename, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import type { ClientApi } from './api.ts';
import { json } from './output.ts';

const Enrolment = z.object({ token: z.string(), expiresAt: z.string() });

export type EnrolOrder = {
  cluster: string;
  nodes: readonly string[];
  out: string | undefined;
  json?: boolean;
};

/**
 * Answers what to print: the token, or where it was written and until when it serves.
 * @throws ApiRefused
 */
export async function enrol(
  { cluster, nodes, out, json: isJson }: EnrolOrder,
  { api }: { api: ClientApi },
): Promise<string> {
  const path = '/api/v1/enrolments';
  const [node] = nodes;
  const body = nodes.length === 1 ? { cluster, node } : { cluster, nodes };
  const order = { method: 'POST', path, body } as const;
  const { token, expiresAt } = await api.ask(Enrolment, order);
  if (out === undefined) return isJson ? json({ token, expiresAt }) : token;
  // Renamed into place, so that a daemon that starts meanwhile never reads half a token.
  await writeFile(`${out}.new`, `${token}\n`, { mode: 0o600 });
  await rename(`${out}.new`, out);
  if (isJson) return json({ out, expiresAt });
  return `token for ${cluster}/${nodes.join(', ')} in ${out}, until ${expiresAt}`;
}
