/**
 * Holds quotas where a guest is made or scaled, by whomever, in the transaction that writes the
 * command. Quotas span clusters and accounts, so one who asks takes a turn: a row that all such
 * transactions write first, by which they happen one after another.
 */
import type { CommandArgs } from '../../broker/contract/command.ts';
import { nodeKey } from '../../broker/contract/ids.ts';
import { appendEntry } from '../audit/entry.ts';
import type { Fleet, GuestRecord } from '../state/fleet.ts';
import type { CommandRows, QuotaClaim } from '../store/command-store.ts';
import type { QuotaClaims } from '../store/sql/schema.ts';
import {
  type Amount,
  type Claim,
  excess,
  type Held,
  isLimited,
  noQuotas,
  Quotas,
  type Seen,
  takenBy,
} from './quota.ts';
import type { Request } from './planned.ts';
import { refuse } from './refusal.ts';
import type { Context, Step } from './step.ts';

const quotasSetting = 'quotas';
const turnSetting = 'quota-turn';

export const quotasOf = async (rows: Pick<CommandRows, 'setting'>): Promise<Quotas> => {
  const text = await rows.setting(quotasSetting);
  return text === undefined ? noQuotas : Quotas.parse(JSON.parse(text));
};

const amountOf = ({ cpuCount, memoryTotalBytes }: GuestRecord): Amount => ({
  cpuCount: Math.ceil(cpuCount ?? 0),
  memoryBytes: memoryTotalBytes ?? 0,
});

const isLxd = (fleet: Fleet, cluster: string, node: string): boolean =>
  fleet.nodes.get(nodeKey(cluster, node))?.driver?.name === 'lxd';

type Now = { fleet: Fleet; monotonicMs: number; nowMs: number };

/** When it was heard, by the store's clock. */
const heardAtMs = (sampleAtMs: number, { monotonicMs, nowMs }: Now): number =>
  nowMs - (monotonicMs - sampleAtMs);

function claimOf(row: QuotaClaim, { fleet }: Now): Claim {
  const { cluster, guest, node, account } = row;
  return {
    cluster,
    guest,
    node,
    account,
    isOnLxd: isLxd(fleet, cluster, node),
    cpuCount: row.cpu_count,
    memoryBytes: row.memory_bytes,
    state: row.state,
    finishedAtMs: row.finished_at_ms,
  };
}

/** What every guest takes now, those that are only promised among them, and claims of none. */
function holdings(rows: readonly QuotaClaim[], now: Now): { held: Held[]; gone: QuotaClaim[] } {
  const { fleet } = now;
  const held: Held[] = [];
  const gone: QuotaClaim[] = [];
  const claimed = new Set<string>();
  for (const row of rows) {
    const claim = claimOf(row, now);
    const key = `${claim.cluster}/${claim.guest}`;
    claimed.add(key);
    const record = fleet.guests.get(key);
    const seen: Seen = record
      ? { amount: amountOf(record), atMs: heardAtMs(record.sampleAtMs, now) }
      : null;
    const sampleAtMs = fleet.nodes.get(nodeKey(claim.cluster, claim.node))?.sampleAtMs ?? null;
    const taken = takenBy(claim, seen, sampleAtMs === null ? null : heardAtMs(sampleAtMs, now));
    if (taken) held.push({ ...claim, ...taken });
    else gone.push(row);
  }
  for (const [key, record] of fleet.guests) {
    if (claimed.has(key)) continue;
    const { cluster, id: guest, node } = record;
    const isOnLxd = isLxd(fleet, cluster, node);
    held.push({ cluster, guest, account: null, isOnLxd, ...amountOf(record) });
  }
  return { held, gone };
}

const nowOf = ({ fleet, clock }: Context, nowMs: number): Now => ({
  fleet: fleet(),
  monotonicMs: clock.monotonicMs(),
  nowMs,
});

