/**
 * What must hold at every commit: I4, I6, I7, S-3, HOLD, and of I5, I3 and I8 what the commit
 * itself shows. Judged from the rows as committed and from the world; the table of transitions is
 * written here again from SAFETY 3.2, since the product's own may be what is wrong.
 */
import type { CommandState } from '../../broker/contract/command.ts';
import type { Court } from './court.ts';
import type { ClusterPlan } from './houses.ts';
import type { By, Change, CommandRow, Ledger } from './ledger.ts';
import type { World } from './world.ts';

export type CommitWatch = {
  court: Court;
  ledger: Ledger;
  world: World;
  /** Age of the newest sample of a node that this backend had; null: none. */
  sampleAgeMs: (backend: string, node: string) => number | null;
  /** Whether the executor's disk holds the start of it, or is another disk by now. */
  hasStarted: (row: CommandRow) => boolean;
};

const table: Record<CommandState, readonly CommandState[]> = {
  PLANNED: ['QUEUED', 'REJECTED', 'CANCELLED', 'EXPIRED'],
  QUEUED: ['OFFERED', 'GRANTED', 'REJECTED', 'CANCELLED', 'EXPIRED'],
  OFFERED: ['GRANTED', 'REJECTED', 'CANCELLED', 'EXPIRED'],
  GRANTED: ['GRANTED', 'RUNNING', 'REJECTED', 'INDETERMINATE', 'SUCCEEDED', 'FAILED'],
  RUNNING: ['VERIFYING', 'CANCELLING', 'INDETERMINATE', 'SUCCEEDED', 'FAILED'],
  VERIFYING: ['INDETERMINATE', 'SUCCEEDED', 'FAILED'],
  CANCELLING: ['VERIFYING', 'INDETERMINATE'],
  INDETERMINATE: ['INDETERMINATE', 'SUCCEEDED', 'FAILED'],
  SUCCEEDED: [],
  FAILED: [],
  REJECTED: [],
  CANCELLED: [],
  EXPIRED: [],
};
export const isOver = (state: CommandState): boolean => table[state].length === 0;

const repeatable: ReadonlySet<string> = new Set([
  'node.wake',
  'guest.start',
  'guest.stop',
  'guest.scale',
]);
const active: ReadonlySet<string> = new Set(['GRANTED', 'RUNNING', 'VERIFYING', 'CANCELLING']);
const isPowerOff = ({ kind }: Pick<CommandRow, 'kind'>): boolean =>
  kind === 'node.shutdown' || kind === 'node.reboot';
const nameOf = ({ kind, target_id, cluster, id, state }: CommandRow): string =>
  `${kind} of ${cluster}/${target_id} ${id} ${state}`;

/** I4: the version grows, a terminal row stays, and only the table's transitions occur. */
function judgeMove({ court }: CommitWatch, before: CommandRow | undefined, row: CommandRow): void {
  if (!before) {
    if (row.state !== 'PLANNED') court.accuse('I4', `born as ${nameOf(row)}`);
    return;
  }
  if (row.ver <= before.ver) court.accuse('I4', `ver ${before.ver} to ${row.ver}: ${nameOf(row)}`);
  if (isOver(before.state)) court.accuse('I4', `changed after ${before.state}: ${nameOf(row)}`);
  const isMove = row.state !== before.state || row.nonce !== before.nonce;
  if (isMove && !table[before.state].includes(row.state)) {
    court.accuse('I4', `from ${before.state}: ${nameOf(row)}`);
  }
}

/** I6: whoever writes holds the lease, and writes under its epoch. */
function judgeEpoch(watch: CommitWatch, before: CommandRow | undefined, row: CommandRow, by: By) {
  const { court, ledger } = watch;
  const lease = ledger.epochs.get(row.cluster);
  if (lease?.owner !== by.backend) {
    court.accuse('I6', `${by.backend} wrote ${nameOf(row)}, ${lease?.owner} leads`);
  }
  // A takeover only grants silence anew, before its first own word.
  const isDeadlineOnly = before?.state === row.state && before.epoch === row.epoch;
  if (row.epoch !== lease?.epoch && !isDeadlineOnly) {
    court.accuse('I6', `epoch ${row.epoch} of ${nameOf(row)}, ${lease?.epoch} holds`);
  }
}

const keepsTarget = (row: CommandRow): boolean =>
  active.has(row.state) || (row.state === 'INDETERMINATE' && !repeatable.has(row.kind));

