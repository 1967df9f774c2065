/**
 * Which command did what in a house of fake Proxmox tools. The tools know no command ids: a line
 * of theirs belongs to the command whose handle is its UPID, else to the one that held the guest
 * at that moment, since a target has one command at a time. A line that belongs to none stands
 * under its own name, where the judge finds it as a phantom.
 */
import type { Kysely } from 'kysely';
import type { Commands, Schema } from '../../backend/store/sql/schema.ts';
import { type Began, patiently } from './checker.ts';
import type { House } from './proxmox-house.ts';

/** What the tools of each guest command write; a stop may end in a harder one. */
const linesOf: Record<string, RegExp> = {
  'guest.start': /^(qm|vz)start$/,
  'guest.stop': /^(qm|vz)(shutdown|stop)$/,
  'guest.restart': /^(qm|vz)reboot$/,
  'guest.migrate': /^(q|vz)migrate$/,
  'guest.scale': /^set$/,
};

type Row = Pick<
  Commands,
  'id' | 'cluster' | 'kind' | 'target_id' | 'handle' | 'granted_at_ms' | 'finished_at_ms'
>;
type Line = { kind: string; id: string | null; upid: string | null; atMs: number };

/** Clocks of one machine, and the millisecond between a row and the line it follows from. */
const slackMs = 50;

function holderOf(line: Line, rows: readonly Row[]): Row | undefined {
  return rows.find(({ kind, granted_at_ms: from, finished_at_ms: to }) => {
    const isKind = linesOf[kind]?.test(line.kind) ?? false;
    const isAfter = from !== null && from - slackMs <= line.atMs;
    return isKind && isAfter && line.atMs <= (to ?? Infinity) + slackMs;
  });
}

export async function houseEvidence(db: Kysely<Schema>, house: House): Promise<Began[]> {
  const asked = db
    .selectFrom('commands')
    .select(['id', 'cluster', 'kind', 'target_id', 'handle', 'granted_at_ms', 'finished_at_ms']);
  const rows: Row[] = await patiently(() => asked.execute());
  const byHandle = new Map(rows.flatMap((row) => (row.handle ? [[row.handle, row]] : [])));
  const byTarget = Map.groupBy(rows, ({ cluster, target_id: id }) => `${cluster}/${id}`);
  return house.clusters.flatMap((cluster) =>
    cluster.effects().map((effect) => {
      const line: Line = { ...effect, id: effect.id ?? null, upid: effect.upid ?? null };
      const own = line.upid === null ? undefined : byHandle.get(line.upid);
      const held = holderOf(line, byTarget.get(`${cluster.id}/${line.id}`) ?? []);
      const row = own ?? held;
      const name = `${cluster.id} ${line.kind} ${line.id} at ${line.atMs}`;
      return { commandId: row?.id ?? `no command: ${name}`, effect: 'start' };
    }),
  );
}
