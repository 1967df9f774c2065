/**
 * Gathers what the guards judge by: rows read in the step's own transaction, and the fleet
 * picture for what only telemetry knows. It gathers and never judges; what is unknown stays null.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import type { GuestFacts } from '../../broker/contract/facts.ts';
import { nodeKey } from '../../broker/contract/ids.ts';
import type { GuestRecord } from '../state/fleet.ts';
import type { Target } from '../store/command-store.ts';
import type { Commands, Nodes } from '../store/sql/schema.ts';
import type { GuardFacts, NodeFact, OtherCommand, Phase } from './guard.ts';
import { readGuest, readMigrations, readPower } from './guard-facts.ts';
import { limitsOf } from './guard-limits.ts';
import { freshMsOf, nodeFact } from './guard-node.ts';
import { houseFor, otherOf, readLoad, readUnderWay, windowsOf } from './guard-surroundings.ts';
import { activeStates, type Effort, isPowerOff } from './lifecycle.ts';
import type { Context, Step } from './step.ts';

/** SAFETY W5: one at a time, from this many awake nodes on a tenth of them. */
const largeClusterNodes = 20;
const powerOffRatio = 0.1;

export const guestOf = (
  context: Context,
  cluster: string,
  guest: string,
): GuestRecord | undefined => context.fleet().guests.get(`${cluster}/${guest}`);

export const readNode = (step: Step, node: string): Promise<Nodes | undefined> =>
  step.rows.node({ cluster: step.cluster.id, id: node });

async function readPowerOffs(step: Step, phase: Phase, self: string): Promise<OtherCommand[]> {
  // When planning, one that waits already counts; when granting, only one that may have begun,
  // or two waiting ones would bar each other for ever.
  const states = phase === 'PLANNED' ? [...activeStates, 'QUEUED', 'OFFERED'] : activeStates;
  const kinds = ['node.shutdown', 'node.reboot'];
  const rows = await step.rows.commandsOf(step.cluster.id, { kinds, states });
  return rows.filter(({ id }) => id !== self).map(otherOf);
}

/** From the fleet's own count, whatever anybody claims. */
export function powerOffsMax(step: Step): number {
  const nodes = step.context.fleet().nodesByCluster.get(step.cluster.id);
  const awake = [...(nodes?.values() ?? [])].filter(({ online }) => online).length;
  return awake < largeClusterNodes ? 1 : Math.floor(awake * powerOffRatio);
}

export type Subject = Pick<
  Commands,
  'id' | 'kind' | 'target_kind' | 'target_id' | 'executor' | 'args' | 'origin' | 'plan_id'
>;

function unresolvedOf(subject: Subject, active: Target['active']): OtherCommand | null {
  if (active?.state !== 'INDETERMINATE' || active.id === subject.id) return null;
  return otherOf({ ...subject, ...active });
}

/**
 * Nodes that should be awake and are not heard: those that said hello once, if only to the server
 * of before, and none wants off.
 */
export function awakeOf(context: Context, cluster: string): GuardFacts['awake'] {
  const nowMs = context.clock.monotonicMs();
  const nodes = [...(context.fleet().nodesByCluster.get(cluster)?.values() ?? [])].filter(
    ({ desired, maintenance, driver, sampleAtMs, hasSaidHello }) =>
      desired === 'awake' &&
      !maintenance &&
      (driver !== null || sampleAtMs !== null || hasSaidHello === true),
  );
  const stale = nodes.filter(({ node, sampleAtMs, intervalMs }) => {
    const isSampled = sampleAtMs !== null && nowMs - sampleAtMs <= freshMsOf(intervalMs);
    return !isSampled || !context.reach.isOnline(cluster, node);
  });
  const unheard = nodes.filter(({ sampleAtMs }) => sampleAtMs === null);
  return { expected: nodes.length, stale: stale.length, unheard: unheard.length };
}

type KnownArgs = {
  targetNode?: string;
  macs?: unknown[];
  timeoutMs?: number;
  withLocalDisks?: boolean;
  bandwidthBytesPerSecond?: number;
};
const argsOf = (row: Pick<Commands, 'args'>): KnownArgs => JSON.parse(row.args) as KnownArgs;

