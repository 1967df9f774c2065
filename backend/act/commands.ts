/**
 * The server side of the command protocol, as one object: people and the dispatcher submit,
 * nodes claim and report, loops relay and sweep. It keeps nothing that matters in memory, so it
 * may be killed at any point and another may go on from the rows.
 */
import { parse } from 'yaml';
import type { Message } from '../../broker/contract/messages.ts';
import type { Cancel, Clock, Log, NewId, Random } from '../../broker/contract/ports.ts';
import { sampleIntervalDefaultMs } from '../../broker/contract/limits.ts';
import type { ServerLink } from '../../broker/port.ts';
import { Policy } from '../decide/policy.ts';
import type { Fleet } from '../state/fleet.ts';
import type { CommandStore } from '../store/command-store.ts';
import { createAsked } from './asked.ts';
import { announce, type HoldOrder, type Holds, publishServer, readHolds, setHold } from './hold.ts';
import type { House, HouseAnswer, Identity } from './house.ts';
import { answerHouse, houseNow } from './house-orders.ts';
import { createLease, type Lease, renewEveryMs } from './lease.ts';
import { createInbox } from './inbox.ts';
import { createLoop } from './loop.ts';
import {
  approve,
  cancel,
  type Confirmed,
  confirmJournal,
  resolve,
  type StateAnswer,
  type Statement,
} from './orders.ts';
import {
  endProving,
  trustEngine,
  type NodeAt,
  type ProveOrder,
  proveWake,
  type Stood,
  wakeStanding,
} from './prove-orders.ts';
import { createReach } from './reach.ts';
import type { Refused } from '../refusal.ts';
import { answer } from './refusal.ts';
import { remembered } from './remembered.ts';
import { proveOnce, relayOnce, sweepOnce } from './rounds.ts';
import type { Signer } from './signer.ts';
import type { CommandEvent, Context, Counters, PolicyWords } from './step.ts';
import { createStormWatch } from './storm.ts';
import type { Submission } from './planned.ts';
import type { Quotas } from './quota.ts';
import { type QuotaStanding, quotaStanding, setQuotas } from './quota-claims.ts';
import { rehearse, type Rehearsed, submit, type Submitted } from './submit.ts';
import { recomputeDeadlines } from './takeover.ts';

export type CommandsDeps = {
  store: CommandStore;
  link: ServerLink;
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
  signer: Signer;
  /** Name of this installation in leases: the same after a restart, different for another. */
  owner: string;
  fleet: () => Fleet;
  watermark: (cluster: string, node: string) => { incarnation: number; seq: number };
  intervalMs?: (cluster: string, node: string) => number;
  /** The machines our own parts run on; none for a server that runs nowhere, as in simulations. */
  identities?: readonly Identity[];
  loadOf?: Context['loadOf'];
  memoryP99Of?: Context['memoryP99Of'];
};

export type CommandMessage = Message<'claim' | 'report' | 'hello' | 'presence'>;

export type Commands = {
  submit(submission: Submission): Promise<Submitted>;
  /** What guards would say of it, without any command. */
  rehearse(submission: Submission): Promise<Rehearsed>;
  cancel(id: string, actor: string): Promise<StateAnswer>;
  approve(id: string, actor: string): Promise<StateAnswer>;
  resolve(id: string, statement: Statement): Promise<StateAnswer>;
  confirmJournal(at: { cluster: string; node: string }, actor: string): Promise<Confirmed>;
  /** Begins to show, with a person at hand, that a node comes back when it is woken. */
  proveWake(order: ProveOrder): Promise<({ ok: true } & Stood) | Refused>;
  wakeStanding(at: NodeAt): Promise<({ ok: true } & Stood) | Refused>;
  endProving(at: NodeAt, actor: string): Promise<({ ok: true } & Stood) | Refused>;
  /** The watch over the engine's power-offs in this cluster counts as over. */
  trustEngine(at: NodeAt, actor: string): Promise<({ ok: true } & Stood) | Refused>;
  /** The limits of sizes, and what every guest takes of them. */
  quotaStanding(): Promise<QuotaStanding>;
  setQuotas(quotas: Quotas, actor: string): Promise<void>;
  /** Where our own parts run, and which of them nobody could find. */
  houseNow(): Promise<House>;
  answerHouse(answer: HouseAnswer, actor: string): Promise<void>;
  setHold(order: HoldOrder): Promise<{ ok: true } | Refused>;
  /** HOLD of everything, as last read. */
  isHeld(): boolean;
  /** Takes it and returns at once. */
  onMessage(message: CommandMessage): void;
  onEvent(listener: (event: CommandEvent) => void): void;
  lease: Lease;
  counters: Readonly<Counters>;
  start(): Promise<void>;
  stop(): Promise<void>;
};

const relayEveryMs = 250;
const sweepEveryMs = 1_000;
const stopWithinMs = 1_800;
const policiesKept = 256;

