/**
 * The text of a profile -> a profile, or every problem with line, column and field. Checked whole
 * before anything starts; reads nothing itself.
 */
import { type Document, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { type Contradiction, contradictions, Profile } from './profile.ts';

export type ProfileProblem = { line: number; column: number; field: string; hint: string };
export type ReadProfile =
  | { ok: true; profile: Profile }
  | { ok: false; problems: ProfileProblem[] };

/** A union tells that nothing of it fits; what is wrong stands with the alternative that came closest. */
function explain(issue: z.core.$ZodIssue, above: readonly PropertyKey[] = []): Contradiction[] {
  const path = [...above, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: [...path, key], hint: 'is not a known key' }));
  }
  if (issue.code === 'invalid_union') {
    const deepest = issue.errors.find((all) => all.some((each) => each.path.length > 0));
    const told = deepest ?? issue.errors[0] ?? [];
    if (told.length > 0) return told.flatMap((each) => explain(each, path));
  }
  return [{ path, hint: issue.message }];
}

function locator(document: Document.Parsed, lines: LineCounter) {
  return ({ path, hint }: Contradiction): ProfileProblem => {
    const field = path.map(String).join('.') || 'file';
    for (let depth = path.length; depth >= 0; depth -= 1) {
      const at = path.slice(0, depth);
      const node: unknown = depth === 0 ? document.contents : document.getIn(at, true);
      const range = (node as { range?: [number, number, number] } | null | undefined)?.range;
      if (!range) continue;
      const { line, col } = lines.linePos(range[0]);
      return { line, column: col, field, hint };
    }
    return { line: 1, column: 1, field, hint };
  };
}

export function readProfile(text: string): ReadProfile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  if (document.errors.length > 0) {
    const problems = document.errors.map(({ pos, message }) => {
      const { line, col } = lines.linePos(pos[0]);
      return { line, column: col, field: 'yaml', hint: message.split('\n')[0] ?? '' };
    });
    return { ok: false, problems };
  }
  const locate = locator(document, lines);
  const parsed = Profile.safeParse(document.toJS() ?? {});
  if (!parsed.success) {
    const issues = parsed.error.issues.flatMap((issue) => explain(issue));
    return { ok: false, problems: issues.map(locate) };
  }
  const wrong = contradictions(parsed.data);
  if (wrong.length > 0) return { ok: false, problems: wrong.map(locate) };
  return { ok: true, profile: parsed.data };
}
