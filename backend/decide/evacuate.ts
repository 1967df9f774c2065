/**
 * Nodes that a person wants emptied, and later filled again with who ran there. Spread over the
 * nodes with most room left, one node at a time, within the limits of migrations; what HA manages
 * leaves by the hypervisor's own maintenance mode. A node that is empty is told to rest, and to
 * switch off where that was wished. Nothing moves onto a node that is being emptied. What is in the
 * way is reported, and nothing is forced.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import type { Evacuation } from '../state/fleet.ts';
import { nodeState } from '../state/node-state.ts';
import { mayStand } from './constraints.ts';
import { biggestFirst, fitsNowhere, roomiest, unmetOf } from './roomiest.ts';
import { fits, type Model, nodeRole, plan, ratioOf } from './model.ts';
import type { Intent, NonAction } from './plan.ts';
import { refusalOf, wakeWaitMs } from './refusals.ts';
import type { Look } from './relieve.ts';

const rule = 'maintenance.evacuate';
const returnRule = 'maintenance.return';
const namedMax = 3;

/** `emptied` may rest now; `returned` have their guests back. */
export type Evacuating = {
  intents: Intent[];
  nonActions: NonAction[];
  unmetUnits: number;
  emptied: string[];
  returned: string[];
};

type Orders = Pick<Look, 'situation' | 'traffic'>;
type Work = { model: Model; look: Orders; place: number; wish: Evacuation; done: Evacuating };

const round = (value: number): number => Math.round(value * 1000) / 1000;
const nameOf = ({ model, place }: Work): string => model.nodes[place]!.node;

function refuse(work: Work, reason: string, flip: string, by = rule): void {
  const subject = { kind: 'node' as const, id: nameOf(work) };
  work.done.nonActions.push({ subject, rule: by, reason, flip });
}

/** Ordered by a person: its commands are theirs, and wait for no approval but the guards'. */
function order(
  work: Work,
  intent: Pick<Intent, 'target' | 'executor' | 'action' | 'reason'>,
): void {
  const { look, wish, done, model, place } = work;
  const guests = model.guestsOf[place]!.length;
  done.intents.push({
    cluster: look.situation.cluster.id,
    rule: wish.phase === 'return' ? returnRule : rule,
    facts: [{ name: 'guestsLeft', value: guests, unit: 'count' }],
    alternatives: [],
    predicted: [],
    margin: { name: 'orderedByPerson', value: true },
    orderedBy: wish.actor,
    ...intent,
  });
}

const can = ({ model, place }: Work, kind: CommandKind): boolean =>
  model.nodes[place]!.driver?.capabilities.includes(kind) === true;

/** Of the move of a guest that runs. */
export const moveArgs = (kind: string, targetNode: string) => ({
  targetNode,
  online: kind === 'vm',
  withLocalDisks: false,
});

function move(work: Work, guest: number, to: number, why: string): void {
  const { model, look } = work;
  const [sample, from] = [model.guests[guest]!, model.nodeOf[guest]!];
  const target = model.nodes[to]!.node;
  order(work, {
    target: { kind: 'guest', id: sample.id },
    executor: model.nodes[from]!.node,
    action: { kind: 'guest.migrate', args: moveArgs(sample.kind, target) },
    reason: `${why}: ${sample.name} moves to ${target}`,
  });
  look.traffic.note(from, to);
  plan(model, guest, to);
  work.done.intents.at(-1)!.predicted = [
    { name: 'targetCpuRatio', value: round(ratioOf(model, to)), unit: 'ratio' },
  ];
}

const onNode = (work: Work, action: Intent['action'], reason: string): void =>
  order(work, {
    target: { kind: 'node', id: nameOf(work) },
    executor: nameOf(work),
    action,
    reason,
  });

/** Whether guards refused something of this node lately; then that is said, and nothing asked. */
function isRefused(work: Work, by: string): boolean {
  if (refusalOf(work.look.situation, 'node', nameOf(work)) === null) return false;
  refuse(work, 'the guards refused the next step lately', 'what the guards said changes', by);
  return true;
}

function rest(work: Work): void {
  const { model, look, place, wish, done } = work;
  const node = model.nodes[place]!;
  if (node.guests === null) return refuse(work, 'its guests are unknown', 'its driver tells them');
  if (!look.traffic.isQuiet(place)) {
    return refuse(work, 'is empty, but a guest is on its way', 'that move ends');
  }
  if (wish.phase === 'prove') return;
  if (!wish.sleeps) return void done.emptied.push(node.node);
  if (isRefused(work, rule)) return;
  const action = { kind: 'node.shutdown', args: { mode: 'poweroff' } } as const;
  onNode(work, action, `${node.node} is empty and was to be switched off: it goes to sleep`);
  model.touched[place] = 1;
}

