/**
 * One request as a signal-like value of a component: loading, answer or problem. The last answer
 * stays while the next one is under way, and a stale answer never overwrites a newer one.
 */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { get, type Problem, problemOf } from './api.ts';

export type Query<T> = {
  data: T | undefined;
  problem: Problem | undefined;
  reload: () => void;
};

/** `path` null asks nothing. `everyMs` asks again, but not in a hidden tab. */
export function useQuery<T>(path: string | null, { everyMs = 0 } = {}): Query<T> {
  const [state, setState] = useState<{ data?: T; problem?: Problem; path: string | null }>({
    path,
  });
  const asking = useRef<AbortController | null>(null);
  const reload = useCallback(() => {
    asking.current?.abort();
    if (path === null) return;
    const controller = new AbortController();
    asking.current = controller;
    get<T>(path, controller.signal).then(
      (data) => setState({ data, path }),
      (error: unknown) => {
        if (controller.signal.aborted) return;
        setState((before) => ({
          ...(before.path === path && before.data !== undefined ? { data: before.data } : {}),
          problem: problemOf(error),
          path,
        }));
      },
    );
  }, [path]);
  useEffect(() => {
    reload();
    const timer =
      everyMs === 0 ? undefined : setInterval(() => document.hidden || reload(), everyMs);
    return () => {
      clearInterval(timer);
      asking.current?.abort();
    };
  }, [reload, everyMs]);
  const isOfThisPath = state.path === path;
  return {
    data: isOfThisPath ? state.data : undefined,
    problem: isOfThisPath ? state.problem : undefined,
    reload,
  };
}
