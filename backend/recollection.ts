/**
 * Keeps what the engine learned in SQL and brings it back when a cluster is decided for the first
 * time, here or by another backend. Waits are written as they begin and end and at least once a
 * minute, what was learned every ten minutes, a few clusters a round. A wait counts on only after
 * a short absence: over a longer one nobody saw whether it ended.
 */
import { z } from 'zod';
import type { Clock } from '../broker/contract/ports.ts';
import type { History } from './decide/history.ts';
import {
  isNodeSpell,
  isSpell,
  learnedText,
  outlasts,
  recallLearned,
  recallSpells,
  type Spell,
  spellsOf,
} from './decide/memory.ts';
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

const Kept = z.union([z.number(), z.tuple([z.number(), z.number()])]);

/** When a wait was last written, and the highest use since it began; NaN where that cannot be read. */
function numbersOf(data: string): [keptAtMs: number, most: number] {
  try {
    const kept = Kept.parse(JSON.parse(data));
    return typeof kept === 'number' ? [kept, 0] : kept;
  } catch {
    return [NaN, 0];
  }
}

type Deps = { database: Database; fleet: Fleet; history: History; clock: Clock };
type Written = { waits: string; waitsAtMs: number; learnedAtMs: number };

export function createRecollection({ database, fleet, history, clock }: Deps) {
  const kept = new Map<string, Written>();

  async function recall(cluster: string): Promise<void> {
    const rows = await readAlarms(database.db, cluster);
    const [nowMs, wallMs] = [clock.monotonicMs(), clock.wallMs()];
    const learned = rows.find(({ rule }) => rule === learnedRule);
    if (learned && !history.forecasts.has(cluster)) {
      recallLearned(history, cluster, learned.data, nowMs);
    }
    const spells = rows.flatMap(({ rule, subject_id: subject, since_ms, data }): Spell[] => {
      const sinceMs = since_ms - wallMs + nowMs;
      const [keptAtMs, most] = numbersOf(data);
      const isRecent = wallMs - keptAtMs <= absenceMaxMs;
      if (!isSpell(rule) || (!isRecent && !outlasts(rule))) return [];
      return [{ subject, kind: rule, sinceMs, most }];
    });
    recallSpells(history, cluster, spells);
    kept.set(cluster, { waits: '', waitsAtMs: nowMs, learnedAtMs: nowMs });
  }

  async function keepWaits(cluster: string, known: Written): Promise<void> {
    const [nowMs, wallMs] = [clock.monotonicMs(), clock.wallMs()];
    const nodes = fleet.nodesByCluster.get(cluster)?.keys() ?? [];
    const spells = spellsOf(history, cluster, nodes);
    const rows = spells.map(({ subject, kind, sinceMs, most }): AlarmRow => ({
      cluster,
      subject_kind: isNodeSpell(kind) ? 'node' : 'guest',
      subject_id: subject,
      rule: kind,
      state: kind === gaveUpAlarm ? 'firing' : 'pending',
      since_ms: Math.round(sinceMs - nowMs + wallMs),
      data: JSON.stringify(most === undefined ? Math.round(wallMs) : [Math.round(wallMs), most]),
    }));
    const waits = rows.map(({ subject_id: node, rule }) => `${node} ${rule}`).join();
    const isDue = waits !== '' && nowMs - known.waitsAtMs >= waitsEveryMs;
    if (waits === known.waits && !isDue) return;
    await database.transaction((trx) => replaceAlarms(trx, cluster, 'waits', rows));
    known.waits = waits;
    known.waitsAtMs = nowMs;
  }

  async function keepLearned(cluster: string, known: Written): Promise<void> {
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
