/**
 * One thing at a time, in the order in which it was asked for: for files that several callers
 * change. What fails is its own caller's; the next one begins all the same.
 */
export type InTurn = <T>(work: () => Promise<T>) => Promise<T>;

export function oneByOne(): InTurn {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const turn = last.then(work);
    last = turn.catch(() => undefined);
    return turn;
  };
}