/** What the guest would take; null for what changes no size. */
function wantedAmount(
  { wanted }: Ask,
  before: Amount | null,
): { amount: Amount; isNew: boolean } | null {
  if (wanted.kind === 'guest.create') {
    const { cpuCount, memoryBytes } = wanted.args as CommandArgs<'guest.create'>;
    return { amount: { cpuCount, memoryBytes }, isNew: true };
  }
  if (wanted.kind !== 'guest.scale') return null;
  const { cpuCount, memoryBytes } = wanted.args as CommandArgs<'guest.scale'>;
  if (cpuCount === undefined && memoryBytes === undefined) return null;
  const now = before ?? { cpuCount: 0, memoryBytes: 0 };
  return {
    amount: { cpuCount: cpuCount ?? now.cpuCount, memoryBytes: memoryBytes ?? now.memoryBytes },
    isNew: false,
  };
}

export type Promised = Omit<QuotaClaims, 'command_id' | 'ver'>;

type Ask = Pick<Request, 'wanted' | 'submission'>;
const changesSize = (request: Ask): boolean =>
  request.wanted.guest !== null && wantedAmount(request, null) !== null;

/**
 * What it asks for, where no limit stands against it, and the claims that nobody holds any more.
 * Reads alone. @throws RefusedError 409 with the arithmetic.
 */
async function judged(
  step: Step,
  request: Ask,
): Promise<{ asked: Held | null; gone: QuotaClaim[] }> {
  const { rows, context, cluster, nowMs } = step;
  const { wanted, submission } = request;
  const guest = wanted.guest ?? '';
  const now = nowOf(context, nowMs);
  const { held, gone } = holdings(await rows.quotaClaims(), now);
  const isItself = (one: Held): boolean => one.cluster === cluster.id && one.guest === guest;
  const before = held.find(isItself) ?? null;
  const ask = wantedAmount(request, before);
  if (!ask) return { asked: null, gone };
  // Who made a guest answers for it, whoever scales it.
  const account = ask.isNew ? (submission.account ?? null) : (before?.account ?? null);
  const isOnLxd = isLxd(now.fleet, cluster.id, wanted.node);
  const asked: Held = { cluster: cluster.id, guest, account, isOnLxd, ...ask.amount };
  const quotas = await quotasOf(rows);
  if (!isLimited(quotas, asked)) return { asked, gone };
  const others = held.filter((one) => !isItself(one));
  const detail = excess(quotas, asked, { held: others, before });
  if (detail === null) return { asked, gone };
  return refuse(409, 'KR_QUOTA', {
    field: 'args',
    detail,
    wayOut: 'ask for less, take it from other guests, or let an administrator raise the quota',
  });
}

/**
 * What is to be promised with this command; null for one that changes no size.
 * @throws RefusedError 409 with the arithmetic.
 */
export async function promise(step: Step, request: Request): Promise<Promised | null> {
  const { rows, cluster } = step;
  if (!changesSize(request)) return null;
  await rows.putSetting(turnSetting, cluster.id);
  const { asked, gone } = await judged(step, request);
  for (const row of gone) await rows.dropQuotaClaim(row);
  if (!asked) return null;
  return {
    cluster: asked.cluster,
    guest: asked.guest,
    node: request.wanted.node,
    account: asked.account,
    cpu_count: asked.cpuCount,
    memory_bytes: asked.memoryBytes,
  };
}

/**
 * Whether it would be promised now; takes no turn and keeps nothing.
 * @throws RefusedError 409 with the arithmetic.
 */
export async function rehearsePromise(step: Step, request: Ask): Promise<void> {
  if (changesSize(request)) await judged(step, request);
}

export type QuotaStanding = { quotas: Quotas; held: readonly Held[] };

/** The limits, and what every guest takes of them. */
export const quotaStanding = (context: Context): Promise<QuotaStanding> =>
  context.store.transaction(async (rows) => {
    const now = nowOf(context, await rows.nowMs());
    const { held } = holdings(await rows.quotaClaims(), now);
    return { quotas: await quotasOf(rows), held };
  });

/** New limits; what is over them stays, and may only shrink. */
export const setQuotas = (context: Context, quotas: Quotas, actor: string): Promise<void> =>
  context.store.transaction(async (rows) => {
    await rows.putSetting(quotasSetting, JSON.stringify(quotas));
    await appendEntry(rows, {
      chain: 'system',
      actor,
      action: 'quotas.set',
      subject: 'quotas',
      phase: 'done',
      detail: quotas,
      atMs: await rows.nowMs(),
    });
  });
