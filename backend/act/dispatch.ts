/**
 * Hands a plan to the command protocol. Looks once more at fresh facts and may drop an intent,
 * never invent or change one. Observe and recommend yield no command at all.
 */
import type { CommandKind, CommandState } from '../../broker/contract/command.ts';
import { nodeKey } from '../../broker/contract/ids.ts';
import type { Intent, Plan } from '../decide/plan.ts';
import type { ClusterRecord, Fleet } from '../state/fleet.ts';
import { nodeState } from '../state/node-state.ts';

export type Autonomy = 'observe' | 'recommend' | 'approve' | 'auto';

/** A real cluster never acts by itself, whatever its row says, until wakes can be proven. */
export function autonomyOf(cluster: ClusterRecord, kind: CommandKind): Autonomy {
  const wished = cluster.autonomy[kind] ?? cluster.autonomy['default'] ?? 'observe';
  return wished === 'auto' && !cluster.simulated ? 'approve' : wished;
}

export type Dispatched =
  | { intent: Intent; outcome: 'submitted'; commandId: string; state: CommandState }
  | { intent: Intent; outcome: 'shown' }
  | { intent: Intent; outcome: 'dropped'; because: string };

type Submit = (submission: {
  cluster: string;
  kind: CommandKind;
  node: string;
  guest?: string;
  args: unknown;
  origin: 'engine';
  actor: string;
  reason: string;
  decisionId: string;
  approved: boolean;
}) => Promise<
  | { ok: true; id: string; state: CommandState }
  | { ok: false; refusal: { code: string; detail: string } }
>;

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

export async function dispatch(
  plan: Plan,
  decisionId: string,
  deps: { fleet: Fleet; submit: Submit; nowMs: number },
): Promise<Dispatched[]> {
  const results: Dispatched[] = [];
  for (const intent of plan.intents) {
    const cluster = deps.fleet.clusters.get(intent.cluster);
    const autonomy = cluster ? autonomyOf(cluster, intent.action.kind) : 'observe';
    const because = outdated(intent, deps.fleet, deps.nowMs);
    if (because !== null) {
      results.push({ intent, outcome: 'dropped', because });
    } else if (autonomy === 'observe' || autonomy === 'recommend') {
      results.push({ intent, outcome: 'shown' });
    } else {
      const answer = await deps.submit({
        cluster: intent.cluster,
        kind: intent.action.kind,
        node: intent.target.kind === 'node' ? intent.target.id : intent.executor,
        ...(intent.target.kind === 'guest' ? { guest: intent.target.id } : {}),
        args: intent.action.args,
        origin: 'engine',
        actor: 'engine',
        reason: intent.reason,
        decisionId,
        approved: autonomy === 'auto',
      });
      results.push(
        answer.ok
          ? { intent, outcome: 'submitted', commandId: answer.id, state: answer.state }
          : { intent, outcome: 'dropped', because: answer.refusal.detail },
      );
    }
  }
  return results;
}
