/**
 * Remembers what a pure function answered for texts that come again and again: policies, limits,
 * facts of a node. Bounded: when it is full it is emptied. Its answers are shared, so they are
 * frozen through and through. What is given beside the text must be determined by it. Pure.
 */
function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  Object.values(value).forEach(freeze);
  return Object.freeze(value);
}

export function remembered<T, From = void>(
  max: number,
  answer: (text: string, from: From) => T,
): (text: string, from: From) => T {
  const known = new Map<string, T>();
  return (text, from) => {
    const before = known.get(text);
    if (before !== undefined || known.has(text)) return before as T;
    const now = freeze(answer(text, from));
    if (known.size >= max) known.clear();
    known.set(text, now);
    return now;
  };
}