export async function gatherFacts(
  step: Step,
  phase: Phase,
  subject: Subject,
  claimedMaxEpoch = 0,
): Promise<GuardFacts> {
  const { cluster } = step;
  const kind = subject.kind as CommandKind;
  const limits = limitsOf(cluster);
  const { targetNode, macs } = argsOf(subject);
  const rows = new Map<string, Nodes>();
  const targetNodeId = subject.target_kind === 'node' ? subject.target_id : null;
  for (const id of new Set([subject.executor, targetNodeId, targetNode])) {
    const row = id ? await readNode(step, id) : undefined;
    if (row) rows.set(row.id, row);
  }
  const factOf = (id: string | null | undefined): NodeFact | null => {
    const row = id ? rows.get(id) : undefined;
    return row ? nodeFact(step, row) : null;
  };
  const target = await step.rows.target({
    cluster: cluster.id,
    kind: subject.target_kind,
    id: subject.target_id,
  });
  const guest = targetNodeId ? null : await readGuest(step, subject);
  return {
    kind,
    args: JSON.parse(subject.args) as Record<string, unknown>,
    origin: subject.origin,
    nowMs: step.nowMs,
    cluster: {
      id: cluster.id,
      simulated: cluster.simulated === 1,
      hold: step.isHeld,
      frozenUntilMs: cluster.frozen_until_ms,
      frozenReason: cluster.frozen_reason,
    },
    limits,
    listeningForMs: step.context.reach.listeningForMs(),
    awake: awakeOf(step.context, cluster.id),
    windows: windowsOf(step),
    house: await houseFor(step, kind),
    underWay: kind === 'node.wake' ? [] : await readUnderWay(step, phase, subject.id),
    pausedUntilMs: target?.paused_until_ms ?? null,
    power: isPowerOff(kind) ? await readPower(step, subject, limits) : null,
    guest,
    migrations: targetNode
      ? await readMigrations(step, subject.id, { from: subject.executor, to: targetNode })
      : null,
    epoch: step.epoch,
    executorMaxEpoch: Math.max(claimedMaxEpoch, rows.get(subject.executor)?.max_epoch ?? 0),
    // A wake without a waker keeps its target as executor; that one is not there to act.
    executor: factOf(subject.executor),
    target: { kind: subject.target_kind, id: subject.target_id },
    targetNode: factOf(targetNodeId),
    guestNode: guest?.sample.node ?? null,
    destination: targetNode
      ? {
          id: targetNode,
          node: factOf(targetNode),
          load: await readLoad(step, targetNode, limits),
        }
      : null,
    wake: kind === 'node.wake' ? { macs: macs?.length ?? 0 } : null,
    powerOffs: isPowerOff(kind) ? await readPowerOffs(step, phase, subject.id) : [],
    powerOffsMax: powerOffsMax(step),
    unresolved: unresolvedOf(subject, target?.active ?? null),
  };
}

/** A gigabit, where neither a measurement nor a policy says how fast a guest is copied. */
const usualCopyBytesPerSecond = 112_000_000;

/** Disks that no other node sees; null while nobody has described them. */
function localDiskBytes({ context, cluster }: Step, { node, id }: GuestRecord): number | null {
  const json = context.fleet().nodes.get(nodeKey(cluster.id, node))?.guestFactsJson ?? '[]';
  const facts = (JSON.parse(json) as GuestFacts[]).find((one) => one.id === id);
  const disks = facts?.disks?.filter(({ shared }) => !shared);
  return (
    disks?.reduce<number | null>(
      (sum, { sizeBytes }) => (sum === null || sizeBytes === null ? null : sum + sizeBytes),
      0,
    ) ?? null
  );
}

/** What a migration copies; local disks travel only where the command says so. */
function copiedBytes(step: Step, guest: GuestRecord, withLocalDisks: boolean): number | null {
  if (!withLocalDisks) return guest.memoryTotalBytes;
  const disks = localDiskBytes(step, guest);
  return disks === null || guest.memoryTotalBytes === null ? null : disks + guest.memoryTotalBytes;
}

function copyEffort(step: Step, row: Commands): Pick<Effort, 'migrateEstimateMs' | 'isMeasured'> {
  const { withLocalDisks = false, bandwidthBytesPerSecond = Infinity } = argsOf(row);
  const { nodes, clusters } = step.context.fleet();
  const guest = guestOf(step.context, row.cluster, row.target_id);
  const bytes = guest ? copiedBytes(step, guest, withLocalDisks) : null;
  const record = nodes.get(nodeKey(row.cluster, row.executor));
  const measured = record?.facts?.migrationBytesPerSecond ?? null;
  const isMeasured = measured !== null;
  if (bytes === null) return { migrateEstimateMs: null, isMeasured };
  const policyYaml = clusters.get(row.cluster)?.policyYaml;
  const said = policyYaml ? step.context.policyOf(policyYaml)?.copyBytesPerSecond : undefined;
  const bytesPerSecond = measured ?? said ?? usualCopyBytesPerSecond;
  const limit = record?.facts?.migrationLimitBytesPerSecond ?? Infinity;
  const speed = Math.min(bytesPerSecond, bandwidthBytesPerSecond, limit);
  const migrateEstimateMs = (bytes / speed) * 1_000;
  return { migrateEstimateMs: Math.ceil(migrateEstimateMs), isMeasured };
}

/** What is known of the size of a command, for the time it may take. */
export function effortOf(step: Step, row: Commands): Effort {
  const { timeoutMs: stopTimeoutMs = null } = argsOf(row);
  const copy = row.kind === 'guest.migrate' ? copyEffort(step, row) : { migrateEstimateMs: null };
  const target = step.context.fleet().nodes.get(nodeKey(row.cluster, row.target_id));
  const bootEstimateMs = target?.facts?.bootMs ?? null;
  return { stopTimeoutMs, ...copy, bootEstimateMs };
}
