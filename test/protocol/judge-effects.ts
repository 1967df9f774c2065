/**
 * What must hold whenever something begins in the world: I1 to I3, S-1, S-2, S-4, and that the
 * start was durable before it happened. Judged at that very moment, from the world, the bytes on
 * the disk and the committed rows.
 */
import type { Court } from './court.ts';
import type { ClusterPlan } from './houses.ts';
import type { Kept } from './journal-view.ts';
import { isOver } from './judge-commits.ts';
import type { CommandRow, Ledger } from './ledger.ts';
import type { Began, Host, World } from './world.ts';

export type EffectWatch = {
  court: Court;
  ledger: Ledger;
  world: World;
  nowMs: () => number;
  /** What the disk of that node would keep of the command whatever happens now. */
  keptOf: (cluster: string, node: string, commandId: string) => Kept | undefined;
  /** Since when no backend lives; null: one does. */
  aloneSinceMs: () => number | null;
  /** Since when a person holds this cluster, or this node on the spot. */
  heldSinceMs: (cluster: string, node: string) => number | null;
  hasFailedDisk: (cluster: string, node: string) => boolean;
};

/** A grant is valid for 10 s after its claim; the last look at facts takes at most 5 s more. */
const graceMs = 16_000;
/** What a fresh sample and a message of 90 s may not know yet. */
const unknownMs = 180_000;

const nameOf = ({ kind, cluster, target, commandId }: Began): string =>
  `${kind} of ${cluster}/${target} ${commandId}`;

/** I1: an effect starts at most once per command id. */
function judgeOnce({ court, world }: EffectWatch, effect: Began): void {
  const count = world.effects.filter(({ commandId }) => commandId === effect.commandId).length;
  if (count > 1) court.accuse('I1', `${count} starts of ${nameOf(effect)}`);
}

/** I2: a grant was committed before, and the start is under the epoch of one of its grants. */
function judgeGranted(watch: EffectWatch, effect: Began, kept: Kept | undefined): void {
  const { court, ledger, nowMs } = watch;
  const grants = (ledger.lines.get(effect.commandId) ?? []).filter(
    ({ state }) => state === 'GRANTED',
  );
  if (grants.length === 0) court.accuse('I2', `never granted: ${nameOf(effect)}`);
  const epoch = kept?.grant?.epoch;
  const last = grants.findLast((line) => line.epoch === epoch);
  if (!last) return court.accuse('I2', `started under epoch ${epoch}: ${nameOf(effect)}`);
  if (kept && kept.highestEpoch > last.epoch) {
    court.accuse('I2', `epoch ${epoch} was over, ${kept.highestEpoch} is here: ${nameOf(effect)}`);
  }
  const ageMs = Math.round(nowMs() - last.atMs);
  if (ageMs > graceMs) court.accuse('I2', `its grant is ${ageMs} ms old: ${nameOf(effect)}`);
}

/** I3: what is cancelled, expired or rejected never starts. */
function judgeAllowed({ court }: EffectWatch, effect: Began, row: CommandRow): void {
  // Its target came up by itself while the grant was on its way; a packet changes nothing then.
  if (row.kind === 'node.wake' && row.state === 'SUCCEEDED') return;
  if (isOver(row.state)) court.accuse('I3', `it is ${row.state}: ${nameOf(effect)}`);
}

/** I9: the start is durable before it happens, and never after the disk has failed. */
function judgeDurable(watch: EffectWatch, effect: Began, kept: Kept | undefined): void {
  const { court, hasFailedDisk } = watch;
  if (kept?.phase !== 'started') {
    court.accuse('I9', `the disk holds ${kept?.phase ?? 'nothing'} of ${nameOf(effect)}`);
  }
  if (hasFailedDisk(effect.cluster, effect.node)) {
    court.accuse('I9', `after a failed fsync: ${nameOf(effect)}`);
  }
}

/** S-4: without a backend nothing new begins, but for what fail-awake wakes. */
function judgeAlone({ court, aloneSinceMs, nowMs }: EffectWatch, effect: Began): void {
  const sinceMs = aloneSinceMs();
  if (sinceMs !== null && nowMs() - sinceMs > graceMs) {
    court.accuse('S-4', `${Math.round(nowMs() - sinceMs)} ms without a backend: ${nameOf(effect)}`);
  }
}

/** K1: HOLD ends every start, except one whose grant was on its way. */
function judgeHeld({ court, heldSinceMs, nowMs }: EffectWatch, effect: Began): void {
  const sinceMs = heldSinceMs(effect.cluster, effect.node);
  if (sinceMs !== null && nowMs() - sinceMs > graceMs) {
    court.accuse('K1', `${Math.round(nowMs() - sinceMs)} ms after HOLD: ${nameOf(effect)}`);
  }
}

