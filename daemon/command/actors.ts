/**
 * The living commands: each has a queue of its own, so that its inputs meet the machine one after
 * another while others go on. Invariant: what follows a `journal` effect happens only after it is
 * durable, and after a failed journal nothing happens any more. A settled command leaves memory;
 * the journal knows it still. Timers exist only while a command waits for one.
 */
import type { Cancel, Clock, Random } from '../../broker/contract/ports.ts';
import { type Command, type Effect, type Input, type Moment, nextDueMs } from './command-state.ts';
import type { Journal } from './journal.ts';
import { step } from './machine.ts';
import { fromRecord, isSettled, toRecord } from './records.ts';

export type ActorDeps = {
  journal: Journal;
  clock: Clock;
  random: Random;
  isOnline: (node: string) => boolean;
  /** Must not wait for the command's own queue. */
  onEffect: (command: Command, effect: Exclude<Effect, { type: 'journal' }>) => void;
  onChange: (command: Command) => void;
};

type Slot = {
  readonly node: string;
  readonly commandId: string;
  command: Command | undefined;
  tail: Promise<void>;
  waiting: number;
  cancel: Cancel | null;
};

const isWaiting = ({ phase }: Command): boolean => phase === 'received' || phase === 'claiming';

const nonceBytes = 16;
const keyOf = (node: string, commandId: string): string => `${commandId}@${node}`;

export class Actors {
  readonly #deps: ActorDeps;
  readonly #slots = new Map<string, Slot>();
  #isClosed = false;

  constructor(deps: ActorDeps) {
    this.#deps = deps;
  }

  /** Resolves when the input was obeyed, durably, or had no meaning. */
  post(node: string, commandId: string, input: Input): Promise<void> {
    const slot = this.#slotOf(node, commandId);
    slot.waiting += 1;
    slot.tail = this.#obeyAfter(slot.tail, slot, input);
    return slot.tail;
  }

  /** Every command of the node that is not settled. */
  of(node: string): Command[] {
    const slots = [...this.#slots.values()].filter((slot) => slot.node === node);
    return slots.flatMap(({ command }) => command ?? []);
  }

  /** How many of the node's commands wait for a grant, those just arriving included. */
  unstarted(node: string): number {
    const slots = [...this.#slots.values()].filter((slot) => slot.node === node);
    return slots.filter(({ command }) => !command || isWaiting(command)).length;
  }

  isKnown(node: string, commandId: string): boolean {
    const slot = this.#slots.get(keyOf(node, commandId));
    return slot?.command !== undefined || this.#deps.journal.state.commands.has(commandId);
  }

  /** Brings back what the journal holds unsettled, once, before the first input. */
  recover(): Command[] {
    return [...this.#deps.journal.state.commands.values()].flatMap(({ node, commandId }) => {
      const command = this.#remembered(node, commandId);
      if (!command || isSettled(command)) return [];
      this.#arm(this.#slotOf(node, commandId));
      return [command];
    });
  }

  /** The node went online or offline: what may be lost is said again, or its timers rest. */
  async reconnect(node: string): Promise<void> {
    const type = this.#deps.isOnline(node) ? 'online' : 'due';
    await Promise.all(this.of(node).map(({ commandId }) => this.post(node, commandId, { type })));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const slots = [...this.#slots.values()];
    for (const slot of slots) slot.cancel?.();
    await Promise.all(slots.map((slot) => slot.tail));
  }

  #isStopped(): boolean {
    return this.#isClosed || this.#deps.journal.hasFailed();
  }

  #moment({ node, commandId }: Pick<Slot, 'node' | 'commandId'>): Moment {
    const { journal, clock, random } = this.#deps;
    return {
      commandId,
      node,
      nowMs: clock.monotonicMs(),
      ratio: random.ratio(),
      get nonce() {
        return Buffer.from(random.bytes(nonceBytes)).toString('hex');
      },
      journalId: journal.journalId,
      incarnation: journal.state.incarnation,
    };
  }

  #remembered(node: string, commandId: string): Command | undefined {
    const record = this.#deps.journal.state.commands.get(commandId);
    return record?.node === node ? fromRecord(record, this.#moment(record)) : undefined;
  }

  #slotOf(node: string, commandId: string): Slot {
    const known = this.#slots.get(keyOf(node, commandId));
    if (known) return known;
    const command = this.#remembered(node, commandId);
    const tail = Promise.resolve();
    const slot: Slot = { node, commandId, command, tail, waiting: 0, cancel: null };
    this.#slots.set(keyOf(node, commandId), slot);
    return slot;
  }

  async #obeyAfter(earlier: Promise<void>, slot: Slot, input: Input): Promise<void> {
    await earlier;
    if (!this.#isStopped()) await this.#obey(slot, input);
    slot.waiting -= 1;
    this.#arm(slot);
    const isIdle = slot.waiting === 0 && (!slot.command || isSettled(slot.command));
    if (isIdle) this.#slots.delete(keyOf(slot.node, slot.commandId));
  }

  async #obey(slot: Slot, input: Input): Promise<void> {
    const next = step(slot.command, input, this.#moment(slot));
    if (!next) return;
    for (const effect of next.effects) {
      if (effect.type === 'journal') {
        if (!(await this.#remember(next.command))) return;
      } else {
        slot.command = next.command;
        this.#deps.onEffect(next.command, effect);
      }
    }
    slot.command = next.command;
    this.#deps.onChange(next.command);
  }

  /** False when it is not durable: then the command stays where it was, for ever. */
  async #remember(command: Command): Promise<boolean> {
    const { journal, clock } = this.#deps;
    const record = toRecord(command, clock.wallMs());
    try {
      await journal.append([{ type: 'command', command: record }]);
      return !this.#isClosed;
    } catch {
      return false;
    }
  }

  #arm(slot: Slot): void {
    const { clock, isOnline } = this.#deps;
    slot.cancel?.();
    slot.cancel = null;
    const dueMs = slot.command ? nextDueMs(slot.command, isOnline(slot.node)) : null;
    if (dueMs === null || this.#isStopped()) return;
    const delayMs = Math.max(0, dueMs - clock.monotonicMs());
    slot.cancel = clock.after(delayMs, () => this.post(slot.node, slot.commandId, { type: 'due' }));
  }
}
