/** What the server says of a draft while somebody types: asked when the typing rests. */
import { useEffect, useState } from 'preact/hooks';
import type { PolicyCheck } from '../../../../http/routes/policies.ts';
import { call, type Problem, problemOf } from '../../api.ts';

const restMs = 250;

export type DraftCheck = {
  /** Of the text as it is now; undefined until the server has read it. */
  check: PolicyCheck | undefined;
  problem: Problem | undefined;
};

export function useCheck(yaml: string, cluster: string | undefined): DraftCheck {
  const [state, setState] = useState<DraftCheck & { of: string }>({
    check: undefined,
    problem: undefined,
    of: '',
  });
  const of = `${cluster} ${yaml}`;
  useEffect(() => {
    const controller = new AbortController();
    const timer = setTimeout(() => {
      const body = { yaml, ...(cluster === undefined ? {} : { cluster }) };
      const { signal } = controller;
      call<PolicyCheck>('POST', 'policies/check', { body, signal }).then(
        (check) => setState({ check, problem: undefined, of }),
        (error: unknown) =>
          controller.signal.aborted ||
          setState({ check: undefined, problem: problemOf(error), of }),
      );
    }, restMs);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [yaml, cluster, of]);
  const isOfNow = state.of === of;
  return {
    check: isOfNow ? state.check : undefined,
    problem: isOfNow ? state.problem : undefined,
  };
}