/** Guests leave, biggest first, as many as may move now. */
function leave(work: Work): void {
  const { model, look, place, done } = work;
  const node = model.nodes[place]!;
  const guests = biggestFirst(model, place);
  const isOfHa = (guest: number): boolean => model.guests[guest]!.haState !== null;
  if (guests.some(isOfHa) && can(work, 'node.drain') && node.facts?.maintenance !== true) {
    if (isRefused(work, rule)) return;
    const reason = `${node.node} is to be emptied: HA moves the guests that it manages`;
    return onNode(work, { kind: 'node.drain', args: {} }, reason);
  }
  const blocked: string[] = [];
  for (const guest of guests) {
    // HA moves it; that it waits is no obstacle of ours.
    if (isOfHa(guest) && node.facts?.maintenance === true) continue;
    const { name } = model.guests[guest]!;
    const barrier = model.barrier[guest];
    if (barrier !== null) blocked.push(`${name} ${barrier}`);
    else if (look.traffic.maySend(place)) {
      const to = roomiest(model, guest, look);
      if (to !== null) move(work, guest, to, `${node.node} is to be emptied`);
      else {
        blocked.push(`${name} ${fitsNowhere}`);
        done.unmetUnits += unmetOf(model, guest);
      }
    }
  }
  if (blocked.length === 0) return;
  const more = blocked.length > namedMax ? `; and ${blocked.length - namedMax} more` : '';
  const reason = `cannot be emptied: ${blocked.slice(0, namedMax).join('; ')}${more}`;
  refuse(work, reason, 'they become free to move, or a person stops them');
}

function wakeAgain(work: Work): void {
  const { model, look } = work;
  const name = nameOf(work);
  const executor = model.nodes
    .filter((_, place) => model.role[place] === nodeRole.awake)
    .map(({ node }) => node)
    .sort()[0];
  if (executor === undefined || wakeWaitMs(look.situation, name) > 0) {
    return refuse(work, 'sleeps, and did not wake or has no waker', 'it wakes', returnRule);
  }
  const reason = `the maintenance of ${name} is over: it wakes`;
  const target = { kind: 'node', id: name } as const;
  order(work, { target, executor, action: { kind: 'node.wake', args: {} }, reason });
}

function comeBack(work: Work): void {
  const { model, look, place, wish, done } = work;
  const node = model.nodes[place]!;
  if (node.facts?.maintenance === true && can(work, 'node.restore')) {
    if (isRefused(work, returnRule)) return;
    const reason = `the maintenance of ${node.node} is over: HA may use it again`;
    return onNode(work, { kind: 'node.restore', args: {} }, reason);
  }
  const away = model.guests.flatMap(({ id, haState }, guest) =>
    wish.guests.includes(id) && model.nodeOf[guest] !== place && haState === null ? [guest] : [],
  );
  if (away.length === 0) return void done.returned.push(node.node);
  const { relieve } = look.situation.policy;
  const margin = { sigmas: 1, fillRatio: relieve.cpuRatio.above };
  const blocked: string[] = [];
  for (const guest of away) {
    const { name } = model.guests[guest]!;
    const barrier = model.barrier[guest];
    if (barrier !== null) blocked.push(`${name} ${barrier}`);
    else if (!fits(model, guest, place, margin) || !mayStand(model, guest, place, false)) {
      blocked.push(`${name} has no room there, or may not stand there`);
    } else if (look.traffic.maySend(model.nodeOf[guest]!) && look.traffic.mayReceive(place)) {
      move(work, guest, place, `the maintenance of ${node.node} is over`);
    }
  }
  if (blocked.length === 0) return;
  const reason = `its guests cannot all come back: ${blocked.slice(0, namedMax).join('; ')}`;
  refuse(work, reason, 'they become free, or the maintenance ends without them', returnRule);
}

function emptyNode(work: Work, isFirst: boolean): void {
  const { model, place, done, look } = work;
  const node = model.nodes[place]!;
  const state = nodeState(node, look.situation.nowMs);
  if (state === 'asleep') {
    // One that is being proven sleeps for a moment only, and is missed if it stays away.
    if (work.wish.phase === 'evacuate') done.emptied.push(node.node);
    return;
  }
  if (model.role[place] !== nodeRole.awake) return;
  if (model.guestsOf[place]!.length === 0) rest(work);
  else if (isFirst) leave(work);
  else refuse(work, 'is to be emptied, but another node is emptied first', 'that one is empty');
}

/** In the order in which they were asked for; only the first that still runs guests is emptied. */
export function evacuate(model: Model, look: Orders): Evacuating {
  const done: Evacuating = {
    intents: [],
    nonActions: [],
    unmetUnits: 0,
    emptied: [],
    returned: [],
  };
  const asked = model.nodes
    .flatMap((node, place): Work[] =>
      node.evacuation ? [{ model, look, place, wish: node.evacuation, done }] : [],
    )
    .sort((a, b) => a.wish.startedAtMs - b.wish.startedAtMs || a.place - b.place);
  const first = asked.find(
    ({ place, wish }) => wish.phase !== 'return' && model.guestsOf[place]!.length > 0,
  );
  for (const work of asked) {
    if (work.wish.phase !== 'return') emptyNode(work, work === first);
    else if (model.role[work.place] === nodeRole.asleep) wakeAgain(work);
    else if (model.role[work.place] === nodeRole.awake) comeBack(work);
  }
  return done;
}
