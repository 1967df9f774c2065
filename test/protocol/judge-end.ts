/**
 * What must hold when everything has come to rest: I5 and I8 of all that happened, the audit
 * chain recomputed, L-1 and L-2. The chain and the signature are checked by code of this file.
 */
import { createHash, createPublicKey, verify } from 'node:crypto';
import type { Audit, Commands } from '../../backend/store/sql/schema.ts';
import type { ServerKey, Signed } from '../../broker/contract/server.ts';
import type { House } from './house.ts';
import { isOver } from './judge-commits.ts';
import type { CommandRow } from './ledger.ts';
import { helloEveryMs } from './node.ts';
import { callRoll } from './people.ts';
import type { Host } from './world.ts';

const second = 1_000;
const minute = 60 * second;
/** SAFETY 3.2: how long each state may last by itself; for the rest see the command's kind. */
const effectMs: Record<string, number> = {
  'node.shutdown': 15 * minute,
  'node.reboot': 15 * minute,
  'node.wake': 10 * minute,
  'guest.restart': 10 * minute,
  'guest.migrate': 15 * minute,
};
const ownTimeoutMs = (row: CommandRow, wallMs: number, nowMs: number): number => {
  const usual = effectMs[row.kind] ?? 5 * minute;
  switch (row.state) {
    case 'PLANNED':
    case 'QUEUED':
    case 'OFFERED':
      return Math.max(0, row.expires_at_ms - wallMs) + nowMs;
    case 'GRANTED':
      return 30 * second;
    case 'CANCELLING':
      return 2 * minute;
    case 'RUNNING':
    case 'VERIFYING':
      return usual + minute;
    case 'INDETERMINATE':
    case 'SUCCEEDED':
    case 'FAILED':
    case 'REJECTED':
    case 'CANCELLED':
    case 'EXPIRED':
    default:
      return 0;
  }
};

const isSettled = (row: CommandRow): boolean =>
  isOver(row.state) || (row.state === 'INDETERMINATE' && row.alarmed_at_ms !== null);

export const hasSettled = ({ ledger }: House): boolean =>
  [...ledger.open.values()].every(isSettled);

/**
 * L-1: once the faults have ended, nothing stays open longer than its own timeout and 5 minutes,
 * unless it is INDETERMINATE and a person has been told.
 */
export function judgeProgress({ ledger, court, clock }: House, faultsEndedMs: number): void {
  for (const row of ledger.open.values()) {
    if (isSettled(row)) continue;
    const lines = ledger.lines.get(row.id) ?? [];
    const enteredMs =
      (lines[lines.findLastIndex(({ state }) => state !== row.state) + 1] ?? lines[0])?.atMs ?? 0;
    const nowMs = clock.monotonicMs();
    const isWaiting = ['PLANNED', 'QUEUED', 'OFFERED'].includes(row.state);
    const sinceMs = Math.max(faultsEndedMs, enteredMs);
    const dueMs = isWaiting
      ? ownTimeoutMs(row, clock.wallMs(), nowMs)
      : sinceMs + ownTimeoutMs(row, clock.wallMs(), nowMs);
    if (nowMs > Math.max(dueMs, faultsEndedMs) + 5 * minute + 10 * second) {
      court.accuse('L-1', `${row.state} since ${enteredMs} ms: ${row.kind} ${row.id}`);
    }
  }
}

/** L-2: what is wanted of a node is so, or a command on it says why not. */
export function judgeWishes({ ledger, court, world }: House): void {
  for (const host of world.hosts.values()) {
    const key = `${host.cluster}/${host.plan.name}`;
    const isWanted = (ledger.desired.get(key) ?? 'awake') === 'awake';
    if (isWanted === host.isOn) continue;
    const last = [...ledger.commands.values()].findLast(
      (row) =>
        row.cluster === host.cluster &&
        row.target_kind === 'node' &&
        row.target_id === host.plan.name,
    );
    const isExplained =
      last !== undefined && last.state !== 'SUCCEEDED' && last.state_reason !== null;
    if (!isExplained)
      court.accuse(
        'L-2',
        `${key} is ${host.isOn ? 'on' : 'off'}, wanted otherwise, nothing says why`,
      );
  }
  for (const row of ledger.commands.values()) {
    if (isOver(row.state) && row.state !== 'SUCCEEDED' && !row.state_reason) {
      court.accuse('L-2', `${row.state} without a reason: ${row.kind} ${row.id}`);
    }
  }
}

/** Who is up and not known to be, each with what was said of it. */
async function missing(house: House): Promise<[Host, string][]> {
  const { world, nodes, clock } = house;
  const answers = new Map<Host, string>();
  callRoll(house, (host, reason) => void answers.set(host, reason));
  await clock.run(1_000);
  const up = [...world.hosts.values()].filter(
    ({ cluster, plan }) => nodes.get(`${cluster}/${plan.name}`)?.isUp() ?? false,
  );
  return up
    .map((host): [Host, string] => [host, answers.get(host) ?? 'nothing'])
    .filter(([, reason]) => !reason.startsWith('KR_ALREADY_AWAKE'));
}

