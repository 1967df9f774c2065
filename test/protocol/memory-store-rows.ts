/** Clusters, leases, nodes, targets, outbox and limiter of the command store, in memory. */
import {
  type CommandReads,
  type CommandRows,
  holdSetting,
  type TargetKey,
} from '../../backend/store/command-store.ts';
import { unseenNode } from '../../backend/store/sql/clusters.ts';
import { ConflictError } from '../../backend/store/sql/errors.ts';
import type { Audit, Clusters, Commands, Targets } from '../../backend/store/sql/schema.ts';
import type { Tables } from './memory-store-tables.ts';

export type Memory = { tables: Tables; nowMs: () => number };

const waits = ({ state }: Commands): boolean => state === 'QUEUED' || state === 'OFFERED';
const targetKey = ({ cluster, kind, id }: TargetKey): string => `${cluster} ${kind} ${id}`;
const isOn = (row: Commands, target: Targets): boolean =>
  row.target_id === target.id && row.target_kind === target.kind && row.cluster === target.cluster;

/** The command that a due outbox line may offer now. */
function mayOffer({ tables }: Memory, row: Commands | undefined): boolean {
  if (!row || !waits(row)) return false;
  const { cluster, target_kind: kind, target_id: id } = row;
  const target = tables.targets.get(targetKey({ cluster, kind, id }));
  if (!target || (target.active_command !== null && row.kind !== 'node.wake')) return false;
  for (const other of tables.commands.open.values()) {
    if (waits(other) && other.generation < row.generation && isOn(other, target)) return false;
  }
  return true;
}

export const queueReads = (memory: Memory): Pick<CommandReads, 'dueOffers'> => ({
  async dueOffers(max) {
    const { outbox, commands } = memory.tables;
    if (outbox.rows.size === 0) return [];
    const nowMs = memory.nowMs();
    return [...outbox.rows.values()]
      .filter(({ due_at_ms }) => due_at_ms <= nowMs)
      .filter((line) => mayOffer(memory, commands.get(line.command_id)))
      .sort((a, b) => a.due_at_ms - b.due_at_ms)
      .slice(0, max)
      .map(({ id, cluster, command_id, node, attempts }) => ({
        id,
        cluster,
        command_id,
        node,
        attempts,
      }));
  },
});

export const holdReads = ({ tables }: Memory): Pick<CommandReads, 'clusterIds' | 'holds'> => ({
  clusterIds: async () => [...tables.clusters.rows.keys()],
  async holds() {
    const setting = tables.settings.get(holdSetting);
    const held = [...tables.clusters.rows.values()].filter(({ hold }) => hold === 1);
    return {
      setting: setting ? { value: setting.value, ver: setting.ver } : null,
      clusters: held.map(({ id }) => id).sort(),
    };
  },
});

type ClusterRows = Pick<
  CommandRows,
  'nowMs' | 'passFence' | 'openCluster' | 'updateCluster' | 'countHold'
>;

export const clusterRows = ({ tables, nowMs }: Memory): ClusterRows => ({
  nowMs: async () => nowMs(),
  async passFence({ cluster, owner, epoch }) {
    const lease = tables.leases.get(cluster);
    if (lease?.owner !== owner || lease.epoch !== epoch) return false;
    tables.leases.update(lease, { ver: lease.ver + 1 });
    return true;
  },
  async openCluster(id) {
    const cluster = tables.clusters.get(id);
    const hold = tables.settings.get(holdSetting)?.value ?? null;
    return cluster && { cluster, hold, nowMs: nowMs() };
  },
  async updateCluster(id, patch: Partial<Clusters>) {
    const was = tables.clusters.get(id);
    if (was) tables.clusters.update(was, { ...patch, ver: was.ver + 1 });
    return was !== undefined;
  },
  async countHold(value, first) {
    const was = tables.settings.get(holdSetting);
    if (was) return tables.settings.update(was, { value: value ?? was.value, ver: was.ver + 1 });
    tables.settings.insert({ name: holdSetting, value: value ?? first, ver: 1 });
  },
});

type LeaseRows = Pick<
  CommandRows,
  'renewLeases' | 'leaseCandidates' | 'takeLease' | 'expireLeases'
>;

export const leaseRows = ({ tables, nowMs }: Memory): LeaseRows => ({
  async renewLeases(owner, forMs, cluster) {
    for (const was of tables.leases.rows.values()) {
      if (was.owner !== owner || (cluster !== undefined && was.cluster !== cluster)) continue;
      tables.leases.update(was, { expires_at_ms: nowMs() + forMs, ver: was.ver + 1 });
    }
  },
  async leaseCandidates(cluster) {
    const ids = [...tables.clusters.rows.keys()];
    return ids
      .filter((id) => cluster === undefined || id === cluster)
      .map((id) => {
        const { owner = null, epoch = null, expires_at_ms = null } = tables.leases.get(id) ?? {};
        return { cluster: id, owner, epoch, expires_at_ms, now_ms: nowMs() };
      });
  },
  async takeLease({ cluster, epoch, now_ms }, owner, forMs) {
    const was = tables.leases.get(cluster);
    const expires_at_ms = now_ms + forMs;
    if (epoch === null) {
      if (was) return false;
      tables.leases.insert({ cluster, owner, epoch: 1, expires_at_ms, ver: 1 });
      return true;
    }
    if (was?.epoch !== epoch || (was.owner !== owner && was.expires_at_ms >= now_ms)) return false;
    tables.leases.update(was, { owner, epoch: epoch + 1, expires_at_ms, ver: was.ver + 1 });
    return true;
  },
  async expireLeases(owner, held) {
    for (const { cluster, epoch } of held) {
      const was = tables.leases.get(cluster);
      if (was?.owner !== owner || was.epoch !== epoch) continue;
      tables.leases.update(was, { expires_at_ms: 0, ver: was.ver + 1 });
    }
  },
});

