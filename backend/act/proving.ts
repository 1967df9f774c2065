/**
 * Runs proving campaigns: looks at each one's row and its world, asks campaign.ts what is next, and
 * does that in one step of the cluster. All it knows stands in rows, so another backend goes on
 * where this one was killed. It sends what a person has asked for, under that person's name.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import { appendEntry } from '../audit/entry.ts';
import { scaledMs } from '../decide/policy.ts';
import { ConflictError } from '../store/sql/errors.ts';
import type { Commands, WakeCampaigns } from '../store/sql/schema.ts';
import { type CampaignStep, nextStep, type View } from './campaign.ts';
import { assign, type Wanted } from './executor.ts';
import { gatherFacts, readNode } from './facts.ts';
import { type Denial, denialOf, isFresh, type NodeFact } from './guard.ts';
import { nodeFact, parseFacts } from './guard-node.ts';
import { evaluate } from './guards.ts';
import { readCommand, sha256, stateOf } from './ledger.ts';
import { lookAtTokens } from './limiter.ts';
import { sendPart } from './part.ts';
import { type Context, inStep, type Step, timeScaleOf } from './step.ts';
import { renewWakeTables } from './sync-content.ts';
import { bindingHash, bindingOf, proofsOf, type WakerKind } from './wake-ways.ts';

const rejoinMaxMs = 600_000;
/** A power-off is in doubt after 15 min; whoever could have seen it was asked again by then. */
const offMaxMs = 20 * 60_000;
const wakeMaxMs = 30 * 60_000;
/** A machine that says it is off may still be closing its disks. */
const settleMs = 30_000;
const askAgainMs = 15_000;

const scaled = ({ cluster }: Step, ms: number): number =>
  Math.round(scaledMs(ms, { timeScale: timeScaleOf(cluster) }));

/** A waker of the simulated world has no kind of its own to be named by. */
const wakeArgs = ({ cluster }: Step, waker: string): object =>
  cluster.simulated === 1 ? {} : { waker };

const wantedOf = (step: Step, row: WakeCampaigns, kind: CommandKind): Wanted => ({
  kind,
  node: row.node,
  guest: null,
  args: kind === 'node.wake' ? wakeArgs(step, row.waker) : { mode: 'poweroff' },
});

/** What guards and limiter would say of its next command, without a row of it. */
export async function denialNow(
  step: Step,
  row: WakeCampaigns,
  kind: CommandKind,
): Promise<Denial | null> {
  const { executor, args } = await assign(step, wantedOf(step, row, kind));
  const subject = {
    id: row.id,
    kind,
    target_kind: 'node' as const,
    target_id: row.node,
    executor,
    args: JSON.stringify(args),
    origin: 'person' as const,
    plan_id: row.id,
  };
  const facts = await gatherFacts(step, 'PLANNED', subject);
  const evaluation = evaluate('PLANNED', step.nowMs, facts);
  await renewWakeTables(step, evaluation, row.node);
  return denialOf(evaluation) ?? lookAtTokens(step, { ...subject, kind });
}

/** Its daemon speaks, freshly, and its cluster, if it has one, counts it in and has quorum. */
function isBack(node: NodeFact): boolean {
  if (!isFresh(node) || !node.facts) return false;
  const { quorum } = node.facts;
  if (quorum === null) return true;
  const isMember = quorum.members.some(({ node: id, online }) => id === node.id && online);
  return quorum.quorate && isMember && (node.membersOnline?.includes(node.id) ?? false);
}

/** Cycles of this campaign that count for what the node says it is now. */
async function provenBy(step: Step, row: WakeCampaigns): Promise<number> {
  const key = { cluster: row.cluster, id: row.node };
  const node = await step.rows.node(key);
  const rows = await step.rows.wakeProofs(key);
  const own = rows.filter(({ created_at_ms }) => created_at_ms >= row.started_at_ms);
  const facts = node ? parseFacts(node) : null;
  const proofs = proofsOf(own, { facts, nowMs: step.nowMs });
  return proofs.find(({ waker }) => waker === row.waker)?.succeeded ?? 0;
}

async function viewOf(step: Step, row: WakeCampaigns): Promise<View> {
  const command = row.command_id === null ? undefined : await readCommand(step, row.command_id);
  const node = await readNode(step, row.node);
  const kind = row.phase === 'off' ? 'node.shutdown' : 'node.wake';
  const isWaiting = !command && row.phase !== 'rejoin' && !step.isHeld;
  return {
    campaign: {
      id: row.id,
      cluster: row.cluster,
      node: row.node,
      waker: row.waker,
      cycles: row.cycles,
      phase: row.phase,
      attempts: row.attempts,
      done: row.done,
      deadlineAtMs: row.deadline_at_ms,
      nextAtMs: row.next_at_ms,
      isCancelled: row.is_cancelled === 1,
      isOffSeen: row.off_at_ms !== null,
    },
    nowMs: step.nowMs,
    isHeld: step.isHeld,
    command: command
      ? {
          state: stateOf(command),
          reason: command.state_reason,
          grantedAtMs: command.granted_at_ms,
        }
      : null,
    denial: isWaiting ? await denialNow(step, row, kind) : null,
    proven: await provenBy(step, row),
    hasRejoined: node !== undefined && isBack(nodeFact(step, node)),
    rejoinMaxMs: scaled(step, rejoinMaxMs),
    offMaxMs: scaled(step, offMaxMs),
    wakeMaxMs: scaled(step, wakeMaxMs),
  };
}

