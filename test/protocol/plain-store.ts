/** The store of the core tier: memory, a new one for each seed. */
import { createMemoryStore, type MemoryStore } from './memory-store.ts';
import type { Written } from './memory-store-tables.ts';
import type { Change } from './ledger.ts';
import { columns, firstRows, type SimStore } from './store.ts';

type Table = Change['table'];
type Row = Record<string, unknown>;

/** A new lease, or one that changed hands: renewals are no news. */
function isNews({ table, row, was }: Written): boolean {
  if (table === 'leases') return !was || was.owner !== row?.owner || was.epoch !== row.epoch;
  if (table !== 'nodes' || !was) return true;
  return was.desired !== row?.desired || was.boot_id !== row?.boot_id;
}

function changeOf(written: Written): Change[] {
  const wanted = columns[written.table as Table] as readonly string[] | undefined;
  if (!wanted || !isNews(written)) return [];
  if (written.table === 'outbox' && written.row === null) {
    return [{ table: 'outbox', row: { id: written.was?.id ?? '', due_at_ms: null } }];
  }
  const from = written.row as unknown as Row;
  const row: Row = {};
  for (const column of wanted) row[column] = from[column];
  return [{ table: written.table, row } as unknown as Change];
}

export function openPlainStore(): SimStore {
  let store: MemoryStore = createMemoryStore(() => 0);
  return {
    get reads() {
      return store.reads;
    },
    transaction: (work, atCommit) => {
      const own = store;
      return own.transaction(async (rows) => {
        const done = await work(rows);
        atCommit(own.written().flatMap(changeOf));
        return done;
      });
    },
    read: async () => ({
      rows: [...store.tables.commands.rows.values()],
      audit: [...store.tables.audit.rows.values()],
    }),
    async administration() {
      const { clusters, nodes, targets, commands } = store.tables;
      const activeKind = (cluster: string, id: string): string | null => {
        const active = targets.get(`${cluster} node ${id}`)?.active_command ?? null;
        return active === null ? null : (commands.get(active)?.kind ?? null);
      };
      return {
        clusters: [...clusters.rows.values()].map((row) => ({
          id: row.id,
          simulated: row.simulated === 1,
          timeScale: row.time_scale,
          hold: row.hold === 1,
          autonomy: JSON.parse(row.autonomy),
          policyHash: null,
          policyYaml: null,
        })),
        nodes: [...nodes.rows.values()].map((row) => ({
          cluster: row.cluster,
          node: row.id,
          desired: row.desired,
          maintenance: row.maintenance === 1,
          protected: row.protected === 1,
          activeKind: activeKind(row.cluster, row.id),
          hasSaidHello: row.facts_at_ms !== null,
        })),
      };
    },
    async begin(plans, nowMs) {
      store = createMemoryStore(nowMs);
      const { clusters, nodes, proofs } = firstRows(plans, nowMs());
      for (const row of clusters) store.tables.clusters.insert(row);
      for (const row of nodes) store.tables.nodes.insert(row);
      for (const row of proofs) store.tables.proofs.insert(row);
      return store.written().flatMap(changeOf);
    },
  };
}