const noCounters = (): Counters => ({
  droppedMessages: 0,
  foreignMessages: 0,
  grants: 0,
  regrants: 0,
  silentClaims: 0,
  offers: 0,
  probes: 0,
  unaskedAnswers: 0,
  contradictions: 0,
  failedPublishes: 0,
});

function readPolicy(policyYaml: string): PolicyWords | null {
  try {
    const { windows, moves, scale } = Policy.parse(parse(policyYaml));
    return { windows, copyBytesPerSecond: moves.copyBytesPerSecond, sizes: scale.guests };
  } catch {
    return null;
  }
}

function createContext(deps: CommandsDeps, emit: Context['emit']): Context {
  const { store, clock, owner, fleet } = deps;
  const lease = createLease({ store, clock, owner, onTaken: recomputeDeadlines });
  return {
    ...deps,
    lease,
    reach: createReach(clock, fleet),
    asked: createAsked(clock),
    intervalMs: deps.intervalMs ?? (() => sampleIntervalDefaultMs),
    identities: deps.identities ?? [],
    loadOf: deps.loadOf ?? (() => Promise.resolve(null)),
    memoryP99Of: deps.memoryP99Of ?? (() => Promise.resolve(null)),
    policyOf: remembered(policiesKept, readPolicy),
    emit,
    counters: noCounters(),
  };
}

type HoldView = { now: Holds };

function createLoops(context: Context, holds: HoldView) {
  const { clock, log, link, lease } = context;
  let wasConnected = false;
  const watchStorms = createStormWatch(context);
  const relay = createLoop({
    name: 'relay',
    clock,
    log,
    everyMs: relayEveryMs,
    round: () => relayOnce(context),
  });
  const sweep = createLoop({
    name: 'sweep',
    clock,
    log,
    everyMs: sweepEveryMs,
    async round() {
      holds.now = await readHolds(context);
      // An external broker may have lost what it retained while it was away.
      if (link.isConnected() && !wasConnected) publishServer(context, holds.now);
      wasConnected = link.isConnected();
      await sweepOnce(context, holds.now);
      await proveOnce(context);
      await watchStorms();
    },
  });
  const renewal = createLoop({
    name: 'lease',
    clock,
    log,
    everyMs: renewEveryMs,
    round: () => lease.refresh(),
  });

  return { relay, sweep, renewal };
}

export function createCommands(deps: CommandsDeps): Commands {
  const listeners = new Set<(event: CommandEvent) => void>();
  const context = createContext(deps, (event) => {
    for (const listener of listeners) listener(event);
  });
  const { clock, log, lease, reach } = context;
  const inbox = createInbox(context);
  const holds: HoldView = { now: { all: false, clusters: [], version: 1 } };
  const { relay, sweep, renewal } = createLoops(context, holds);

  return {
    lease,
    counters: context.counters,
    async submit(submission) {
      const submitted = await submit(context, submission);
      if (submitted.ok && submitted.state === 'QUEUED') relay.wake();
      return submitted;
    },
    rehearse: (submission) => rehearse(context, submission),
    cancel: (id, actor) => cancel(context, id, actor),
    async approve(id, actor) {
      const approved = await approve(context, id, actor);
      relay.wake();
      return approved;
    },
    resolve: (id, statement) => resolve(context, id, statement),
    confirmJournal: (at, actor) => confirmJournal(context, at, actor),
    async proveWake(order) {
      const begun = await proveWake(context, order);
      sweep.wake();
      return begun;
    },
    wakeStanding: (at) => wakeStanding(context, at),
    endProving: (at, actor) => endProving(context, at, actor),
    quotaStanding: () => quotaStanding(context),
    setQuotas: (quotas, actor) => setQuotas(context, quotas, actor),
    trustEngine: (at, actor) => trustEngine(context, at, actor),
    houseNow: () => houseNow(context),
    answerHouse: (places, actor) => answerHouse(context, places, actor),
    setHold: (order) =>
      answer(async () => {
        holds.now = await setHold(context, order);
        await sweepOnce(context, holds.now);
        return { ok: true } as const;
      }),
    isHeld: () => holds.now.all,
    onMessage(message) {
      if (message.name === 'presence') {
        reach.presence(message);
        if (message.body.reason === 'shutdown') sweep.wake();
        return;
      }
      reach.heard(message);
      inbox.take(message);
      if (message.name === 'hello') relay.wake();
    },
    onEvent: (listener) => void listeners.add(listener),
    async start() {
      await announce(context);
      await lease.refresh();
      holds.now = await readHolds(context);
      for (const loop of [renewal, relay, sweep]) loop.start();
      // The first round publishes who we are; daemons wait for it.
      sweep.wake();
    },
    async stop() {
      let cancelLate: Cancel = () => undefined;
      const ended = Promise.all([relay, sweep, renewal].map((loop) => loop.stop()))
        .then(() => inbox.close())
        .then(() => lease.release())
        .catch((error: unknown) => log.warn({ err: error }, 'commands stopped uncleanly'));
      const late = new Promise<void>((done) => {
        cancelLate = clock.after(stopWithinMs, done);
      });
      await Promise.race([ended, late]);
      cancelLate();
    },
  };
}
