/**
 * Keeps what the engine learned in SQL and brings it back when a cluster is decided for the first
 * time, here or by another backend. Waits are written as they begin and end and at least once a
 * minute, what was learned every ten minutes, a few clusters a round. A wait counts on only after
 * a short absence: over a longer one nobody saw whether it ended.
 */
import type { Clock } from '../broker/contract/ports.ts';
import type { History } from './decide/history.ts';
import { learnedText, recallLearned, recallSpells, type Spell, spellsOf } from './decide/memory.ts';
import type { Fleet } from './state/fleet.ts';
import {
  type AlarmRow,
  gaveUpAlarm,
  learnedRule,
  readAlarms,
  replaceAlarms,
} from './store/sql/alarms.ts';
import type { Database } from './store/sql/database.ts';

const waitsEveryMs = 60_000;
const learnedEveryMs = 600_000;
/** A node that was silent for so long counts as lost, and its wait as over. */
const absenceMaxMs = 180_000;
/** Texts written per round: 300 guests take about 40 kB. */
const learnedPerRoundMax = 4;

type Deps = { database: Database; fleet: Fleet; history: History; clock: Clock };
type Kept = { waits: string; waitsAtMs: number; learnedAtMs: number };

export function createRecollection({ database, fleet, history, clock }: Deps) {
  const kept = new Map<string, Kept>();

  async function recall(cluster: string): Promise<void> {
    const rows = await readAlarms(database.db, cluster);
    const [nowMs, wallMs] = [clock.monotonicMs(), clock.wallMs()];
    const learned = rows.find(({ rule }) => rule === learnedRule);
    if (learned && !history.forecasts.has(cluster)) {
      recallLearned(history, cluster, learned.data, nowMs);
    }
    const spells = rows.flatMap(({ rule, subject_id: subject, since_ms, data }): Spell[] => {
      const sinceMs = since_ms - wallMs + nowMs;
      // Dead is a guest until it runs, however long nobody looked.
      if (rule === 'dead' || rule === gaveUpAlarm) return [{ subject, kind: rule, sinceMs }];
      const isRecent = wallMs - Number(data) <= absenceMaxMs;
      if ((rule !== 'hot' && rule !== 'empty') || !isRecent) return [];
      return [{ subject, kind: rule, sinceMs }];
    });
    recallSpells(history, cluster, spells);
    kept.set(cluster, { waits: '', waitsAtMs: nowMs, learnedAtMs: nowMs });
  }

  async function keepWaits(cluster: string, known: Kept): Promise<void> {
    const [nowMs, wallMs] = [clock.monotonicMs(), clock.wallMs()];
    const nodes = fleet.nodesByCluster.get(cluster)?.keys() ?? [];
    const rows = spellsOf(history, cluster, nodes).map(({ subject, kind, sinceMs }): AlarmRow => ({
      cluster,
      subject_kind: kind === 'hot' || kind === 'empty' ? 'node' : 'guest',
      subject_id: subject,
      rule: kind,
      state: kind === gaveUpAlarm ? 'firing' : 'pending',
      since_ms: Math.round(sinceMs - nowMs + wallMs),
      data: String(Math.round(wallMs)),
    }));
    const waits = rows.map(({ subject_id: node, rule }) => `${node} ${rule}`).join();
    const isDue = waits !== '' && nowMs - known.waitsAtMs >= waitsEveryMs;
    if (waits === known.waits && !isDue) return;
    await database.transaction((trx) => replaceAlarms(trx, cluster, 'waits', rows));
    known.waits = waits;
    known.waitsAtMs = nowMs;
  }

  async function keepLearned(cluster: string, known: Kept): Promise<void> {
    const row: AlarmRow = {
      cluster,
      subject_kind: 'cluster',
      subject_id: cluster,
      rule: learnedRule,
      state: 'firing',
      since_ms: Math.round(clock.wallMs()),
      data: learnedText(history, cluster),
    };
    await database.transaction((trx) => replaceAlarms(trx, cluster, 'learned', [row]));
    known.learnedAtMs = clock.monotonicMs();
  }

  return async function recollect(clusters: readonly string[]): Promise<void> {
    let written = 0;
    for (const cluster of clusters) {
      const known = kept.get(cluster);
      if (known === undefined) {
        await recall(cluster);
        continue;
      }
      await keepWaits(cluster, known);
      const isDue = clock.monotonicMs() - known.learnedAtMs >= learnedEveryMs;
      if (!isDue || written === learnedPerRoundMax) continue;
      await keepLearned(cluster, known);
      written += 1;
    }
  };
}
