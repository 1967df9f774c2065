/**
 * One question to the server as a value of a component: loading, answer or problem. The last answer
 * stays while the next one is under way, and a stale answer never overwrites a newer one.
 */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { call, get, type Page, type Problem, problemOf } from './api.ts';
import { lastCommand } from './live.ts';

export type Query<T> = {
  data: T | undefined;
  problem: Problem | undefined;
  reload: () => void;
};

type Ask<T> = (path: string, signal: AbortSignal) => Promise<T>;
type Often = { everyMs?: number };
/** `keepsOther`: the answer to the last path stays until that to the new one is there. */
type How = Often & { keepsOther?: boolean };

/** `path` null asks nothing. `everyMs` asks again, but not in a hidden tab. */
function useAnswer<T>(path: string | null, ask: Ask<T>, how: How): Query<T> {
  const { everyMs = 0, keepsOther = false } = how;
  const [state, setState] = useState<{ data?: T; problem?: Problem; path: string | null }>({
    path,
  });
  const asking = useRef<AbortController | null>(null);
  const reload = useCallback(() => {
    asking.current?.abort();
    if (path === null) return;
    const controller = new AbortController();
    asking.current = controller;
    ask(path, controller.signal).then(
      (data) => setState({ data, path }),
      (error: unknown) => {
        if (controller.signal.aborted) return;
        setState((before) => ({
          ...((keepsOther || before.path === path) && before.data !== undefined
            ? { data: before.data }
            : {}),
          problem: problemOf(error),
          path,
        }));
      },
    );
  }, [path, ask, keepsOther]);
  useEffect(() => {
    reload();
    const timer =
      everyMs === 0 ? undefined : setInterval(() => document.hidden || reload(), everyMs);
    return () => {
      clearInterval(timer);
      asking.current?.abort();
    };
  }, [reload, everyMs]);
  const isShown = keepsOther || state.path === path;
  return {
    data: isShown ? state.data : undefined,
    problem: isShown ? state.problem : undefined,
    reload,
  };
}

export const useQuery = <T>(path: string | null, often: Often = {}): Query<T> =>
  useAnswer<T>(path, get, often);

/** Asked again whenever the stream tells of a command, of this one where `id` is given. */
export function useLive<T>(path: string, id?: string): Query<T> {
  const answer = useQuery<T>(path, { everyMs: 15_000 });
  const { reload } = answer;
  const news = lastCommand.value;
  useEffect(() => {
    if (news && (id === undefined || id === news.id)) reload();
  }, [news, id, reload]);
  return answer;
}

async function allOf<T>(path: string, signal: AbortSignal): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const next: string = cursor === null ? path : `${path}&cursor=${encodeURIComponent(cursor)}`;
    const page: Page<T> = await get<Page<T>>(next, signal);
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return items;
}

/** A whole list of many pages, shown only when it is complete. `path` has a query already. */
export const usePages = <T>(path: string, often: Often): Query<T[]> =>
  useAnswer<T[]>(path, allOf, { ...often, keepsOther: true });

async function posted<T>(path: string, signal: AbortSignal): Promise<T> {
  const end = path.indexOf('\n');
  const body: unknown = JSON.parse(path.slice(end + 1));
  return call<T>('POST', path.slice(0, end), { body, signal });
}

/** A question that needs a body and changes nothing, as a dry run is; null asks nothing. */
export const useDryRun = <T>(path: string, body: object | null, often: Often = {}): Query<T> =>
  useAnswer<T>(body === null ? null : `${path}\n${JSON.stringify(body)}`, posted, often);
