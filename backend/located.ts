/** YAML of which every part knows its line and column, for problems that people can find. Pure. */
import { LineCounter, parseDocument } from 'yaml';

export type FileProblem = { line: number; column: number; field: string; hint: string };
export type Located = { path: PropertyKey[]; hint: string };

export type LocatedYaml =
  | { ok: true; value: unknown; locate: (problem: Located) => FileProblem }
  | { ok: false; problems: FileProblem[] };

export function readYaml(text: string): LocatedYaml {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  if (document.errors.length > 0) {
    return {
      ok: false,
      problems: document.errors.map((error) => {
        const { line, col } = lines.linePos(error.pos[0]);
        return { line, column: col, field: 'yaml', hint: error.message.split('\n')[0] ?? '' };
      }),
    };
  }
  return {
    ok: true,
    value: document.toJS() as unknown,
    locate({ path, hint }) {
      const field = path.map(String).join('.') || 'file';
      for (let depth = path.length; depth >= 0; depth -= 1) {
        const at = path
          .slice(0, depth)
          .map((part) => (typeof part === 'number' ? part : String(part)));
        const node = depth === 0 ? document.contents : document.getIn(at, true);
        const range = (node as { range?: [number, number, number] } | null | undefined)?.range;
        if (!range) continue;
        const { line, col } = lines.linePos(range[0]);
        return { line, column: col, field, hint };
      }
      return { line: 1, column: 1, field, hint };
    },
  };
}
