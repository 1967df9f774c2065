/**
 * The command store in memory, held by the contract suite to what SQL does: transactions one
 * after another as under BEGIN IMMEDIATE, all of their writes or none, and reads that never see
 * half of one. It is made for many short lives: nothing is copied but the row that changes.
 */
import type { Verified } from '../../backend/audit/entry.ts';
import { verifyEntries } from '../../backend/audit/entry.ts';
import { activeStates, cancellableStates, openStates } from '../../backend/act/lifecycle.ts';
import {
  briefColumns,
  type CommandBrief,
  type CommandReads,
  type CommandRows,
  type CommandStore,
} from '../../backend/store/command-store.ts';
import { ConflictError } from '../../backend/store/sql/errors.ts';
import type { Commands } from '../../backend/store/sql/schema.ts';
import {
  auditRows,
  clusterRows,
  holdReads,
  leaseRows,
  limiterRows,
  type Memory,
  nodeRows,
  outboxRows,
  queueReads,
  targetRows,
} from './memory-store-rows.ts';
import { controlReads, controlRows } from './memory-store-control.ts';
import { createTables, rollBack, type Tables, type Written } from './memory-store-tables.ts';

const attemptsMax = 20;

const has = (states: readonly string[], { state }: Commands): boolean => states.includes(state);
const byAge = (a: CommandBrief, b: CommandBrief): number => a.planned_at_ms - b.planned_at_ms;
const isOver = (atMs: number | null, nowMs: number): boolean => atMs !== null && atMs <= nowMs;

/** The open ones where no other can be meant. */
const ofStates = ({ tables }: Memory, states: readonly string[]): Iterable<Commands> =>
  states.every((state) => (openStates as readonly string[]).includes(state))
    ? tables.commands.open.values()
    : tables.commands.rows.values();

const commandReads = ({
  tables: { commands },
  nowMs,
}: Memory): Pick<CommandReads, 'command' | 'dueCommands'> => ({
  command: async (id) => commands.get(id),
  async dueCommands(held, max) {
    const now = nowMs();
    const due: Commands[] = [];
    for (const row of commands.open.values()) {
      const isDue =
        isOver(row.deadline_at_ms, now) ||
        isOver(row.next_probe_at_ms, now) ||
        (row.kind === 'node.shutdown' && has(activeStates, row)) ||
        (held.includes(row.cluster) && has(cancellableStates, row));
      if (isDue) due.push(row);
    }
    return due
      .sort(byAge)
      .slice(0, max)
      .map(({ id, cluster }) => ({ id, cluster }));
  },
});

type Lookups = Pick<
  CommandRows,
  'commandByKey' | 'commandsByIds' | 'commandsAt' | 'commandsOf' | 'history'
>;

const briefOf = (row: Commands): CommandBrief =>
  Object.fromEntries(briefColumns.map((column) => [column, row[column]])) as CommandBrief;

const lookups = (memory: Memory): Lookups => ({
  commandByKey: async (key) => memory.tables.commands.byKey.get(key),
  async commandsByIds(cluster, ids) {
    const rows = ids.flatMap((id) => memory.tables.commands.get(id) ?? []);
    return rows.filter((row) => row.cluster === cluster).sort(byAge);
  },
  commandsAt: async ({ cluster, id }, states) =>
    [...ofStates(memory, states)]
      .filter((row) => row.cluster === cluster && has(states, row))
      .filter((row) => row.executor === id || (row.target_kind === 'node' && row.target_id === id))
      .sort(byAge),
  async commandsOf(cluster, { states, kinds, target, grantedAfterMs, finishedAfterMs }) {
    const isAfter = (atMs: number | null, afterMs: number | undefined): boolean =>
      afterMs === undefined || (atMs !== null && atMs > afterMs);
    return [...ofStates(memory, states)]
      .filter((row) => row.cluster === cluster && has(states, row))
      .filter(({ kind }) => kinds === undefined || kinds.includes(kind))
      .filter((row) => !target || (row.target_id === target.id && row.target_kind === target.kind))
      .filter((row) => isAfter(row.granted_at_ms, grantedAfterMs))
      .filter((row) => isAfter(row.finished_at_ms, finishedAfterMs))
      .sort(byAge)
      .map(briefOf);
  },
  history: async (id, ver) => memory.tables.history.get(`${id} ${ver}`),
});

