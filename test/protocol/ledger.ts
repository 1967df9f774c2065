/**
 * Everything the store has committed, in order: who wrote it, when, and what became of each row.
 * Judges read it; the backends' loops are let rest by it while nothing can be due. It learns from
 * the store alone, and never from what a backend believes.
 */
import type { CommandKind, CommandState } from '../../broker/contract/command.ts';

export type CommandRow = {
  id: string;
  cluster: string;
  kind: CommandKind;
  target_kind: 'node' | 'guest';
  target_id: string;
  executor: string;
  origin: 'person' | 'token' | 'engine' | 'system';
  state: CommandState;
  state_reason: string | null;
  ver: number;
  epoch: number;
  nonce: string | null;
  witnesses: string;
  granted_at_ms: number | null;
  started_at_ms: number | null;
  expires_at_ms: number;
  deadline_at_ms: number | null;
  next_probe_at_ms: number | null;
  alarmed_at_ms: number | null;
};

export type Change =
  | { table: 'commands'; row: CommandRow }
  | {
      table: 'command_history';
      row: { command_id: string; ver: number; state: CommandState; epoch: number; at_ms: number };
    }
  | { table: 'outbox'; row: { id: string; due_at_ms: number | null } }
  | {
      table: 'clusters';
      row: { id: string; hold: number; frozen_until_ms: number | null };
    }
  | { table: 'settings'; row: { name: string; value: string } }
  | { table: 'leases'; row: { cluster: string; owner: string; epoch: number } }
  | {
      table: 'targets';
      row: { cluster: string; kind: string; id: string; active_command: string | null };
    }
  | {
      table: 'nodes';
      row: { cluster: string; id: string; desired: 'awake' | 'asleep'; boot_id: string | null };
    }
  | { table: 'audit'; row: { chain: string; seq: number; action: string; subject: string } };

export type Line = CommandRow & { atMs: number };
export type By = { backend: string; atMs: number };

export type Ledger = {
  /** Grows with every commit that a loop could care about. */
  version: number;
  commits: number;
  commands: Map<string, CommandRow>;
  /** Those that have not ended. */
  open: Map<string, CommandRow>;
  /** Each command's rows as they were committed, oldest first. */
  lines: Map<string, Line[]>;
  epochs: Map<string, { owner: string; epoch: number }>;
  desired: Map<string, 'awake' | 'asleep'>;
  clusters: string[];
  /** The newest boot that each node's row tells of. */
  boots: Map<string, string | null>;
  /** Wall clock of the store at which a round of that loop may next have work; null: never. */
  nextDueMs(loop: 'relay' | 'sweep'): number | null;
  isHeld(cluster: string): boolean;
  absorb(changes: readonly Change[], by: By): void;
  onChange(listener: (changes: readonly Change[], by: By) => void): void;
  onVersion(listener: () => void): void;
};

const restful: ReadonlySet<string> = new Set([
  'SUCCEEDED',
  'FAILED',
  'REJECTED',
  'CANCELLED',
  'EXPIRED',
]);

/** What a round of relay or sweep could act on. */
const matters = ({ table }: Change): boolean => table !== 'audit' && table !== 'command_history';

export function createLedger(): Ledger {
  const commands = new Map<string, CommandRow>();
  const open = new Map<string, CommandRow>();
  const lines = new Map<string, Line[]>();
  const epochs = new Map<string, { owner: string; epoch: number }>();
  const desired = new Map<string, 'awake' | 'asleep'>();
  const clusters: string[] = [];
  const boots = new Map<string, string | null>();
  const outbox = new Map<string, number>();
  const held = new Set<string>();
  const changed: ((changes: readonly Change[], by: By) => void)[] = [];
  const versioned: (() => void)[] = [];

  function absorbOne(change: Change, atMs: number): void {
    switch (change.table) {
      case 'commands': {
        const { row } = change;
        commands.set(row.id, row);
        if (restful.has(row.state)) open.delete(row.id);
        else open.set(row.id, row);
        const known = lines.get(row.id);
        const line = { ...row, atMs };
        if (known) known.push(line);
        else lines.set(row.id, [line]);
        return;
      }
      case 'outbox':
        if (change.row.due_at_ms === null) outbox.delete(change.row.id);
        else outbox.set(change.row.id, change.row.due_at_ms);
        return;
      case 'clusters':
        if (!clusters.includes(change.row.id)) clusters.push(change.row.id);
        if (change.row.hold === 1) held.add(change.row.id);
        else held.delete(change.row.id);
        return;
      case 'settings':
        if (change.row.name !== 'hold') return;
        if ((JSON.parse(change.row.value) as { all: boolean }).all) held.add('*');
        else held.delete('*');
        return;
      case 'leases':
        epochs.set(change.row.cluster, change.row);
        return;
      case 'nodes':
        desired.set(`${change.row.cluster}/${change.row.id}`, change.row.desired);
        boots.set(`${change.row.cluster}/${change.row.id}`, change.row.boot_id);
        return;
      case 'command_history':
      case 'targets':
      case 'audit':
      default:
    }
  }
  const ledger: Ledger = {
    version: 0,
    commits: 0,
    commands,
    open,
    lines,
    epochs,
    desired,
    clusters,
    boots,
    nextDueMs(loop) {
      let due = Number.POSITIVE_INFINITY;
      if (loop === 'relay') {
        for (const dueMs of outbox.values()) due = Math.min(due, dueMs);
        return Number.isFinite(due) ? due : null;
      }
      for (const row of open.values()) {
        // A power-off that may have begun is looked at in every round.
        if (row.kind === 'node.shutdown' && row.granted_at_ms !== null) return 0;
        due = Math.min(due, row.deadline_at_ms ?? due, row.next_probe_at_ms ?? due);
      }
      return Number.isFinite(due) ? due : null;
    },
    isHeld: (cluster) => held.has('*') || held.has(cluster),
    absorb(changes, by) {
      ledger.commits += 1;
      if (changes.length === 0) return;
      for (const change of changes) absorbOne(change, by.atMs);
      for (const listener of changed) listener(changes, by);
      if (!changes.some(matters)) return;
      ledger.version += 1;
      for (const listener of versioned) listener();
    },
    onChange: (listener) => void changed.push(listener),
    onVersion: (listener) => void versioned.push(listener),
  };
  return ledger;
}
