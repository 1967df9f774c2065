/**
 * The server's end of the wire, whatever carries it: the embedded broker in-process, or an
 * external one through mqtt.js. The listener must take the bytes and return at once; a handler
 * that waits would stall every connection of the embedded broker [aedes concurrency 100].
 */
import type { Outgoing } from './contract/codec.ts';

export type Incoming = {
  topic: string;
  payload: Uint8Array;
  /** Authenticated identity `<cluster>/<daemon>`; null when an external broker hides it. */
  client: string | null;
  receivedAtMs: number;
};

export type ServerLink = {
  /** Resolves when the broker has taken it; never a proof of delivery. */
  publish(message: Outgoing): Promise<void>;
  onMessage(listener: (message: Incoming) => void): void;
  isConnected(): boolean;
  close(): Promise<void>;
};

/** Who may speak for which nodes: the set that `access.ts` judges by, kept in memory. */
export type Ownership = {
  cluster: string;
  daemon: string;
  simulated: boolean;
  nodes: ReadonlySet<string>;
  /** Opened with an enrolment token: may only `enrol`, for these nodes. */
  enrolling: boolean;
};

/** Looks a credential up; synchronous where it must be, since ACL hooks must not wait. */
export type Directory = {
  /** SHA-256 of the secret is compared in constant time. undefined = refuse. */
  authenticate(username: string, secret: Uint8Array): Promise<Ownership | undefined>;
  /** The current ownership of a connected client id, re-read at each publish. */
  ownership(clientId: string): Ownership | undefined;
};
