/**
 * One policy as text: a document of its own, as `kernreaktor policy check` and a backtest take it,
 * or the name of a shipped one. Every problem names line and column.
 */
import { createHash } from 'node:crypto';
import { stringify } from 'yaml';
import { z } from 'zod';
import { beyondCeilings, type Policy, PolicyInput } from './decide/policy.ts';
import { isStrategy, resolvePolicy, strategies } from './decide/strategies.ts';
import { type FileProblem, readYaml } from './located.ts';

export type CheckedPolicy =
  | { ok: true; policy: Policy; yaml: string; hash: string }
  | { ok: false; problems: FileProblem[] };

/** As it is stored: whole, so that a later change of what it extends does not change it. */
export function storedForm(policy: Policy): { yaml: string; hash: string } {
  const yaml = stringify(policy);
  return { yaml, hash: createHash('sha256').update(yaml).digest('hex') };
}

/** JSON Schema of a policy document, for editors. */
export const policySchema = (): object => z.toJSONSchema(PolicyInput, { io: 'input' });

/** A JSON Schema as it stands in docs/. */
export const schemaText = (schema: object): string => `${JSON.stringify(schema, null, 2)}\n`;

/** @param isReal limits above the ceilings of real machines are problems then */
export function checkPolicy(text: string, { isReal = true } = {}): CheckedPolicy {
  const read = readYaml(text);
  if (!read.ok) return read;
  const { value, locate } = read;
  const own: unknown =
    typeof value === 'string' && isStrategy(value) ? strategies[value].policy : (value ?? {});
  const resolved = resolvePolicy(own);
  if (!resolved.ok) return { ok: false, problems: resolved.problems.map(locate) };
  const { policy } = resolved;
  const beyond = isReal ? beyondCeilings(policy) : [];
  if (beyond.length > 0) {
    const problems = beyond.map(({ field, hint }) => locate({ path: ['limits', field], hint }));
    return { ok: false, problems };
  }
  return { ok: true, policy, ...storedForm(policy) };
}

export const problemText = ({ line, column, field, hint }: FileProblem): string =>
  `${line}:${column} ${field}: ${hint}`;

export type Difference = { field: string; before: string | null; after: string | null };

function leavesOf(value: unknown, path: string[] = []): Map<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return new Map([[path.join('.'), JSON.stringify(value)]]);
  }
  return new Map(
    Object.entries(value).flatMap(([name, inner]) => [...leavesOf(inner, [...path, name])]),
  );
}

/** Every value of two whole policies that differs, as JSON, by its field; null where it has none. */
export function policyDifferences(before: unknown, after: unknown): Difference[] {
  const [was, is] = [leavesOf(before), leavesOf(after)];
  const fields = [...new Set([...was.keys(), ...is.keys()])].sort();
  return fields
    .filter((field) => was.get(field) !== is.get(field))
    .map((field) => ({ field, before: was.get(field) ?? null, after: is.get(field) ?? null }));
}
