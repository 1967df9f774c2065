/**
 * What people may ask about waking: begin a proving campaign, end it, and see how a node stands.
 * A campaign that guards would refuse for good is refused at once, with their way out.
 */
import { cancellableStates } from './lifecycle.ts';
import { appendEntry } from '../audit/entry.ts';
import { ConflictError } from '../store/sql/errors.ts';
import type { Nodes, WakeCampaigns } from '../store/sql/schema.ts';
import { cyclesMax, passesWithTime } from './campaign.ts';
import { wakeCandidates } from './executor.ts';
import { readNode } from './facts.ts';
import { parseFacts } from './guard-node.ts';
import { move, readCommand, stateOf } from './ledger.ts';
import { denialNow } from './proving.ts';
import type { Refusal, Refused } from '../refusal.ts';
import { answer, refuse } from './refusal.ts';
import { type Context, inStep, type Step } from './step.ts';
import { takeLease } from './submit.ts';
import { endWatch, type WatchStanding, watchStanding } from './watch.ts';
import {
  bindingOf,
  isProof,
  type Proof,
  proofsOf,
  type WakerKind,
  type Way,
  waysTo,
} from './wake-ways.ts';

export type NodeAt = { cluster: string; node: string };
export type ProveOrder = NodeAt & { cycles: number; waker: WakerKind; actor: string };

/** How a node stands: what is proven of waking it, how it could be woken, what is being tried. */
export type WakeStanding = NodeAt & {
  isProven: boolean;
  proofs: readonly Proof[];
  ways: readonly Way[];
  campaign: WakeCampaigns | null;
  /** Whether the engine may switch nodes of its cluster off by itself, and from when on. */
  watch: WatchStanding;
};

/** Twelve hours: three cycles under the usual limits take about three. */
const campaignMaxMs = 12 * 3_600_000;

async function knownNode(step: Step, node: string): Promise<Nodes> {
  return (
    (await readNode(step, node)) ??
    refuse(404, 'KR_UNKNOWN_NODE', {
      field: 'node',
      detail: `cluster ${step.cluster.id} has no node ${node}`,
      wayOut: 'name a node that GET /api/v1/nodes lists for this cluster',
    })
  );
}

async function standingOf(step: Step, row: Nodes): Promise<WakeStanding> {
  const { nowMs } = step;
  const key = { cluster: row.cluster, id: row.id };
  const facts = parseFacts(row);
  const ways = waysTo({ id: row.id, facts }, await wakeCandidates(step, row));
  const proofs = proofsOf(await step.rows.wakeProofs(key), { facts, nowMs });
  const kinds = new Set(ways.map(({ by }) => by));
  return {
    cluster: row.cluster,
    node: row.id,
    isProven: proofs.some((proof) => isProof(proof) && kinds.has(proof.waker)),
    proofs: proofs.filter(({ waker, succeeded }) => succeeded > 0 || kinds.has(waker)),
    ways,
    campaign: (await step.rows.newestCampaign(key)) ?? null,
    watch: await watchStanding(step),
  };
}

const onNode = <T>(
  context: Context,
  { cluster, node }: NodeAt,
  work: (step: Step, row: Nodes) => Promise<T>,
): Promise<({ ok: true } & T) | Refused> =>
  answer(async () => {
    await takeLease(context, cluster);
    return inStep(context, cluster, async (step) => ({
      ok: true as const,
      ...(await work(step, await knownNode(step, node))),
    }));
  });

export type Stood = { standing: WakeStanding };

export const wakeStanding = (
  context: Context,
  at: NodeAt,
): Promise<({ ok: true } & Stood) | Refused> =>
  onNode(context, at, async (step, row) => ({ standing: await standingOf(step, row) }));

const conflict = (code: Refusal['code'], rest: Omit<Refusal, 'status' | 'code'>): never =>
  refuse(409, code, rest);

function checkOrder(step: Step, row: Nodes, { cycles, waker, node }: ProveOrder): void {
  if (!Number.isInteger(cycles) || cycles < 1 || cycles > cyclesMax) {
    refuse(400, 'KR_INVALID', {
      field: 'cycles',
      detail: `${cycles} cycles`,
      wayOut: `ask for 1 to ${cyclesMax}; a proof needs 3`,
    });
  }
  if (step.isHeld) {
    conflict('KR_HOLD', {
      field: 'cluster',
      detail: `cluster ${step.cluster.id} is on hold`,
      wayOut: 'an administrator releases HOLD, then it is asked again',
    });
  }
  if (bindingOf(parseFacts(row), waker)) return;
  conflict('KR_WAKE_UNBOUND', {
    field: 'node',
    detail: `node ${node} has not told its kernel, or no network card that answers magic packets`,
    wayOut:
      'start its daemon there; for wol run `ethtool -s <link> wol g` and enable it in the BIOS',
  });
}

