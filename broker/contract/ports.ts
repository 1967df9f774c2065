/**
 * Time and chance as arguments. Everything that waits, stamps or draws takes these, so that a
 * simulation runs the production code on one virtual clock and one seed. Types only.
 */

export type Cancel = () => void;

export type Clock = {
  /** Unix time in ms. For stamps and people; never compared across machines. */
  wallMs(): number;
  /** Never goes back. For every timeout, age and rate. */
  monotonicMs(): number;
  /** Runs once after `delayMs`. A rejected promise is a bug and ends the process. */
  after(delayMs: number, run: () => void | Promise<void>): Cancel;
};

export type Random = {
  bytes(count: number): Uint8Array;
  /** Uniform in [0, 1). */
  ratio(): number;
};

/** A fresh UUIDv7. */
export type NewId = () => string;

/** What pino offers, as far as we use it. */
export type Log = {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
};
