/**
 * What the HTTP edge asks of the rest, as narrow types: main.ts passes the real parts, tests pass
 * small twins. Nothing here does anything.
 */
import type { CommandState } from '../../broker/contract/command.ts';
import type { Clock, Log, NewId, Random } from '../../broker/contract/ports.ts';
import type { ServerKey } from '../../broker/contract/server.ts';
import type { House, HouseAnswer } from '../act/house.ts';
import type { Submission } from '../act/planned.ts';
import type { WakeStanding } from '../act/prove-orders.ts';
import type { Quotas } from '../act/quota.ts';
import type { QuotaStanding } from '../act/quota-claims.ts';
import type { CommandEvent as ActEvent } from '../act/step.ts';
import type { WakerKind } from '../act/wake-ways.ts';
import type { Backtests } from '../backtest/backtests.ts';
import type { Emptying } from '../decide/emptying.ts';
import type { Joining } from '../joining.ts';
import type { Observation } from '../observe/metrics.ts';
import type { Fleet } from '../state/fleet.ts';
import type { Notifier } from '../notify/notifier.ts';
import type { Backups } from '../backup/backups.ts';
import type { Packages } from '../packages.ts';
import type { Secrets } from '../store/sql/secrets.ts';
import type { MetricsStore } from '../store/ports.ts';
import type { Database } from '../store/sql/database.ts';
import type { Enrolments } from '../store/sql/enrolments.ts';
import type { Refused } from '../refusal.ts';

export type { Refused, Submission, WakeStanding };

export type HttpConfig = {
  host: string;
  /** 0 = any free one. */
  port: number;
  /** True when nobody chose the port: a taken one then falls to a free one. */
  isDefaultPort: boolean;
  tls: { host: string; port: number; certificate: string; privateKey: string } | null;
  socketPath: string;
  /** Addresses or CIDR blocks whose X-Forwarded-For is believed; never a hop count. */
  trustedProxies: readonly string[];
  allow: readonly string[];
  deny: readonly string[];
  /** Origin under which browsers see us, when a proxy changes it; null = the Host header. */
  publicUrl: string | null;
  requestsPerMinute: { perAddress: number; perAccount: number };
};

/** A stream of commands needs no more of an event than this. */
export type CommandEvent = Omit<ActEvent, 'node' | 'guest'>;

export type StateAnswer = { ok: true; state: CommandState } | Refused;

/** What one rule looked at, and what it says against it. */
export type RehearsedVerdict = {
  id: string;
  facts: readonly { name: string; value: number | string | boolean | null }[];
  denial: { code: string; reason: string; wayOut: string } | null;
};

/** The part of act/commands.ts that people reach. */
export type CommandsFace = {
  submit(
    submission: Submission,
  ): Promise<{ ok: true; id: string; state: CommandState; replayed: boolean } | Refused>;
  /** What the guards would say of it, without any command. */
  rehearse(submission: Submission): Promise<
    | {
        ok: true;
        denial: { code: string; reason: string; wayOut: string } | null;
        verdicts: readonly RehearsedVerdict[];
      }
    | Refused
  >;
  cancel(id: string, actor: string): Promise<StateAnswer>;
  approve(id: string, actor: string): Promise<StateAnswer>;
  resolve(
    id: string,
    statement: { outcome: 'succeeded' | 'failed'; note: string; actor: string },
  ): Promise<StateAnswer>;
  /** A node that lost its journal may act again, after a person has looked. */
  confirmJournal(
    at: { cluster: string; node: string },
    actor: string,
  ): Promise<{ ok: true } | Refused>;
  proveWake(order: {
    cluster: string;
    node: string;
    cycles: number;
    waker: WakerKind;
    actor: string;
  }): Promise<{ ok: true; standing: WakeStanding } | Refused>;
  wakeStanding(at: {
    cluster: string;
    node: string;
  }): Promise<{ ok: true; standing: WakeStanding } | Refused>;
  endProving(
    at: { cluster: string; node: string },
    actor: string,
  ): Promise<{ ok: true; standing: WakeStanding } | Refused>;
  trustEngine(
    at: { cluster: string; node: string },
    actor: string,
  ): Promise<{ ok: true; standing: WakeStanding } | Refused>;
  quotaStanding(): Promise<QuotaStanding>;
  setQuotas(quotas: Quotas, actor: string): Promise<void>;
  houseNow(): Promise<House>;
  answerHouse(answer: HouseAnswer, actor: string): Promise<void>;
  /** `cluster` null = everything. */
  setHold(order: {
    cluster: string | null;
    hold: boolean;
    reason: string | null;
    actor: string;
  }): Promise<{ ok: true } | Refused>;
  isHeld(): boolean;
  onEvent(listener: (event: CommandEvent) => void): void;
};

export type EnrolmentsFace = Pick<Enrolments, 'createToken' | 'createCredentials' | 'revoke'>;

export type DecisionEvent = {
  id: string;
  cluster: string;
  atMs: number;
  outcome: string;
  summary: string;
};

export type Readiness = { name: string; ok: boolean };

export type HttpDeps = {
  config: HttpConfig;
  database: Database;
  fleet: () => Fleet;
  commands: CommandsFace;
  enrolments: EnrolmentsFace;
  /** null: this process runs nothing beside the server. */
  joining: Joining | null;
  /** Where daemons of other hosts come in; null without TLS. */
  mqttTlsUrl: string | null;
  metrics: Pick<MetricsStore, 'range' | 'missing' | 'total' | 'top' | 'events' | 'finestStepMs'>;
  backups: Pick<Backups, 'list' | 'make' | 'read' | 'last'>;
  packages: Packages;
  /** Seals what is nobody's to read. */
  secrets: Secrets;
  notifier: Pick<Notifier, 'store' | 'settings' | 'pricing' | 'seal' | 'test' | 'wake'>;
  backtests: Backtests;
  /** Who would leave a node for a maintenance; null: there is no such node. */
  emptying: (at: { cluster: string; node: string }) => Emptying | null;
  observation: Observation;
  /** What else must work before this process is of use: metrics store, broker, pipeline. */
  readiness: () => Promise<Readiness[]>;
  onDecision: (listener: (event: DecisionEvent) => void) => void;
  identity: { serverId: string; serverKeys: readonly ServerKey[] };
  /** Called once, when the first account exists and the set-up token is void. */
  onSetupDone: () => Promise<void>;
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
};