async function begin(step: Step, row: Nodes, order: ProveOrder): Promise<Stood> {
  checkOrder(step, row, order);
  const before = await standingOf(step, row);
  if (before.campaign?.state === 'running') {
    conflict('KR_CAMPAIGN_RUNS', {
      field: 'node',
      detail: `campaign ${before.campaign.id} of node ${order.node} runs`,
      wayOut: 'wait for its end, or end it with DELETE',
    });
  }
  const campaign: WakeCampaigns = {
    id: step.context.newId(),
    cluster: order.cluster,
    node: order.node,
    waker: order.waker,
    actor: order.actor,
    cycles: order.cycles,
    done: 0,
    proven: 0,
    attempts: 0,
    phase: 'off',
    state: 'running',
    command_id: null,
    binding_hash: null,
    binding: null,
    why: 'it begins',
    is_cancelled: 0,
    off_at_ms: null,
    started_at_ms: step.nowMs,
    next_at_ms: step.nowMs,
    deadline_at_ms: step.nowMs + campaignMaxMs,
    finished_at_ms: null,
    ver: 1,
  };
  // Its row first: the guards recognise the campaign by it.
  await step.rows.insertCampaign(campaign);
  const denial = await denialNow(step, campaign, 'node.shutdown');
  if (denial && !passesWithTime(denial)) {
    conflict(denial.code as Refusal['code'], {
      field: 'node',
      detail: denial.reason,
      wayOut: denial.wayOut,
    });
  }
  await appendEntry(step.rows, {
    chain: order.cluster,
    actor: order.actor,
    action: 'wake.campaign-begun',
    subject: `node:${order.node}`,
    phase: 'done',
    detail: { campaign: campaign.id, waker: order.waker, cycles: order.cycles },
    atMs: step.nowMs,
  });
  return { standing: { ...before, campaign } };
}

export const proveWake = (
  context: Context,
  order: ProveOrder,
): Promise<({ ok: true } & Stood) | Refused> =>
  onNode(context, order, (step, row) => begin(step, row, order));

async function giveUp(step: Step, row: Nodes, actor: string): Promise<Stood> {
  const standing = await standingOf(step, row);
  const { campaign } = standing;
  if (campaign?.state !== 'running') {
    return refuse(404, 'KR_NO_CAMPAIGN', {
      field: 'node',
      detail: `no campaign of node ${row.id} runs`,
      wayOut: 'nothing needs to be done',
    });
  }
  if (campaign.is_cancelled === 1) return { standing };
  const command = campaign.command_id && (await readCommand(step, campaign.command_id));
  if (command && campaign.phase === 'off' && cancellableStates.includes(stateOf(command))) {
    await move(step, command, 'cancel', { actor, reason: `campaign ended by ${actor}` });
  }
  const patch = { is_cancelled: 1 as const, why: 'it ends as soon as the node is awake' };
  if (!(await step.rows.updateCampaign(campaign, patch))) {
    throw new ConflictError(`campaign ${campaign.id} changed under us`);
  }
  await appendEntry(step.rows, {
    chain: row.cluster,
    actor,
    action: 'wake.campaign-cancelled',
    subject: `node:${row.id}`,
    phase: 'done',
    detail: { campaign: campaign.id },
    atMs: step.nowMs,
  });
  return { standing: { ...standing, campaign: { ...campaign, ...patch, ver: campaign.ver + 1 } } };
}

export const endProving = (
  context: Context,
  at: NodeAt,
  actor: string,
): Promise<({ ok: true } & Stood) | Refused> =>
  onNode(context, at, (step, row) => giveUp(step, row, actor));

/** Power-offs of the cluster are automatic from now on where that is wished. */
export const trustEngine = (
  context: Context,
  at: NodeAt,
  actor: string,
): Promise<({ ok: true } & Stood) | Refused> =>
  onNode(context, at, async (step, row) => {
    await endWatch(step, actor);
    return { standing: await standingOf(step, row) };
  });
