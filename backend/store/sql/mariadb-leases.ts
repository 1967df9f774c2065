/**
 * Connections to MariaDB, at most `connectionsMax`, lent in the order of asking. The driver's own
 * pool retries a refused connection and lets everyone wait for it; here a database that is down
 * refuses all who wait at once, and while it is down one caller at a time tries whether it is back.
 */
import { type Connection, type ConnectionConfig, createConnection } from 'mariadb';

const connectionsMax = 10;

type Lease = Connection & { release(): Promise<void> };
type Waiting = { resolve: (lease: Lease) => void; reject: (error: Error) => void };

export type Leases = { getConnection(): Promise<Lease>; end(): Promise<void> };

export function createLeases(
  config: ConnectionConfig,
  unreachable: (cause: unknown) => Error,
): Leases {
  const idle: Lease[] = [];
  const waiting: Waiting[] = [];
  let open = 0;
  let down: Error | null = null;
  let isTrying = false;

  const giveBack = async (lease: Lease): Promise<void> => {
    if (!lease.isValid()) {
      open -= 1;
      const next = waiting.shift();
      if (next) borrow().then(next.resolve, next.reject);
      return;
    }
    const next = waiting.shift();
    if (next) next.resolve(lease);
    else idle.push(lease);
  };

  const connect = async (): Promise<Lease> => {
    open += 1;
    isTrying = true;
    try {
      const connection = await createConnection(config);
      // A connection that dies unused says so here; isValid tells the next borrower.
      connection.on('error', () => undefined);
      const lease: Lease = Object.assign(connection, { release: () => giveBack(lease) });
      down = null;
      return lease;
    } catch (error) {
      open -= 1;
      down = unreachable(error);
      for (const next of waiting.splice(0)) next.reject(down);
      throw down;
    } finally {
      isTrying = false;
    }
  };

  const borrow = async (): Promise<Lease> => {
    for (let lease = idle.pop(); lease; lease = idle.pop()) {
      if (lease.isValid()) return lease;
      open -= 1;
    }
    if (down && isTrying) throw down;
    if (open < connectionsMax) return connect();
    return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
  };

  return {
    getConnection: borrow,
    async end() {
      const alive = idle.splice(0).filter((lease) => lease.isValid());
      await Promise.all(alive.map((lease) => lease.end()));
    },
  };
}
