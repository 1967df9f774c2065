/**
 * The only part of Kernreaktor that acts on a machine. It believes signed words of the server,
 * judges them by local facts, writes down what it is about to do, does it once, and reports until
 * it is heard. Invariant: an effect starts at most once per command id, whatever is lost, repeated
 * or crashes. After a failed journal it starts nothing until it is restarted on a sound disk.
 */
import { isTerminal } from '../../broker/contract/command.ts';
import { openCommandsMax } from '../../broker/contract/limits.ts';
import type { Cancel, NewId, Random } from '../../broker/contract/ports.ts';
import type { ServerKey } from '../../broker/contract/server.ts';
import { Actors } from './actors.ts';
import { type EffectDeps, Effects } from './effects.ts';
import type {
  CheckedSync,
  ExecutorPort,
  FromExecutor,
  Introduction,
  ToExecutor,
} from './executor-port.ts';
import { createFailAwake, type FailAwake } from './fail-awake.ts';
import { watchHold } from './hold-watch.ts';
import type { FilePort } from './files.ts';
import { createHold, type Hold } from './hold.ts';
import { Inbox } from './inbox.ts';
import { type Journal, openJournal } from './journal.ts';
import { gatherLocalWill } from './local-facts.ts';
import { isSettled, openCommandsOf } from './records.ts';
import { openWakeTable, type WakeTableStore } from './wake-table.ts';

export type ExecutorDeps = EffectDeps & {
  cluster: string;
  /** Where the journal lives; opened with the first introduction or message. */
  files: FilePort;
  /** At most two, during a rotation. */
  serverKeys: () => readonly ServerKey[];
  random: Random;
  newId: NewId;
  /** Tells the server within a second when this machine's HOLD file comes or goes. */
  watchesHold?: boolean;
};

/** An executor that outlives its agent. */
export type HostExecutor = ExecutorPort & {
  /** A new agent counts its samples from 1 again, within a new incarnation. */
  begin(): Promise<void>;
};

type Opened = {
  journal: Journal;
  actors: Actors;
  effects: Effects;
  inbox: Inbox;
  table: WakeTableStore;
  failAwake: FailAwake;
};

class Executor implements HostExecutor {
  readonly #deps: ExecutorDeps;
  readonly #hold: Hold;
  readonly #online = new Set<string>();
  /** node -> commands from before its session: only these can be missing from its sync. */
  readonly #earlier = new Map<string, Set<string>>();
  #listener: (message: FromExecutor) => void | Promise<void> = () => undefined;
  #opening: Promise<Opened> | null = null;
  #parts: Opened | null = null;
  #unwatch: Cancel = () => undefined;

  constructor(deps: ExecutorDeps) {
    this.#deps = deps;
    this.#hold = createHold(deps.cluster);
  }

  async introduce(node: string): Promise<Introduction> {
    const { journal, actors, table } = await this.#opened();
    const open = actors.of(node).filter((command) => !isSettled(command));
    const openCommands = openCommandsOf(open).slice(0, openCommandsMax);
    const { incarnation, maxEpoch } = journal.state;
    return {
      journalId: journal.journalId,
      incarnation,
      maxEpoch,
      openCommands,
      wakeTableVersion: table.current()?.table.version ?? null,
      localHold: await this.#isStoppedHere(journal),
    };
  }

  async begin(): Promise<void> {
    const { journal } = await this.#opened();
    const incarnation = journal.state.incarnation + 1;
    await journal.append([{ type: 'opened', incarnation, atMs: this.#deps.clock.wallMs() }]);
  }

  async deliver(message: ToExecutor): Promise<CheckedSync | undefined> {
    const { inbox, effects, table } = await this.#opened();
    if (message.name === 'verdict' && isTerminal(message.body.state)) {
      effects.callOver(message.body.commandId);
    }
    if (message.name === 'verdict' && message.body.state === 'CANCELLING') {
      effects.callBack(message.body.commandId);
    }
    const before = table.current()?.table.version;
    const checked = await inbox.take(message);
    // Nobody in the table may sleep before the server knows that we hold it.
    const isConfirmed = message.name === 'sync' && table.current()?.table.version !== before;
    if (isConfirmed) void this.#listener({ name: 'changed', node: message.node });
    return checked;
  }

  onOutgoing(listener: (message: FromExecutor) => void | Promise<void>): void {
    this.#listener = listener;
  }

  connected(node: string, online: boolean): void {
    if (online) {
      this.#online.add(node);
      const known = this.#parts?.actors.of(node);
      if (known) this.#earlier.set(node, new Set(known.map(({ commandId }) => commandId)));
    } else {
      this.#online.delete(node);
    }
    this.#parts?.failAwake.server(this.#online.size > 0);
    void this.#reconnect(node);
  }

  async close(): Promise<void> {
    const parts = await this.#opening?.catch(() => undefined);
    this.#unwatch();
    parts?.failAwake.close();
    parts?.effects.close();
    await parts?.actors.close();
    await parts?.journal.close();
  }

  #opened(): Promise<Opened> {
    this.#opening ??= this.#open();
    return this.#opening;
  }

  async #open(): Promise<Opened> {
    const { cluster, files, newId, random, clock, log, hypervisor, serverKeys } = this.#deps;
    const hold = this.#hold;
    const journal = await openJournal({ files, newId, wallMs: () => clock.wallMs(), log });
    const effects = new Effects({
      deps: this.#deps,
      hold,
      journal,
      post: (node, commandId, input) => actors.post(node, commandId, input),
      say: (message) => {
        if (this.#online.has(message.node)) void this.#listener(message);
      },
      goodbye: async (node) => {
        if (this.#online.has(node)) await this.#listener({ name: 'goodbye', node });
      },
    });
    const actors: Actors = new Actors({
      journal,
      clock,
      random,
      isOnline: (node) => this.#online.has(node),
      onEffect: (command, effect) => effects.run(command, effect),
      onChange: (command) => effects.release(command),
    });
    for (const command of actors.recover()) {
      const { node, commandId } = command;
      this.#earlier.set(node, (this.#earlier.get(node) ?? new Set()).add(commandId));
      effects.recover(command);
    }
    const own = { cluster, hypervisor, serverKeys, log, earlier: this.#earlier };
    const table = await openWakeTable({ files, cluster, serverKeys, log });
    const inbox = new Inbox({ ...own, hold, journal, actors, table });
    const isHeldByServer = () => hold.isHeld();
    const failAwake = createFailAwake({ ...this.#deps, store: table, isHeldByServer });
    failAwake.server(this.#online.size > 0);
    if (this.#deps.watchesHold === true) {
      this.#unwatch = watchHold(this.#deps, () => {
        for (const node of this.#online) void this.#listener({ name: 'changed', node });
      });
    }
    this.#parts = { journal, actors, effects, inbox, table, failAwake };
    return this.#parts;
  }

  async #reconnect(node: string): Promise<void> {
    const parts = await this.#opening?.catch(() => undefined);
    await parts?.actors.reconnect(node);
  }

  /** What stops every command on this machine, as far as the server should know. */
  async #isStoppedHere(journal: Journal): Promise<boolean> {
    if (journal.hasFailed()) return true;
    const { isHeldHere, policy } = await gatherLocalWill(this.#deps);
    return isHeldHere || !policy.ok;
  }
}

/** `introduce` and `deliver` reject with JournalError when the journal cannot be opened. */
export const createExecutor = (deps: ExecutorDeps): HostExecutor => new Executor(deps);
