/** How a page says that it waits, has nothing, or failed; and short news at the edge. */
import { signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import type { Problem } from '../api.ts';
import { sentence } from '../format.ts';
import type { Query } from '../query.ts';

export const Loading = ({ what }: { what: string }) => (
  <p class="state-note" role="status">
    <span class="spinner" aria-hidden="true" /> Loading {what} …
  </p>
);

export const Empty = ({ title, children }: { title: string; children?: ComponentChildren }) => (
  <div class="state-note empty">
    <h2>{title}</h2>
    {children}
  </div>
);

export const ProblemNote = ({ problem, retry }: { problem: Problem; retry?: () => void }) => (
  <div class="notice" role="alert">
    <strong>{problem.title}.</strong> {sentence(problem.detail)}{' '}
    {problem.wayOut && sentence(problem.wayOut)}{' '}
    {retry && (
      <button type="button" class="quiet small" onClick={retry}>
        Try again
      </button>
    )}
  </div>
);

/** Shows the answer of a query, or why there is none; an old answer stays under a new problem. */
export function Answer<T>({
  of,
  what,
  children,
}: {
  of: Query<T>;
  what: string;
  children: (data: T) => ComponentChildren;
}) {
  return (
    <>
      {of.problem && <ProblemNote problem={of.problem} retry={of.reload} />}
      {of.data !== undefined && children(of.data)}
      {of.data === undefined && !of.problem && <Loading what={what} />}
    </>
  );
}

type Toast = { id: number; text: string; href: string | null; kind: 'good' | 'bad' | 'plain' };

export const toasts = signal<readonly Toast[]>([]);
const shownMs = 8_000;
let count = 0;

export function toast(text: string, { href = null, kind = 'plain' }: Partial<Toast> = {}): void {
  const id = (count += 1);
  toasts.value = [...toasts.value.slice(-3), { id, text, href, kind }];
  setTimeout(() => (toasts.value = toasts.value.filter((other) => other.id !== id)), shownMs);
}

export const Toasts = () => (
  <div class="toasts" role="status" aria-live="polite">
    {toasts.value.map(({ id, text, href, kind }) => (
      <p key={id} class={`toast ${kind}`}>
        {text} {href && <a href={href}>Follow it</a>}
      </p>
    ))}
  </div>
);
