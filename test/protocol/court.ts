/** Where judges put what they find broken: the id of the invariant and what shows it. */
export type Court = {
  violations: string[];
  /** Situations in which an invariant says nothing, by reason; they are counted, not hidden. */
  unjudged: Record<string, number>;
  accuse(id: string, what: string): void;
  skip(why: string): void;
};

const shownMax = 20;

export function createCourt(nowMs: () => number): Court {
  const violations: string[] = [];
  const known = new Set<string>();
  const unjudged: Record<string, number> = {};
  return {
    violations,
    unjudged,
    accuse(id, what) {
      if (known.has(what) || violations.length >= shownMax) return;
      known.add(what);
      violations.push(`${id} at ${(nowMs() / 1_000).toFixed(3)} s: ${what}`);
    },
    skip: (why) => void (unjudged[why] = (unjudged[why] ?? 0) + 1),
  };
}
