/**
 * One backend that may die and stand still: the production command service over the shared store,
 * and its own picture of the fleet, folded by the production reducer from what the network brings.
 * It dies before or after a commit; a pause falls between what it has read and the transaction
 * that acts on it, or stops the whole process, and may outlast its lease. A dead one says and
 * writes no more.
 */
import type { Clock, NewId } from '../../broker/contract/ports.ts';
import { type Commands, createCommands } from '../../backend/act/commands.ts';
import type { Signer } from '../../backend/act/signer.ts';
import { emptyFleet, type Fleet } from '../../backend/state/fleet.ts';
import { reduce } from '../../backend/state/reduce.ts';
import type { CommandRows, CommandStore } from '../../backend/store/command-store.ts';
import { memoryLog } from '../support/log.ts';
import type { Chance } from './chance.ts';
import type { Change, Ledger } from './ledger.ts';
import { restful } from './loops.ts';
import type { SimStore } from './store.ts';
import type { BackendEnd, NodeMessage } from './wire.ts';

export type BackendDeps = {
  name: string;
  owner: string;
  clock: Clock;
  chance: Chance;
  newId: NewId;
  store: SimStore;
  ledger: Ledger;
  signer: Signer;
  publish: (topic: string, payload: string) => void;
  /** The broker cannot be reached from here. */
  isCut: () => boolean;
};

export type Backend = BackendEnd & {
  commands: Commands;
  fleet: Fleet;
  /** Arrival of the newest sample of a node, `<cluster>/<node>`. */
  sampledAtMs: Map<string, number>;
  isAlive(): boolean;
  kill(): void;
  /** Nothing more is to happen to it. */
  spare(): void;
  /** Dies at so many transactions from now, on this side of the commit or the other. */
  killAtCommit(side: 'before' | 'after', transactions: number): void;
  /** One of the next transactions stands still before its first statement. */
  pauseAt(transactions: number, ms: number): void;
  /** The whole process stands still. */
  freeze(ms: number): void;
};

/** A new one each time: whoever waits for a shared one is kept in memory by it for ever. */
const never = (): Promise<never> => new Promise(() => undefined);
const tickMs = 1_000;
/** What the picture takes from the store. */
const administrative: ReadonlySet<Change['table']> = new Set(['clusters', 'nodes', 'targets']);
const isAdministrative = ({ table }: Change): boolean => administrative.has(table);
class Killed extends Error {
  override readonly name = 'Killed';
}

/** What changes who can be spoken to; of the rest a loop sees what was committed because of it. */
const mayStir = ({ name, body }: NodeMessage): boolean =>
  name === 'hello' || (name === 'presence' && body.reason !== 'alive');

type Work<T> = (rows: CommandRows) => Promise<T>;

/**
 * The work has begun and looked at what this process believes, but its first statement has not
 * reached the store: that is where a standing process does harm. A second attempt begins anew.
 */
function beginEarly<T>(work: Work<T>): Work<T> {
  let arrive: (rows: CommandRows) => void = () => undefined;
  const arrived = new Promise<CommandRows>((resolve) => {
    arrive = resolve;
  });
  const later = new Proxy({} as CommandRows, {
    get:
      (_none, name: keyof CommandRows) =>
      async (...given: never[]) => {
        const rows = await arrived;
        return (rows[name] as (...all: never[]) => Promise<unknown>)(...given);
      },
  });
  let early: Promise<T> | null = work(later);
  // Who fails before its first statement is heard when the pause is over.
  early.catch(() => undefined);
  return (rows) => {
    const first = early;
    early = null;
    arrive(rows);
    return first ?? work(rows);
  };
}

