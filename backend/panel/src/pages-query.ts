/** A whole list of many pages, asked one after the other and shown only when it is complete. */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { type Page, type Problem, problemOf } from './api.ts';

type Pages<T> = { items: T[] | undefined; total: number; problem: Problem | undefined };

async function allOf<T>(
  path: string,
  ask: (path: string, signal: AbortSignal) => Promise<Page<T>>,
  signal: AbortSignal,
): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const next: string = cursor === null ? path : `${path}&cursor=${encodeURIComponent(cursor)}`;
    const page: Page<T> = await ask(next, signal);
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return items;
}

export function usePages<T>(
  path: string,
  ask: (path: string, signal: AbortSignal) => Promise<Page<T>>,
  { everyMs }: { everyMs: number },
): Pages<T> & { reload: () => void } {
  const [state, setState] = useState<Pages<T>>({ items: undefined, total: 0, problem: undefined });
  const latest = useRef(ask);
  latest.current = ask;
  const asking = useRef<AbortController | null>(null);
  const reload = useCallback(() => {
    asking.current?.abort();
    const controller = new AbortController();
    asking.current = controller;
    allOf(path, latest.current, controller.signal).then(
      (items) => setState({ items, total: items.length, problem: undefined }),
      (error: unknown) => {
        if (controller.signal.aborted) return;
        setState((before) => ({ ...before, problem: problemOf(error) }));
      },
    );
  }, [path]);
  useEffect(() => {
    reload();
    const timer = setInterval(() => document.hidden || reload(), everyMs);
    return () => {
      clearInterval(timer);
      asking.current?.abort();
    };
  }, [reload, everyMs]);
  return { ...state, reload };
}