type NodeRows = Pick<
  CommandRows,
  'node' | 'neighbours' | 'countNodes' | 'ensureNode' | 'updateNode'
>;

export const nodeRows = ({ tables: { nodes } }: Memory): NodeRows => ({
  node: async ({ cluster, id }) => nodes.get(`${cluster} ${id}`),
  neighbours: async (of) =>
    [...nodes.rows.values()]
      .filter(({ cluster, id }) => cluster === of.cluster && id !== of.id)
      .filter(({ driver }) => driver !== null)
      .sort((a, b) => (a.id < b.id ? -1 : 1)),
  async countNodes(cluster) {
    let total = 0;
    for (const row of nodes.rows.values()) if (row.cluster === cluster) total += 1;
    return total;
  },
  async ensureNode({ cluster, id }, atMs) {
    if (!nodes.get(`${cluster} ${id}`)) nodes.insert(unseenNode(cluster, id, atMs));
  },
  async updateNode({ cluster, id }, patch, expected) {
    const was = nodes.get(`${cluster} ${id}`);
    if (!was || (expected && expected.ver !== was.ver)) return false;
    nodes.update(was, { ...patch, ver: was.ver + 1 });
    return true;
  },
});

type TargetRows = Pick<CommandRows, 'target' | 'nextGeneration' | 'updateTarget'>;

const untouched = { active_command: null, paused_until_ms: null, paused_by: null };

export const targetRows = ({ tables: { targets, commands } }: Memory): TargetRows => ({
  async target(key) {
    const row = targets.get(targetKey(key));
    if (!row) return undefined;
    const holder = row.active_command === null ? undefined : commands.get(row.active_command);
    const active = holder ? { id: holder.id, kind: holder.kind, state: holder.state } : null;
    return { ...row, active };
  },
  async nextGeneration(key) {
    const was = targets.get(targetKey(key));
    const generation = (was?.generation ?? 0) + 1;
    const { cluster, kind, id } = key;
    if (was) targets.update(was, { generation, ver: was.ver + 1 });
    else targets.insert({ cluster, kind, id, ...untouched, generation, ver: 1 });
    return generation;
  },
  async updateTarget(key, patch, expected) {
    const was = targets.get(targetKey(key));
    if (!was) return false;
    if (expected && 'ver' in expected && expected.ver !== was.ver) return false;
    if (
      expected &&
      'active_command' in expected &&
      expected.active_command !== was.active_command
    ) {
      return false;
    }
    targets.update(was, { ...patch, ver: was.ver + 1 });
    return true;
  },
});

type OutboxRows = Pick<CommandRows, 'insertOutbox' | 'noteOffered' | 'dropOutbox' | 'offerSoon'>;

export const outboxRows = ({ tables: { outbox } }: Memory): OutboxRows => ({
  insertOutbox: async (line) => outbox.insert(line),
  async noteOffered(id, { dueAtMs, publishedAtMs }) {
    const was = outbox.get(id);
    if (!was) return;
    outbox.update(was, {
      attempts: was.attempts + 1,
      due_at_ms: dueAtMs,
      published_at_ms: publishedAtMs,
      ver: was.ver + 1,
    });
  },
  async dropOutbox(commandId) {
    for (const was of outbox.rows.values()) if (was.command_id === commandId) outbox.drop(was);
  },
  async offerSoon({ cluster, id }, atMs) {
    for (const was of outbox.rows.values()) {
      if (was.cluster !== cluster || was.node !== id || was.due_at_ms <= atMs) continue;
      outbox.update(was, { due_at_ms: atMs, ver: was.ver + 1 });
    }
  },
});

type LimiterRows = Pick<CommandRows, 'limiterSlots' | 'takeSlot' | 'forgetSlots'>;

export const limiterRows = ({ tables: { limiter } }: Memory): LimiterRows => ({
  limiterSlots: async (cluster, buckets) =>
    buckets.flatMap((bucket) => limiter.get(`${cluster} ${bucket}`) ?? []),
  async takeSlot({ cluster, bucket, ver }, atMs) {
    const was = limiter.get(`${cluster} ${bucket}`);
    if ((was?.ver ?? null) !== ver) return false;
    const taken = { tokens: 0, updated_at_ms: atMs };
    if (was) limiter.update(was, { ...taken, ver: was.ver + 1 });
    else limiter.insert({ cluster, bucket, ...taken, ver: 1 });
    return true;
  },
  async forgetSlots(cluster, beforeMs) {
    for (const was of limiter.rows.values()) {
      if (was.cluster === cluster && was.updated_at_ms < beforeMs) limiter.drop(was);
    }
  },
});

type AuditTables = Pick<CommandRows, 'takeAuditHead' | 'appendAuditRow'>;

export const auditRows = ({ tables: { heads, audit } }: Memory): AuditTables => ({
  async takeAuditHead(chain) {
    const was = heads.get(chain);
    if (!was) return undefined;
    heads.update(was, { ver: was.ver + 1 });
    return { seq: was.seq, hash: was.hash };
  },
  async appendAuditRow(row: Audit) {
    const { chain, seq, hash, prev_hash } = row;
    const was = heads.get(chain);
    if (seq === 1) {
      if (was) throw new ConflictError('another writer made the same row');
      heads.insert({ chain, seq, hash, ver: 1 });
    } else {
      if (was?.seq !== seq - 1 || was.hash !== prev_hash) return false;
      heads.update(was, { seq, hash });
    }
    audit.insert(row);
    return true;
  },
});
