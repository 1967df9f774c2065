/** What the embedded broker takes and gives: its options, its figures, its handle. Types only. */
import type { Clock, Log } from './contract/ports.ts';
import type { GateLimits, GateRefusal } from './gate.ts';
import type { ListenAddress, TlsCredentials } from './listeners.ts';
import type { Directory, ServerLink } from './port.ts';
import type { SessionRefusal } from './session-rules.ts';
import type { ServerCredential } from './sessions.ts';

export type BrokerOptions = {
  directory: Directory;
  clock: Clock;
  log: Log;
  tcp: ListenAddress;
  tls?: ListenAddress & TlsCredentials;
  ws?: ListenAddress;
  /** Lets a backend in another process connect as the server; absent inside the backend. */
  server?: ServerCredential;
  gateLimits?: Partial<GateLimits>;
  drainTimeoutMs?: number;
};

export type BrokerStats = {
  clients: number;
  preAuthSockets: number;
  messagesIn: number;
  bytesIn: number;
  messagesOut: number;
  takeovers: number;
  subscribesRefused: number;
  forwardsRefused: number;
  clientErrors: number;
  gate: Readonly<Record<GateRefusal, number>>;
  session: Readonly<Record<SessionRefusal, number>>;
};

export type Urls = { mqttUrl: string; tlsUrl: string | null; wsUrl: string | null };

export type Broker = ServerLink & {
  listen(): Promise<Urls>;
  /** Ends the session of a client whose credential or ownership changed. */
  kick(clientId: string): void;
  /** New connections get the renewed certificate; open ones stay. */
  renewTls(credentials: TlsCredentials): void;
  stats(): BrokerStats;
};