export function createBackend(deps: BackendDeps): Backend {
  const { clock, store, ledger, name, owner } = deps;
  const fleet = emptyFleet();
  const sampledAtMs = new Map<string, number>();
  let isAlive = true;
  let doomed: { side: 'before' | 'after'; transactions: number } | null = null;
  let paused: { ms: number; transactions: number } | null = null;
  let frozenUntilMs = 0;
  let isRefreshing = false;

  /** A standing process does what was due as soon as it goes on. */
  const alive = (run: () => void | Promise<void>): void | Promise<void> => {
    if (!isAlive) return undefined;
    const leftMs = frozenUntilMs - clock.monotonicMs();
    if (leftMs > 0) return void clock.after(leftMs, () => alive(run));
    return run();
  };
  const isLast = (side: 'before' | 'after'): boolean => {
    if (doomed?.side !== side) return false;
    doomed.transactions -= 1;
    return doomed.transactions <= 0;
  };
  const atCommit = (changes: Change[]): void => {
    if (isLast('before')) isAlive = false;
    if (!isAlive) throw new Killed('killed before the commit');
    ledger.absorb(changes, { backend: owner, atMs: clock.monotonicMs() });
  };
  /** How long this transaction is kept from its first statement. */
  const takePause = (): number => {
    const leftMs = Math.max(0, frozenUntilMs - clock.monotonicMs());
    if (!paused) return leftMs;
    paused.transactions -= 1;
    if (paused.transactions > 0) return leftMs;
    const { ms } = paused;
    paused = null;
    return Math.max(ms, leftMs);
  };
  const transaction: CommandStore['transaction'] = async (work) => {
    const pauseMs = takePause();
    const begun = pauseMs > 0 ? beginEarly(work) : work;
    if (pauseMs > 0) await new Promise<void>((resolve) => void clock.after(pauseMs, resolve));
    if (!isAlive) return never();
    try {
      const result = await store.transaction(begun, atCommit);
      if (isLast('after')) isAlive = false;
      return isAlive ? result : never();
    } catch (error) {
      if (error instanceof Killed) return never();
      throw error;
    }
  };
  const own = restful({
    clock: { ...clock, after: (ms, run) => clock.after(ms, () => alive(run)) },
    ledger,
    mayLead: () =>
      commands.lease.leadsAny() || ledger.clusters.some((id) => commands.lease.mayTake(id)),
  });
  const commands = createCommands({
    store: { reads: store.reads, transaction },
    owner,
    random: deps.chance,
    newId: deps.newId,
    signer: deps.signer,
    link: {
      async publish({ topic, payload }) {
        if (isAlive) deps.publish(topic, payload);
      },
      onMessage: () => undefined,
      isConnected: () => isAlive && !deps.isCut(),
      close: async () => undefined,
    },
    clock: own,
    log: memoryLog(),
    fleet: () => fleet,
    watermark: () => ({ incarnation: 0, seq: 0 }),
    // Hosts of this world idle, now and in the past: what the metrics store would say of them.
    loadOf: () => Promise.resolve({ cpuRatio: 0.05, memoryUsedBytes: 4 * 2 ** 30 }),
    intervalMs: () => 15_000,
  });

  /** What the pipeline's tick does, within a second of what was committed. */
  const refresh = (): void => {
    if (isRefreshing) return;
    isRefreshing = true;
    own.after(tickMs + 1, async () => {
      isRefreshing = false;
      reduce(fleet, { kind: 'administration', ...(await store.administration()) });
    });
  };
  const take = (message: NodeMessage): void => {
    const atMs = clock.monotonicMs();
    if (message.name === 'telemetry') {
      reduce(fleet, { kind: message.name, atMs, message });
      sampledAtMs.set(`${message.cluster}/${message.node}`, atMs);
      return;
    }
    if (message.name === 'hello') reduce(fleet, { kind: message.name, atMs, message });
    if (message.name === 'presence') reduce(fleet, { kind: message.name, atMs, message });
    if (mayStir(message)) own.stir();
    commands.onMessage(message);
  };
  ledger.onChange((changes) => {
    if (changes.some(isAdministrative)) refresh();
  });
  refresh();
  void commands.start();
  return {
    name,
    commands,
    fleet,
    sampledAtMs,
    isAlive: () => isAlive,
    kill: () => void (isAlive = false),
    spare() {
      doomed = null;
      paused = null;
      frozenUntilMs = 0;
    },
    killAtCommit: (side, transactions) => void (doomed = { side, transactions }),
    pauseAt: (transactions, ms) => void (paused = { transactions, ms }),
    freeze: (ms) => void (frozenUntilMs = clock.monotonicMs() + ms),
    hear: (message) => void alive(() => take(message)),
  };
}
