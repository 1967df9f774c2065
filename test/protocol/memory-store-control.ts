/** Tried wakes, campaigns, the watch over the engine and settings of the command store, in memory. */
import type { CommandState } from '../../broker/contract/command.ts';
import type { ControlReads, ControlRows } from '../../backend/store/control-rows.ts';
import type { Memory } from './memory-store-rows.ts';

const proofsMax = 64;

/** Newest first; of the same moment the later id. */
const newest =
  <T extends { id: string }>(atMs: (row: T) => number) =>
  (a: T, b: T): number =>
    atMs(b) - atMs(a) || (a.id < b.id ? 1 : -1);

export const controlReads = ({ tables }: Memory): ControlReads => ({
  runningCampaigns: async () =>
    [...tables.campaigns.rows.values()]
      .filter(({ state }) => state === 'running')
      .sort((a, b) => a.started_at_ms - b.started_at_ms)
      .map(({ id, cluster, node }) => ({ id, cluster, node })),
  newestCampaign: async (key) =>
    [...tables.campaigns.rows.values()]
      .filter(({ cluster, node }) => cluster === key.cluster && node === key.id)
      .sort(newest(({ started_at_ms }) => started_at_ms))[0],
  wakeProofs: async (key) =>
    [...tables.proofs.rows.values()]
      .filter(({ cluster, node }) => cluster === key.cluster && node === key.id)
      .sort(newest(({ created_at_ms }) => created_at_ms))
      .slice(0, proofsMax),
  setting: async (name) => tables.settings.get(name)?.value,
});

export const controlRows = (memory: Memory): ControlRows => {
  const { claims, commands, proofs, campaigns, shadows, settings } = memory.tables;
  return {
    ...controlReads(memory),
    insertWakeProof: async (row) => proofs.insert(row),
    campaign: async (id) => campaigns.get(id),
    insertCampaign: async (row) => campaigns.insert(row),
    async updateCampaign({ id, ver }, patch) {
      const was = campaigns.get(id);
      if (was?.ver !== ver) return false;
      campaigns.update(was, { ...patch, ver: ver + 1 });
      return true;
    },
    // No world of this store empties a node.
    fillProven: async () => undefined,
    shadowRun: async (cluster, kind) => shadows.get(`${cluster} ${kind}`),
    async putShadowRun(row) {
      const was = shadows.get(`${row.cluster} ${row.kind}`);
      if (was) shadows.update(was, { ...row, ver: was.ver + 1 });
      else shadows.insert({ ...row, ver: 1 });
    },
    async quotaClaims() {
      return [...claims.rows.values()].flatMap((row) => {
        const command = commands.get(row.command_id);
        if (!command) return [];
        const state = command.state as CommandState;
        return [{ ...row, state, finished_at_ms: command.finished_at_ms }];
      });
    },
    async putQuotaClaim(row) {
      const was = claims.get(`${row.cluster} ${row.guest}`);
      if (was) claims.update(was, { ...row, ver: was.ver + 1 });
      else claims.insert({ ...row, ver: 1 });
    },
    async dropQuotaClaim({ cluster, guest }) {
      const was = claims.get(`${cluster} ${guest}`);
      if (was) claims.drop(was);
    },
    async carryQuotaClaim(fromCommand, toCommand) {
      for (const was of claims.rows.values()) {
        if (was.command_id !== fromCommand) continue;
        claims.update(was, { command_id: toCommand, ver: was.ver + 1 });
      }
    },
    async putSetting(name, value) {
      const was = settings.get(name);
      if (was) settings.update(was, { value, ver: was.ver + 1 });
      else settings.insert({ name, value, ver: 1 });
    },
  };
};
