/**
 * At most `max` connections, lent in the order of asking, and a word on whether the database is
 * there at all. The driver's own pool retries a refused connection and lets everyone wait for it;
 * here a database that is away refuses whoever asks at once, and is tried in the background until
 * it is back. Nothing is ever sent twice: what was under way when the database fell silent fails
 * as unknown, and its connection is never used again.
 */
import type { Cancel, Clock } from '../../../broker/contract/ports.ts';
import { watchSilence } from './silence.ts';

export type Connectable = {
  isValid(): boolean;
  end(): Promise<void>;
  ping(): Promise<void>;
  /** One statement at a time; begin, commit and rollback are statements, too. */
  query(sql: string, values?: unknown): Promise<unknown>;
};
export type Lent<C> = C & { release(): Promise<void> };
export type Connections<C> = { getConnection(): Promise<Lent<C>>; end(): Promise<void> };

export type Lending<C> = {
  max: number;
  /** Rejects when the database cannot be reached; that very error is what callers get. */
  connect: () => Promise<C>;
  clock: Clock;
  /** What callers get while the database is silent. */
  silent: () => Error;
};

const retryEveryMs = 200;

/** A lent connection whose statement can be given up without waiting for its answer. */
class Loan<C extends Connectable> {
  readonly lent: Lent<C>;
  readonly #connection: C;
  #fail: ((error: Error) => void) | null = null;
  #givenUp: Error | null = null;

  constructor(connection: C, giveBack: (loan: Loan<C>) => Promise<void>) {
    this.#connection = connection;
    const send = connection.query.bind(connection);
    const query = (sql: string, values?: unknown): Promise<unknown> =>
      new Promise((resolve, reject) => {
        if (this.#givenUp) {
          reject(this.#givenUp);
          return;
        }
        this.#fail = reject;
        // Before whoever waits goes on, and sends the next one.
        const settled = <T>(settle: (value: T) => void) => {
          return (value: T): void => {
            this.#fail = null;
            settle(value);
          };
        };
        void send(sql, values).then(settled(resolve), settled(reject));
      });
    this.lent = Object.assign(connection, { query, release: () => giveBack(this) });
  }

  isValid(): boolean {
    return this.#givenUp === null && this.#connection.isValid();
  }

  /** What was sent may yet be done; it only has nobody who waits for it any more. */
  giveUp(error: Error): void {
    this.#givenUp = error;
    this.#fail?.(error);
    void this.end();
  }

  /** Its own time limit ends one that does not even take its farewell. */
  async end(): Promise<void> {
    if (this.#connection.isValid()) await this.#connection.end().catch(() => undefined);
  }

  ping(): Promise<void> {
    return this.#connection.ping();
  }
}

type Waiting<C> = { resolve: (lent: Lent<C>) => void; reject: (error: unknown) => void };

class Lender<C extends Connectable> implements Connections<C> {
  readonly #options: Lending<C>;
  readonly #idle: Loan<C>[] = [];
  readonly #out = new Set<Loan<C>>();
  readonly #waiting: Waiting<C>[] = [];
  readonly #silence: ReturnType<typeof watchSilence>;
  #opening = 0;
  #failure: { error: unknown } | null = null;
  #cancelRetry: Cancel | null = null;
  #isEnded = false;

  constructor(options: Lending<C>) {
    this.#options = options;
    this.#silence = watchSilence({
      clock: options.clock,
      isBusy: () => this.#out.size > 0,
      ask: () => this.#ask(),
      onSuspect: () => this.#refuse(options.silent()),
      onAnswer: () => void (this.#failure = null),
      onGone: () => this.#giveUp(options.silent()),
    });
  }

  async getConnection(): Promise<Lent<C>> {
    if (this.#failure) throw this.#failure.error;
    const idle = this.#takeIdle();
    if (idle) return this.#lend(idle);
    if (this.#out.size + this.#opening < this.#options.max) return this.#lend(await this.#open());
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  async end(): Promise<void> {
    this.#isEnded = true;
    this.#cancelRetry?.();
    this.#silence.stop();
    for (const next of this.#waiting.splice(0)) next.reject(new Error('the store was closed'));
    await Promise.all(this.#idle.splice(0).map((loan) => loan.end()));
  }

  #takeIdle(): Loan<C> | undefined {
    let loan = this.#idle.pop();
    while (loan && !loan.isValid()) loan = this.#idle.pop();
    return loan;
  }

  #lend(loan: Loan<C>): Lent<C> {
    this.#out.add(loan);
    this.#silence.watch();
    return loan.lent;
  }

  async #giveBack(loan: Loan<C>): Promise<void> {
    this.#out.delete(loan);
    if (this.#isEnded) return loan.end();
    if (loan.isValid()) this.#idle.push(loan);
    const next = this.#waiting.shift();
    if (next) this.getConnection().then(next.resolve, next.reject);
  }

  async #open(): Promise<Loan<C>> {
    this.#opening += 1;
    try {
      const connection = await this.#options.connect();
      this.#failure = null;
      return new Loan(connection, (loan) => this.#giveBack(loan));
    } catch (error) {
      this.#refuse(error);
      this.#retryLater();
      throw error;
    } finally {
      this.#opening -= 1;
    }
  }

  /** Nobody waits for a database that is away. */
  #refuse(error: unknown): void {
    this.#failure = { error };
    for (const next of this.#waiting.splice(0)) next.reject(error);
  }

  #retryLater(): void {
    if (this.#isEnded || this.#cancelRetry) return;
    this.#cancelRetry = this.#options.clock.after(retryEveryMs, async () => {
      this.#cancelRetry = null;
      if (this.#failure === null) return;
      const loan = await this.#open().catch(() => null);
      if (loan) await this.#giveBack(loan);
    });
  }

  /** By a connection that nobody works on, so that no lock and no long answer is in its way. */
  async #ask(): Promise<void> {
    const loan =
      this.#takeIdle() ?? new Loan(await this.#options.connect(), (one) => this.#giveBack(one));
    await loan.ping();
    await this.#giveBack(loan);
  }

  #giveUp(error: Error): void {
    this.#refuse(error);
    for (const loan of [...this.#out, ...this.#idle.splice(0)]) loan.giveUp(error);
    this.#retryLater();
  }
}

export const lendConnections = <C extends Connectable>(options: Lending<C>): Connections<C> =>
  new Lender(options);
