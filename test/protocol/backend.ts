/**
 * One backend that may die and stand still: the production command service over the shared store.
 * Death comes before or after a commit, drawn by seed; a pause falls between what it has read and
 * the transaction that acts on it, and may outlast its lease. A dead one says and writes no more.
 */
import { decode } from '../../broker/contract/codec.ts';
import type { Clock, NewId, Random } from '../../broker/contract/ports.ts';
import { type CommandMessage, type Commands, createCommands } from '../../backend/act/commands.ts';
import type { Signer } from '../../backend/act/signer.ts';
import type { Fleet } from '../../backend/state/fleet.ts';
import { commandStore } from '../../backend/store/sql/command-rows.ts';
import type { Database } from '../../backend/store/sql/database.ts';
import { memoryLog } from '../support/log.ts';

export type BackendDeps = {
  owner: string;
  clock: Clock;
  random: Random;
  newId: NewId;
  database: Database;
  signer: Signer;
  fleet: Fleet;
  publish: (topic: string, payload: string) => void;
};

export type Backend = {
  commands: Commands;
  isAlive(): boolean;
  /** Dies at its next transaction, on this side of the commit or the other. */
  killAtCommit(side: 'before' | 'after'): void;
  pauseNext(ms: number): void;
  hear(topic: string, payload: string): void;
};

const dead = new Promise<never>(() => undefined);
class Killed extends Error {
  override readonly name = 'Killed';
}

export function createBackend(deps: BackendDeps): Backend {
  const { clock, database } = deps;
  let isAlive = true;
  let killAt: 'before' | 'after' | null = null;
  let pauseMs = 0;

  const transaction: Database['transaction'] = async (work) => {
    if (pauseMs > 0) {
      const ms = pauseMs;
      pauseMs = 0;
      await new Promise<void>((resolve) => void clock.after(ms, resolve));
    }
    if (!isAlive) return dead;
    try {
      const result = await database.transaction(async (trx) => {
        const done = await work(trx);
        if (killAt === 'before' || !isAlive) {
          isAlive = false;
          throw new Killed('killed before the commit');
        }
        return done;
      });
      if (killAt === 'after') isAlive = false;
      return isAlive ? result : dead;
    } catch (error) {
      if (error instanceof Killed) return dead;
      throw error;
    }
  };
  const commands = createCommands({
    ...deps,
    store: commandStore({ ...database, transaction }),
    link: {
      async publish({ topic, payload }) {
        if (isAlive) deps.publish(topic, payload);
      },
      onMessage: () => undefined,
      isConnected: () => isAlive,
      close: async () => undefined,
    },
    clock: {
      ...clock,
      after: (delayMs, run) => clock.after(delayMs, () => (isAlive ? run() : undefined)),
    },
    log: memoryLog(),
    fleet: () => deps.fleet,
    watermark: () => ({ incarnation: 0, seq: 0 }),
  });
  return {
    commands,
    isAlive: () => isAlive,
    killAtCommit: (side) => void (killAt = side),
    pauseNext: (ms) => void (pauseMs = ms),
    hear(topic, payload) {
      if (!isAlive) return;
      const decoded = decode(topic, Buffer.from(payload));
      if (!decoded.ok) throw new Error(`node said ${topic}: ${JSON.stringify(decoded)}`);
      commands.onMessage(decoded.message as CommandMessage);
    },
  };
}
