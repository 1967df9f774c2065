/**
 * At most `max` connections, lent in the order of asking. The driver's own pool retries a refused
 * connection and lets everyone wait for it; here a database that is down refuses all who wait at
 * once, and while it is down one caller at a time tries whether it is back.
 */

export type Connectable = { isValid(): boolean; end(): Promise<void> };
export type Lent<C> = C & { release(): Promise<void> };
export type Connections<C> = { getConnection(): Promise<Lent<C>>; end(): Promise<void> };

type Waiting<C> = { resolve: (lent: Lent<C>) => void; reject: (error: unknown) => void };

/** `connect` rejects when the database cannot be reached; that very error is what callers get. */
export function lendConnections<C extends Connectable>(
  max: number,
  connect: () => Promise<C>,
): Connections<C> {
  const idle: Lent<C>[] = [];
  const waiting: Waiting<C>[] = [];
  let open = 0;
  let failure: { error: unknown } | null = null;
  let connecting = 0;
  let isEnded = false;

  const giveBack = async (lent: Lent<C>): Promise<void> => {
    if (isEnded) return lent.isValid() ? lent.end() : undefined;
    const isValid = lent.isValid();
    if (!isValid) open -= 1;
    const next = waiting.shift();
    if (!next) {
      if (isValid) idle.push(lent);
    } else if (isValid) next.resolve(lent);
    else borrow().then(next.resolve, next.reject);
  };

  const openOne = async (): Promise<Lent<C>> => {
    open += 1;
    connecting += 1;
    try {
      const connection = await connect();
      failure = null;
      const lent: Lent<C> = Object.assign(connection, { release: () => giveBack(lent) });
      return lent;
    } catch (error) {
      open -= 1;
      failure = { error };
      for (const next of waiting.splice(0)) next.reject(error);
      throw error;
    } finally {
      connecting -= 1;
    }
  };

  const borrow = async (): Promise<Lent<C>> => {
    for (let lent = idle.pop(); lent; lent = idle.pop()) {
      if (lent.isValid()) return lent;
      open -= 1;
    }
    if (failure && connecting > 0) throw failure.error;
    if (open < max) return openOne();
    return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
  };

  return {
    getConnection: borrow,
    async end() {
      isEnded = true;
      for (const next of waiting.splice(0)) next.reject(new Error('the store was closed'));
      const alive = idle.splice(0).filter((lent) => lent.isValid());
      await Promise.all(alive.map((lent) => lent.end()));
    },
  };
}