/** I7: one active command per target, one power-off per cluster; doubt never bars a wake. */
function judgeMutex({ court, ledger }: CommitWatch, row: CommandRow): void {
  for (const other of ledger.open.values()) {
    if (other.id === row.id || other.cluster !== row.cluster || !keepsTarget(other)) continue;
    const isSame = other.target_kind === row.target_kind && other.target_id === row.target_id;
    const isPassed =
      row.kind === 'node.wake' && isPowerOff(other) && other.state === 'INDETERMINATE';
    if (isSame && !isPassed) court.accuse('I7', `${nameOf(row)} beside ${nameOf(other)}`);
    if (isPowerOff(row) && isPowerOff(other)) {
      court.accuse('I7', `two power-offs: ${nameOf(row)} beside ${nameOf(other)}`);
    }
  }
}

/** K1: under HOLD nothing is planned, queued or granted, also not again. */
function judgeHold({ court }: CommitWatch, before: CommandRow | undefined, row: CommandRow): void {
  const isNew = !before || before.state !== row.state || before.nonce !== row.nonce;
  if (isNew && ['PLANNED', 'QUEUED', 'OFFERED', 'GRANTED'].includes(row.state)) {
    court.accuse('K1', `under HOLD: ${nameOf(row)}`);
  }
}

/** Three intervals of 15 s. */
const freshMs = 45_000;

/** S-2, facts: a power-off is granted only on a fresh sample of its target. */
function judgeFreshness(watch: CommitWatch, row: CommandRow, by: By): void {
  if (!isPowerOff(row)) return;
  const ageMs = watch.sampleAgeMs(by.backend, `${row.cluster}/${row.target_id}`);
  if (ageMs === null || ageMs > freshMs) {
    watch.court.accuse('S-2', `granted on facts ${ageMs} ms old: ${nameOf(row)}`);
  }
}

/** I5 and I3 at the moment in which the command ends. */
function judgeEnd(watch: CommitWatch, row: CommandRow, hadPostcondition: boolean): void {
  const { court, world, hasStarted } = watch;
  const count = world.effects.filter(({ commandId }) => commandId === row.id).length;
  if (['REJECTED', 'CANCELLED', 'EXPIRED'].includes(row.state) && count > 0) {
    court.accuse('I3', `${count} starts of ${nameOf(row)}`);
  }
  if (row.state === 'FAILED' && count > 0) {
    // It may have been true, and be so no more: a guest that ran until its host lost power.
    if (!world.seenFalse.has(row.id)) court.accuse('I5', `nobody saw it fail: ${nameOf(row)}`);
    if (world.isUnderWay(row.id)) court.accuse('I5', `its task still runs: ${nameOf(row)}`);
  }
  if (row.state !== 'SUCCEEDED') return;
  if (!hadPostcondition) court.accuse('I5', `nothing of it is true: ${nameOf(row)}`);
  if (count > 0 || hasStarted(row)) return;
  // The journal that could tell is on the very host that witnesses saw go, for whatever reason.
  const isOff = !world.host(row.cluster, row.target_id).isOn || world.seenTrue.has(row.id);
  const isGone = row.kind === 'node.shutdown' && isOff;
  // Its target's own boot proves a wake, whoever pressed the button; its executor is elsewhere.
  if (row.kind === 'node.wake') return;
  if (!isGone) court.accuse('I5', `without any start: ${nameOf(row)}`);
}

/** I8: the grant and its audit record are one transaction. */
function judgeAudit({ court }: CommitWatch, row: CommandRow, changes: readonly Change[]): void {
  const audits = changes.filter(
    (change) =>
      change.table === 'audit' &&
      change.row.action === 'command.granted' &&
      change.row.subject === `command:${row.id}`,
  );
  if (audits.length !== 1) court.accuse('I8', `${audits.length} audit records of ${nameOf(row)}`);
}

type Token = { atMs: number; cluster: string; target: string; kind: string };
type Bound = { name: string; slots: number; windowMs: number; has: (token: Token) => boolean };

