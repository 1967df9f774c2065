/**
 * The line between agent and executor. The agent owns MQTT and only relays; the executor owns
 * the journal, the command machine, the signature check, local guards and HOLD. A direct call in
 * `npm start` and in the simulator, a unix socket in the packaged service. A closed set of verbs.
 */
import type { Claim, Offer, Probe } from '../../broker/contract/command.ts';
import type { OpenCommand } from '../../broker/contract/presence.ts';
import type { Report, Verdict } from '../../broker/contract/report.ts';
import type { Observation } from '../hypervisor/port.ts';
import type { Signed } from '../../broker/contract/server.ts';

/** What the executor contributes to this node's `hello`. */
export type Introduction = {
  journalId: string;
  /** Persisted count of daemon starts. */
  incarnation: number;
  maxEpoch: number;
  openCommands: OpenCommand[];
  wakeTableVersion: number | null;
  localHold: boolean;
};

export type ToExecutor =
  | { name: 'sync'; node: string; session: string; body: Signed }
  | { name: 'offer'; node: string; body: Offer }
  | { name: 'grant'; node: string; body: Signed }
  /** `reach`: what the agent saw in the network, where it was told whom to look for. */
  | { name: 'probe'; node: string; body: Probe; reach?: Observation }
  | { name: 'verdict'; node: string; body: Verdict }
  | { name: 'server'; body: Signed };

export type FromExecutor =
  | { name: 'claim'; node: string; body: Claim }
  | { name: 'report'; node: string; body: Report }
  /** What the executor contributes to `hello` is not what it was. */
  | { name: 'changed'; node: string }
  /** The executor is about to switch this host off: say goodbye within 2 s, then answer. */
  | { name: 'goodbye'; node: string };

/** What the agent may take from a sync after the executor has checked its signature. */
export type CheckedSync = {
  storedIncarnation: number;
  storedSeq: number;
  intervalMs: number;
};

export type ExecutorPort = {
  introduce(node: string): Promise<Introduction>;
  /** Resolves when the message has been journaled or dropped; a checked sync is returned. */
  deliver(message: ToExecutor): Promise<CheckedSync | undefined>;
  /** One listener, the agent's; a `goodbye` is awaited. */
  onOutgoing(listener: (message: FromExecutor) => void | Promise<void>): void;
  /** Unconfirmed reports are repeated from here on. */
  connected(node: string, online: boolean): void;
  close(): Promise<void>;
};