async function save(step: Step, row: WakeCampaigns, patch: Partial<WakeCampaigns>): Promise<void> {
  if (await step.rows.updateCampaign(row, patch)) return;
  throw new ConflictError(`campaign ${row.id} changed under us`);
}

const sendCommand = (step: Step, row: WakeCampaigns, kind: CommandKind): Promise<Commands> =>
  sendPart(step, {
    wanted: wantedOf(step, row, kind),
    origin: 'person',
    actor: row.actor,
    reason: `proving campaign ${row.id}`,
    planId: row.id,
  });

/** What the node is at the moment it is switched off: the proof will be of that. */
async function boundNow(step: Step, row: WakeCampaigns): Promise<Partial<WakeCampaigns>> {
  const node = await readNode(step, row.node);
  const binding = bindingOf(node ? parseFacts(node) : null, row.waker as WakerKind);
  return {
    binding: binding && JSON.stringify(binding),
    binding_hash: binding && bindingHash(binding),
  };
}

async function send(step: Step, row: WakeCampaigns, kind: 'node.shutdown' | 'node.wake') {
  const isOff = kind === 'node.shutdown';
  const bound = isOff ? await boundNow(step, row) : {};
  const command = await sendCommand(step, row, kind);
  await save(step, row, {
    ...bound,
    command_id: command.id,
    why: isOff ? 'the node is to switch off' : 'the node is to be woken',
    ...(isOff && { attempts: row.attempts + 1 }),
  });
}

async function enter(
  step: Step,
  row: WakeCampaigns,
  { phase, isOffSeen = true }: Extract<CampaignStep, { do: 'enter' }>,
) {
  if (phase === 'rejoin') return save(step, row, { phase, why: 'it is awake and has to rejoin' });
  const isNew = phase !== row.phase;
  await save(step, row, {
    phase,
    command_id: null,
    next_at_ms: step.nowMs + scaled(step, isNew ? settleMs : askAgainMs),
    ...(isNew && {
      off_at_ms: isOffSeen ? step.nowMs : null,
      why: isOffSeen ? 'the node is off' : 'nobody saw the node off; it is woken all the same',
    }),
  });
}

async function keepProof(step: Step, row: WakeCampaigns, bootMs: number | null): Promise<void> {
  await step.rows.insertWakeProof({
    id: step.context.newId(),
    cluster: row.cluster,
    node: row.node,
    waker: row.waker,
    binding_hash: row.binding_hash ?? sha256(''),
    binding: row.binding ?? 'null',
    off_at_ms: row.off_at_ms ?? step.nowMs,
    woken_at_ms: bootMs === null ? null : step.nowMs,
    boot_ms: bootMs,
    succeeded: bootMs === null ? 0 : 1,
    command_id: row.command_id,
    created_at_ms: step.nowMs,
  });
  await appendEntry(step.rows, {
    chain: row.cluster,
    actor: row.actor,
    action: bootMs === null ? 'wake.failed' : 'wake.proved',
    subject: `node:${row.node}`,
    phase: 'done',
    detail: { campaign: row.id, waker: row.waker, bootMs, binding: row.binding_hash },
    atMs: step.nowMs,
  });
}

async function prove(step: Step, row: WakeCampaigns, bootMs: number): Promise<void> {
  await keepProof(step, row, bootMs);
  const proven = await provenBy(step, row);
  await save(step, row, {
    phase: 'off',
    command_id: null,
    done: row.done + 1,
    proven,
    next_at_ms: step.nowMs + scaled(step, settleMs),
    why: `it came back after ${Math.round(bootMs / 1_000)} s`,
  });
}

async function end(
  step: Step,
  row: WakeCampaigns,
  { state, why, isWakeFailure }: Extract<CampaignStep, { do: 'end' }>,
): Promise<void> {
  if (isWakeFailure) await keepProof(step, row, null);
  await step.rows.fillProven({ cluster: row.cluster, id: row.node });
  await save(step, row, { state, why, finished_at_ms: step.nowMs, command_id: null });
  await appendEntry(step.rows, {
    chain: row.cluster,
    actor: row.actor,
    action: `wake.campaign-${state}`,
    subject: `node:${row.node}`,
    phase: 'done',
    detail: { campaign: row.id, waker: row.waker, proven: row.proven, why },
    atMs: step.nowMs,
  });
}

async function take(step: Step, row: WakeCampaigns, next: CampaignStep): Promise<void> {
  switch (next.do) {
    case 'wait':
      return next.why === row.why ? undefined : save(step, row, { why: next.why });
    case 'send':
      return send(step, row, next.kind);
    case 'enter':
      return enter(step, row, next);
    case 'prove':
      return prove(step, row, next.bootMs);
    case 'end':
      return end(step, row, next);
    default:
      return next satisfies never;
  }
}

/** One look at each of a cluster's campaigns. */
export const proveCluster = (
  context: Context,
  cluster: string,
  ids: readonly string[],
): Promise<void> =>
  inStep(context, cluster, async (step) => {
    for (const id of ids) {
      const row = await step.rows.campaign(id);
      if (row?.state === 'running') await take(step, row, nextStep(await viewOf(step, row)));
    }
  });