/** S-3, written again from SAFETY W5 and V10: what may be queued in a window. */
function boundsOf(plan: ClusterPlan, row: CommandRow): Bound[] {
  const { limits, simulated, hosts, id } = plan;
  const limit = (name: string, usual: number): number => limits[name] ?? usual;
  const isOff = (token: Token) => token.kind === 'node.shutdown' || token.kind === 'node.reboot';
  if (isPowerOff(row)) {
    const perHour = Math.floor(hosts.length * limit('powerOffRatioPerHour', 0.2));
    const bounds = [
      { name: 'power-off', slots: 1, windowMs: limit('powerOffEveryMs', 600_000) },
      { name: 'power-off per hour', slots: Math.max(1, perHour), windowMs: 3_600_000 },
    ].map((bound) => ({ ...bound, has: (token: Token) => isOff(token) && token.cluster === id }));
    const windowMs = limit('globalPowerOffEveryMs', 120_000);
    return [...bounds, { name: `global ${simulated}`, slots: 1, windowMs, has: isOff }];
  }
  if (row.kind === 'node.wake') {
    const windowMs = limit('wakeEveryMs', 10_000);
    const has = (token: Token) => token.kind === 'node.wake' && token.cluster === id;
    return [{ name: 'wake', slots: 1, windowMs, has }];
  }
  if (row.kind !== 'guest.migrate' || row.origin !== 'engine') return [];
  const has = ({ kind, cluster, target }: Token) =>
    kind === 'engine move' && cluster === id && target === row.target_id;
  return [
    { name: 'cool-down', slots: 1, windowMs: limit('guestCooldownMs', 1_800_000), has },
    { name: 'moves', slots: limit('guestMovesPerDay', 2), windowMs: 86_400_000, has },
  ];
}

function createLimits({ court, world }: CommitWatch) {
  const taken: Token[] = [];
  return (row: CommandRow, atMs: number): void => {
    const plan = world.clusters.find(({ id }) => id === row.cluster) as ClusterPlan;
    const isReal = (token: Token) =>
      world.clusters.find(({ id }) => id === token.cluster)?.simulated === plan.simulated;
    for (const { name, slots, windowMs, has } of boundsOf(plan, row)) {
      const used = taken.filter(
        (token) => has(token) && isReal(token) && atMs - token.atMs < windowMs,
      );
      if (used.length >= slots)
        court.accuse('S-3', `${name}: ${used.length + 1} in ${windowMs} ms, ${nameOf(row)}`);
    }
    const kind = row.kind === 'guest.migrate' && row.origin === 'engine' ? 'engine move' : row.kind;
    taken.push({ atMs, cluster: row.cluster, target: row.target_id, kind });
  };
}

/** Whether a command's post-condition is, or has been seen, true in the world since its grant. */
function createTruth({ world, ledger }: CommitWatch) {
  const bootAtGrant = new Map<string, string>();
  /** Wakes granted while their target already ran a boot whose hello was still on its way. */
  const awakeAtGrant = new Set<string>();
  return {
    granted(row: CommandRow): void {
      if (row.target_kind !== 'node' || bootAtGrant.has(row.id)) return;
      const { bootId, isOn } = world.host(row.cluster, row.target_id);
      bootAtGrant.set(row.id, bootId);
      const isUnheard = ledger.boots.get(`${row.cluster}/${row.target_id}`) !== bootId;
      if (row.kind === 'node.wake' && isOn && isUnheard) awakeAtGrant.add(row.id);
    },
    holds(row: CommandRow): boolean {
      if (world.ended.has(row.id) || world.seenTrue.has(row.id)) return true;
      if (row.target_kind !== 'node') return false;
      const host = world.host(row.cluster, row.target_id);
      const isOtherBoot = host.bootId !== bootAtGrant.get(row.id);
      // It may have lost power again before its hello was heard.
      if (row.kind === 'node.wake') return host.isOn || isOtherBoot || awakeAtGrant.has(row.id);
      if (row.kind === 'node.shutdown') return !host.isOn || isOtherBoot;
      return isOtherBoot;
    },
  };
}

export function watchCommits(watch: CommitWatch): void {
  const { ledger } = watch;
  const takeToken = createLimits(watch);
  const truth = createTruth(watch);
  const latest = new Map<string, CommandRow>();
  const judgeRow = (row: CommandRow, changes: readonly Change[], by: By): void => {
    const before = latest.get(row.id);
    latest.set(row.id, row);
    judgeMove(watch, before, row);
    judgeEpoch(watch, before, row, by);
    if (ledger.isHeld(row.cluster)) judgeHold(watch, before, row);
    if (before?.state === row.state) return;
    if (row.state === 'QUEUED') takeToken(row, by.atMs);
    if (row.state === 'GRANTED') {
      truth.granted(row);
      judgeMutex(watch, row);
      judgeFreshness(watch, row, by);
      judgeAudit(watch, row, changes);
    }
    if (isOver(row.state)) judgeEnd(watch, row, truth.holds(row));
  };
  ledger.onChange((changes, by) => {
    for (const change of changes) {
      if (change.table === 'commands') judgeRow(change.row, changes, by);
    }
  });
}
