/**
 * Hands a plan to the command protocol. Looks once more at fresh facts and may drop an intent,
 * never invent or change one. Observe and recommend yield no command at all.
 */
import type { CommandKind, CommandState } from '../../broker/contract/command.ts';
import { nodeKey } from '../../broker/contract/ids.ts';
import type { Intent, Plan } from '../decide/plan.ts';
import type { Fleet } from '../state/fleet.ts';
import { nodeState } from '../state/node-state.ts';
import { wishedLevel } from './autonomy.ts';

export type Dispatched =
  /** `deniedBy`: the code of the guard that rejected it. */
  | {
      intent: Intent;
      outcome: 'submitted';
      commandId: string;
      state: CommandState;
      deniedBy?: string;
    }
  /** `deniedBy`: what guards would have said, were it more than shown. */
  | { intent: Intent; outcome: 'shown'; deniedBy?: string }
  | { intent: Intent; outcome: 'dropped'; because: string };

type Proposal = {
  cluster: string;
  kind: CommandKind;
  node: string;
  guest?: string;
  args: unknown;
  origin: 'engine' | 'system';
  actor: string;
  reason: string;
  decisionId: string;
  approved: boolean;
};
type Refused = { ok: false; refusal: { code: string; detail: string } };

export type DispatchDeps = {
  fleet: Fleet;
  submit(
    proposal: Proposal,
  ): Promise<{ ok: true; id: string; state: CommandState; deniedBy?: string } | Refused>;
  /** Asks the guards without any command. */
  rehearse(proposal: Proposal): Promise<{ ok: true; denial: { code: string } | null } | Refused>;
  nowMs: number;
};

/** Why an intent no longer fits the world, or null. */
function outdated(intent: Intent, fleet: Fleet, nowMs: number): string | null {
  const nodes = [intent.executor];
  if (intent.action.kind === 'guest.migrate') nodes.push(intent.action.args.targetNode);
  for (const name of nodes) {
    const node = fleet.nodes.get(nodeKey(intent.cluster, name));
    const state = node ? nodeState(node, nowMs) : 'unknown';
    if (state !== 'awake') return `${name} is ${state}`;
  }
  if (intent.target.kind === 'guest') {
    const guest = fleet.guests.get(`${intent.cluster}/${intent.target.id}`);
    if (guest?.node !== intent.executor) {
      return `${intent.target.id} is on ${guest?.node ?? 'no known node'}`;
    }
  }
  return null;
}

const proposalOf = (intent: Intent, decisionId: string, approved: boolean): Proposal => ({
  cluster: intent.cluster,
  kind: intent.action.kind,
  node: intent.target.kind === 'node' ? intent.target.id : intent.executor,
  ...(intent.target.kind === 'guest' ? { guest: intent.target.id } : {}),
  args: intent.action.args,
  origin: intent.orderedBy === undefined ? 'engine' : 'system',
  actor: intent.orderedBy ?? 'engine',
  reason: intent.reason,
  decisionId,
  approved,
});

async function handOver(
  intent: Intent,
  decisionId: string,
  approved: boolean,
  deps: DispatchDeps,
): Promise<Dispatched> {
  const answer = await deps.submit(proposalOf(intent, decisionId, approved));
  return answer.ok
    ? {
        intent,
        outcome: 'submitted',
        commandId: answer.id,
        state: answer.state,
        ...(answer.deniedBy !== undefined && { deniedBy: answer.deniedBy }),
      }
    : { intent, outcome: 'dropped', because: answer.refusal.detail };
}

/** Level by level: kept, shown and rehearsed, or handed over; act/ alone knows what `auto` is. */
async function dispatchOne(
  intent: Intent,
  decisionId: string,
  deps: DispatchDeps,
): Promise<Dispatched> {
  const { fleet, nowMs } = deps;
  const cluster = fleet.clusters.get(intent.cluster);
  const level = cluster ? wishedLevel(cluster.autonomy, intent.action.kind) : 'observe';
  const because = outdated(intent, fleet, nowMs);
  if (because !== null) return { intent, outcome: 'dropped', because };
  if (intent.orderedBy !== undefined) return handOver(intent, decisionId, true, deps);
  if (level === 'observe') return { intent, outcome: 'shown' };
  if (level === 'recommend') {
    const said = await deps.rehearse(proposalOf(intent, decisionId, false));
    const deniedBy = said.ok ? said.denial?.code : said.refusal.code;
    return { intent, outcome: 'shown', ...(deniedBy !== undefined && { deniedBy }) };
  }
  return handOver(intent, decisionId, level === 'auto', deps);
}

export async function dispatch(
  plan: Plan,
  decisionId: string,
  deps: DispatchDeps,
): Promise<Dispatched[]> {
  const results: Dispatched[] = [];
  for (const intent of plan.intents) results.push(await dispatchOne(intent, decisionId, deps));
  return results;
}