/** V2: a lock that stands is seen by the last look. */
function judgeLock({ court, world, nowMs }: EffectWatch, effect: Began): void {
  const guest = world.guests.get(`${effect.cluster}/${effect.target}`);
  if (!guest?.lock || !effect.kind.startsWith('guest.')) return;
  if (nowMs() - guest.lockedAtMs > graceMs)
    court.accuse('V2', `guest is locked: ${nameOf(effect)}`);
}

/** S-2: no power-off of what is precious, unproven, inhabited, held or the heart of a pair. */
function judgePowerOff(watch: EffectWatch, effect: Began, row: CommandRow): void {
  const { court, world } = watch;
  const host = world.host(effect.cluster, effect.target);
  const plan = world.clusters.find(({ id }) => id === effect.cluster) as ClusterPlan;
  const wrong = (why: string): void => court.accuse('S-2', `${why}: ${nameOf(effect)}`);
  if (host.plan.isProtected) wrong('protected');
  if (host.plan.hasHaService) wrong('an HA service is on it');
  if (plan.hasQuorum && plan.hosts.length <= 2 && plan.qdeviceVotes === 0) wrong('one of a pair');
  const running = world
    .guestsOn(effect.cluster, effect.target)
    .filter(({ isRunning }) => isRunning);
  if (running.length > 0) wrong(`${running.length} guests run on it`);
  const arriving = world.arrivingOn(host);
  if (arriving.length > 0) wrong(`${arriving.join()} on its way to run there`);
  const isProofNeeded = !plan.simulated || plan.settings.wakeProof === 'required';
  const isProven = host.plan.wakeProofs >= 3 || row.origin === 'person';
  if (effect.kind === 'node.shutdown' && isProofNeeded && !isProven) wrong('its wake is unproven');
}

/**
 * S-1: real awake votes reach quorum after a power-off, and after any one more failure. A failure
 * that nobody could know of yet is that one; two of them are beyond what was promised.
 */
export function judgeVotes({ court, world, nowMs }: EffectWatch, host: Host): void {
  const plan = world.clusters.find(({ id }) => id === host.cluster) as ClusterPlan;
  if (!plan.hasQuorum) return;
  const hosts = world.hostsOf(host.cluster);
  const votes = [
    ...hosts.filter(({ isOn }) => isOn).map((one) => one.plan.votes),
    plan.qdeviceVotes,
  ];
  const expected = plan.qdeviceVotes + plan.hosts.reduce((sum, one) => sum + one.votes, 0);
  const needed = Math.floor(expected / 2) + 1;
  const left = votes.reduce((sum, one) => sum + one, 0);
  const unknown = hosts.filter(
    ({ isOn, downBy, downAtMs }) => !isOn && downBy === 'world' && nowMs() - downAtMs < unknownMs,
  ).length;
  const spare = (plan.limits.spareVoters ?? 1) > 0 ? 1 : 0;
  if (unknown > spare) return court.skip('S-1: more hosts failed at once than are spared');
  const reserve = spare > unknown ? Math.max(...votes) : 0;
  if (left - reserve < needed) {
    court.accuse(
      'S-1',
      `${left} votes left, ${reserve} may fail, ${needed} needed: ${host.cluster}/${host.plan.name}`,
    );
  }
}

export function judgeEffect(watch: EffectWatch, effect: Began): void {
  const { court, ledger, keptOf } = watch;
  // Fail-awake wakes belong to no command.
  if (effect.commandId === 'fail-awake') return;
  judgeOnce(watch, effect);
  judgeAlone(watch, effect);
  judgeHeld(watch, effect);
  judgeLock(watch, effect);
  const kept = keptOf(effect.cluster, effect.node, effect.commandId);
  judgeDurable(watch, effect, kept);
  judgeGranted(watch, effect, kept);
  const row = ledger.commands.get(effect.commandId);
  if (!row) return court.accuse('I8', `no row of ${nameOf(effect)}`);
  judgeAllowed(watch, effect, row);
  if (row.kind !== effect.kind || row.executor !== effect.node || row.cluster !== effect.cluster) {
    court.accuse('I8', `the row says ${row.kind} by ${row.executor}: ${nameOf(effect)}`);
  }
  if (effect.kind === 'node.shutdown' || effect.kind === 'node.reboot')
    judgePowerOff(watch, effect, row);
}
