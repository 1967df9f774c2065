/**
 * One node as the guards see it: its row, its newest sample, and whether it can be spoken to. What
 * is unknown stays null. Reads memory only; it never judges.
 */
import { Driver, NodeFacts } from '../../broker/contract/facts.ts';
import { nodeKey } from '../../broker/contract/ids.ts';
import { sampleIntervalDefaultMs } from '../../broker/contract/limits.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import type { NodeRecord } from '../state/fleet.ts';
import type { Nodes } from '../store/sql/schema.ts';
import type { NodeFact } from './guard.ts';
import { remembered } from './remembered.ts';
import type { Step } from './step.ts';

/** SAFETY T1. */
const freshMinMs = 30_000;
const freshIntervals = 3;

export const freshMsOf = (intervalMs: number): number =>
  Math.max(freshMinMs, freshIntervals * intervalMs);

/** Facts change seldom and are looked at in every step; more nodes are read anew. */
const nodesKept = 512;

const driverOf = remembered(nodesKept, (json) => Driver.safeParse(JSON.parse(json)).data ?? null);
const factsOf = remembered(nodesKept, (json) => NodeFacts.safeParse(JSON.parse(json)).data ?? null);

/** A column we wrote ourselves; one that no longer parses is unknown, and unknown denies. */
export const parseDriver = ({ driver }: Pick<Nodes, 'driver'>): Driver | null =>
  driver === null ? null : driverOf(driver);

export const parseFacts = ({ facts }: Pick<Nodes, 'facts'>): NodeFacts | null =>
  facts === null ? null : factsOf(facts);

/** Tagged kr_park, and nothing else holds it: it may sleep with its node. */
export const isParkable = ({ state, tags, lock, haState }: GuestSample): boolean =>
  state === 'running' && tags.includes('kr_park') && lock === null && haState === null;

/** Both stamps of a sample: the daemon's clock then, and ours. */
function clockOffsetOf({ context }: Step, record: NodeRecord | undefined): number | null {
  if (!record || record.sampledAtWallMs === null || record.sampleAtMs === null) return null;
  const ourWallMs = context.clock.wallMs() - (context.clock.monotonicMs() - record.sampleAtMs);
  return record.sampledAtWallMs - ourWallMs;
}

export function nodeFact(step: Step, row: Nodes): NodeFact {
  const { context, cluster } = step;
  const record = context.fleet().nodes.get(nodeKey(cluster.id, row.id));
  const sampledMs = record?.sampleAtMs ?? null;
  const votesSinceMs = record?.votesSinceMs ?? null;
  const intervalMs = record?.intervalMs ?? sampleIntervalDefaultMs;
  const nowMs = context.clock.monotonicMs();
  const { offlineSinceMs } = context.reach.contact(cluster.id, row.id);
  return {
    id: row.id,
    online: context.reach.isOnline(cluster.id, row.id),
    driver: parseDriver(row),
    protected: row.protected === 1 || record?.facts?.protected === true,
    protectedReason: row.protected_reason,
    journalConfirmed: row.journal_confirmed === 1,
    runningGuests: record?.guests?.filter(({ state }) => state !== 'stopped').length ?? null,
    parkableGuests: record?.guests?.filter(isParkable).length ?? null,
    sampleAgeMs: sampledMs === null ? null : nowMs - sampledMs,
    freshMs: freshMsOf(intervalMs),
    facts: parseFacts(row),
    factsAgeMs: row.facts_at_ms === null ? null : step.nowMs - row.facts_at_ms,
    membersOnline: record?.membersOnline ?? null,
    votesStableForMs: votesSinceMs === null ? null : nowMs - votesSinceMs,
    lockedGuests: record?.guests?.flatMap(({ id, lock }) => (lock === null ? [] : [id])) ?? null,
    uptimeMs: record?.values?.uptimeMs ?? null,
    memoryUsedBytes: record?.values?.memoryUsedBytes ?? null,
    memoryTotalBytes: record?.values?.memoryTotalBytes ?? null,
    cpuRatio: record?.values?.cpuRatio ?? null,
    cpuCount: record?.values?.cpuCount ?? null,
    localHold: record?.localHold ?? false,
    clockOffsetMs: clockOffsetOf(step, record),
    desired: row.desired,
    keepAwakeUntilMs: row.keep_awake_until_ms,
    quarantinedUntilMs: row.quarantined_until_ms,
    offlineForMs: offlineSinceMs === null ? null : nowMs - offlineSinceMs,
  };
}