/** L-2: whoever is there can be spoken to again, at the latest when its next hello has come. */
export async function judgeRoll(house: House): Promise<void> {
  if ((await missing(house)).length === 0) return;
  await house.clock.run(helloEveryMs + 60_000);
  for (const [{ cluster, plan }, reason] of await missing(house)) {
    house.court.accuse('L-2', `${cluster}/${plan.name} is up, and the server says ${reason}`);
  }
}

/** I5, over all time: what FAILED has not come true afterwards, what SUCCEEDED began once. */
export function judgeOutcomes({ ledger, court, world }: House): void {
  for (const row of ledger.commands.values()) {
    const count = world.effects.filter(({ commandId }) => commandId === row.id).length;
    const failedAtMs = ledger.lines.get(row.id)?.at(-1)?.atMs ?? 0;
    if (row.state === 'FAILED' && (world.ended.get(row.id) ?? 0) > failedAtMs) {
      court.accuse('I5', `came true after FAILED: ${row.kind} ${row.id}`);
    }
    if (['REJECTED', 'CANCELLED', 'EXPIRED'].includes(row.state) && count > 0) {
      court.accuse('I3', `${count} starts in the end: ${row.kind} ${row.id} ${row.state}`);
    }
  }
}

const spki = Buffer.from('302a300506032b6570032100', 'hex');

function isSigned(keys: readonly ServerKey[], { signed, keyId, signature }: Signed): boolean {
  const key = keys.find((one) => one.keyId === keyId);
  if (!key) return false;
  const der = Buffer.concat([spki, Buffer.from(key.publicKey, 'base64')]);
  const publicKey = createPublicKey({ key: der, format: 'der', type: 'spki' });
  return verify(null, Buffer.from(signed), publicKey, Buffer.from(signature, 'base64'));
}

type Evaluation = { phase: string; verdicts: { denial: object | null }[] };

/** I8: every start has an actor, both guard snapshots without a denial, and a signed grant. */
export function judgeReceipts(
  { court, world }: House,
  rows: readonly Commands[],
  keys: readonly ServerKey[],
): void {
  const byId = new Map(rows.map((row) => [row.id, row]));
  for (const { commandId } of world.effects) {
    const row = byId.get(commandId);
    if (!row) continue;
    const wrong = (what: string): void => court.accuse('I8', `${what}: ${row.kind} ${row.id}`);
    const snapshots = JSON.parse(row.guards) as Evaluation[];
    const isWhole = ['PLANNED', 'GRANT'].every((phase) =>
      snapshots.some((one) => one.phase === phase && one.verdicts.length > 0),
    );
    if (!isWhole) wrong('a guard snapshot is missing');
    if (snapshots.some(({ verdicts }) => verdicts.some(({ denial }) => denial !== null))) {
      wrong('a guard had denied it');
    }
    if (row.actor === '') wrong('nobody asked for it');
    const grant = row.grant_signed === null ? null : (JSON.parse(row.grant_signed) as Signed);
    if (!grant || !isSigned(keys, grant)) wrong('its grant is not signed');
  }
}

const genesis = '0'.repeat(64);

/** I8: the chain, hashed again: nothing missing, nothing changed, nothing out of order. */
export function judgeChain({ court }: House, audit: readonly Audit[]): void {
  const heads = new Map<string, { seq: number; hash: string }>();
  for (const row of audit) {
    const before = heads.get(row.chain) ?? { seq: 0, hash: genesis };
    const { chain, seq, at_ms, actor, action, subject, phase, opened_seq, detail, prev_hash } = row;
    const fields = [
      chain,
      seq,
      at_ms,
      actor,
      action,
      subject,
      phase,
      opened_seq,
      detail,
      prev_hash,
    ];
    const hash = createHash('sha256').update(JSON.stringify(fields)).digest('hex');
    if (seq !== before.seq + 1 || prev_hash !== before.hash || row.hash !== hash) {
      court.accuse('I8', `audit chain ${chain} broken at ${seq}`);
      return;
    }
    heads.set(chain, { seq, hash });
  }
}

/** I8: each command that came to be was opened in the chain, and closed when it ended. */
export function judgeBooks({ court, ledger }: House, audit: readonly Audit[]): void {
  const opened = new Set<string>();
  const closed = new Map<string, string>();
  for (const { subject, phase, action } of audit) {
    if (phase === 'opened') opened.add(subject);
    if (phase === 'closed') closed.set(subject, action);
  }
  for (const row of ledger.commands.values()) {
    const subject = `command:${row.id}`;
    if (!opened.has(subject)) court.accuse('I8', `never opened in the chain: ${row.id}`);
    const ending = isOver(row.state) ? `command.${row.state.toLowerCase()}` : undefined;
    if (closed.get(subject) !== ending)
      court.accuse('I8', `${row.state}, the chain says ${closed.get(subject)}: ${row.id}`);
  }
}