type Writes = Pick<
  CommandRows,
  'insertCommand' | 'updateCommand' | 'postponeDeadlines' | 'probeSoon' | 'insertHistory'
>;

const writes = (memory: Memory): Writes => {
  const { commands, history } = memory.tables;
  return {
    insertCommand: async (row) => commands.insert(row),
    async updateCommand({ id, state, ver }, patch) {
      const was = commands.get(id);
      if (was?.state !== state || was.ver !== ver) return false;
      commands.update(was, { ...patch, ver: ver + 1 });
      return true;
    },
    async postponeDeadlines(clusters, states, untilMs) {
      for (const was of ofStates(memory, states)) {
        const isEarly = was.deadline_at_ms !== null && was.deadline_at_ms < untilMs;
        if (!isEarly || !clusters.includes(was.cluster) || !has(states, was)) continue;
        commands.update(was, { deadline_at_ms: untilMs, ver: was.ver + 1 });
      }
    },
    async probeSoon(clusters, atMs, executor) {
      for (const was of commands.open.values()) {
        const isLate = was.next_probe_at_ms !== null && was.next_probe_at_ms > atMs;
        if (!isLate || !clusters.includes(was.cluster)) continue;
        if (!has(['VERIFYING', 'INDETERMINATE'], was)) continue;
        if (executor !== undefined && was.executor !== executor) continue;
        commands.update(was, { next_probe_at_ms: atMs, ver: was.ver + 1 });
      }
    },
    insertHistory: async (line) => history.insert(line),
  };
};

const readsOf = (memory: Memory): CommandReads => ({
  ...commandReads(memory),
  ...holdReads(memory),
  ...queueReads(memory),
  ...controlReads(memory),
});

export type MemoryStore = CommandStore & {
  /** For what the port does not need: a fresh house, and whoever judges it. */
  tables: Tables;
  /** What the running transaction has written so far, in order. */
  written(): Written[];
  verifyChain(chain: string): Promise<Verified>;
};

export function createMemoryStore(nowMs: () => number): MemoryStore {
  const tables = createTables();
  const memory = { tables, nowMs };
  const reads = readsOf(memory);
  const rows: CommandRows = {
    ...reads,
    ...lookups(memory),
    ...writes(memory),
    ...clusterRows(memory),
    ...leaseRows(memory),
    ...nodeRows(memory),
    ...targetRows(memory),
    ...outboxRows(memory),
    ...limiterRows(memory),
    ...auditRows(memory),
    ...controlRows(memory),
  };
  let last: Promise<unknown> = Promise.resolve();
  const exclusive = <T>(work: () => Promise<T>): Promise<T> => {
    const own = last.then(work);
    last = own.catch(() => undefined);
    return own;
  };
  async function attempt<T>(work: (rows: CommandRows) => Promise<T>): Promise<T> {
    tables.log.length = 0;
    try {
      return await work(rows);
    } catch (error) {
      rollBack(tables);
      throw error;
    }
  }
  return {
    tables,
    written: () => tables.log.map(({ written }) => written),
    reads: {
      command: (id) => exclusive(() => reads.command(id)),
      clusterIds: () => exclusive(() => reads.clusterIds()),
      holds: () => exclusive(() => reads.holds()),
      dueOffers: (max) => exclusive(() => reads.dueOffers(max)),
      dueCommands: (held, max) => exclusive(() => reads.dueCommands(held, max)),
      runningCampaigns: () => exclusive(() => reads.runningCampaigns()),
      newestCampaign: (key) => exclusive(() => reads.newestCampaign(key)),
      wakeProofs: (key) => exclusive(() => reads.wakeProofs(key)),
      setting: (name) => exclusive(() => reads.setting(name)),
    },
    async transaction(work) {
      for (let attempts = 1; ; attempts += 1) {
        try {
          return await exclusive(() => attempt(work));
        } catch (error) {
          if (!(error instanceof ConflictError) || attempts >= attemptsMax) throw error;
        }
      }
    },
    verifyChain: (chain) =>
      verifyEntries(
        {
          auditHead: async (name) => tables.heads.get(name),
          auditRows: async (name, fromSeq, toSeq) =>
            Array.from({ length: toSeq - fromSeq + 1 }, (_, at) =>
              tables.audit.get(`${name} ${fromSeq + at}`),
            ).flatMap((row) => row ?? []),
        },
        chain,
      ),
  };
}
