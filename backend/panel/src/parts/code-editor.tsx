/**
 * A text area for YAML with numbered, coloured lines; those with a problem are marked. The text
 * lies in a real text area above its coloured copy, so that keyboards, screen readers and undo do
 * what they always do. Tab leaves it, as it leaves every field.
 */
import type { RefObject } from 'preact';

export type Mark = { line: number; column: number; field: string; hint: string };

const comment = /(^|\s)#.*$/;
const key = /^(\s*(?:- )?)([\w.-]+)(:)/;

/** One line as coloured pieces; nothing is left out, or the copy would lie beside its text. */
function Coloured({ text }: { text: string }) {
  const at = comment.exec(text)?.index ?? text.length;
  const [code, remark] = [text.slice(0, at), text.slice(at)];
  const found = key.exec(code);
  return (
    <>
      {found ? (
        <>
          {found[1]}
          <span class="code-key">{found[2]}</span>
          {code.slice((found[1] ?? '').length + (found[2] ?? '').length)}
        </>
      ) : (
        code
      )}
      {remark && <span class="faint">{remark}</span>}
    </>
  );
}

/** The place of a line and column (both from 1) in a text. */
export function offsetOf(text: string, line: number, column: number): number {
  const before = text.split('\n').slice(0, line - 1);
  return before.reduce((sum, { length }) => sum + length + 1, 0) + column - 1;
}

function keepIndent(event: KeyboardEvent & { currentTarget: HTMLTextAreaElement }): void {
  if (event.key !== 'Enter' || event.isComposing || event.ctrlKey || event.metaKey) return;
  const { currentTarget: area } = event;
  const line = area.value.slice(0, area.selectionStart).split('\n').at(-1) ?? '';
  const indent = (/^\s*/.exec(line)?.[0] ?? '') + (line.trimEnd().endsWith(':') ? '  ' : '');
  if (indent === '') return;
  event.preventDefault();
  area.setRangeText(`\n${indent}`, area.selectionStart, area.selectionEnd, 'end');
  area.dispatchEvent(new Event('input', { bubbles: true }));
}

export function CodeEditor({
  label,
  value,
  set,
  marks,
  isReadOnly = false,
  area,
}: {
  label: string;
  value: string;
  set: (value: string) => void;
  marks: readonly Mark[];
  isReadOnly?: boolean;
  area: RefObject<HTMLTextAreaElement>;
}) {
  const lines = value.split('\n');
  const marked = new Map(marks.map(({ line, hint }) => [line, hint]));
  return (
    <div class="editor card">
      <ol class="gutter" aria-hidden="true">
        {lines.map((_, index) => (
          <li
            key={index}
            class={marked.has(index + 1) ? 'wrong' : ''}
            title={marked.get(index + 1)}
          >
            {index + 1}
          </li>
        ))}
      </ol>
      <div class="code">
        <pre aria-hidden="true">
          {lines.map((line, index) => (
            <span key={index} class={marked.has(index + 1) ? 'line wrong' : 'line'}>
              <Coloured text={line} />
              {'\n'}
            </span>
          ))}
        </pre>
        <textarea
          ref={area}
          aria-label={label}
          aria-invalid={marks.length > 0}
          aria-describedby="editor-problems"
          readOnly={isReadOnly}
          spellcheck={false}
          autocomplete="off"
          autocapitalize="none"
          wrap="off"
          rows={lines.length}
          value={value}
          onInput={(event) => set(event.currentTarget.value)}
          onKeyDown={keepIndent}
        />
      </div>
    </div>
  );
}
