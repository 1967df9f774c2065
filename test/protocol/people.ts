/**
 * Who asks for things: people and tokens who submit, approve, cancel, hold, release, resolve by
 * what they see, and confirm journals; and an engine that proposes far too much, handed over by
 * the production dispatcher. They talk to any backend, often to the one that does not lead.
 */
import type { Action, CommandKind } from '../../broker/contract/command.ts';
import { dispatch } from '../../backend/act/dispatch.ts';
import type { Submission } from '../../backend/act/planned.ts';
import type { Intent } from '../../backend/decide/plan.ts';
import type { Backend } from './backend.ts';
import type { House } from './house.ts';
import type { ClusterPlan } from './houses.ts';
import type { CommandRow } from './ledger.ts';
import type { Guest, Host } from './world.ts';

const guestKinds: CommandKind[] = [
  'guest.start',
  'guest.stop',
  'guest.restart',
  'guest.migrate',
  'guest.migrate',
  'guest.scale',
];

const backendOf = ({ backends, chance }: House) => {
  const living = backends.filter((backend) => backend.isAlive());
  return living.length > 0 ? chance.pick(living) : undefined;
};

type Answer = { ok: true } | { ok: false; refusal: { code: string } };

/** Whoever is told that another one leads asks that one; a dead one never answers. */
function order(house: House, give: (commands: Backend['commands']) => Promise<Answer>): void {
  const first = backendOf(house);
  if (!first) return;
  const others = house.backends.filter((backend) => backend !== first && backend.isAlive());
  const asked = async (): Promise<void> => {
    for (const backend of [first, ...others]) {
      const answer = await give(backend.commands);
      if (answer.ok || answer.refusal.code !== 'KR_NOT_LEADER') return;
    }
  };
  house.ask(asked());
}

function guestAction({ chance }: House, plan: ClusterPlan, guest: Guest): Action {
  const kind = chance.pick(guestKinds);
  const others = plan.hosts.filter(({ name }) => name !== guest.node || chance.is(0.1));
  const targetNode = chance.pick(others).name;
  if (kind === 'guest.migrate') {
    return { kind, args: { targetNode, online: true, withLocalDisks: false } };
  }
  if (kind === 'guest.scale') return { kind, args: { cpuCount: chance.whole(2, 4) } };
  if (kind === 'guest.stop') return { kind, args: { force: false, timeoutMs: 180_000 } };
  return { kind, args: {} } as Action;
}

/** Mostly what may be allowed: people do not ask for the impossible all day. */
function nodeAction(house: House, plan: ClusterPlan): { action: Action; node: string } {
  const { chance, world } = house;
  const hosts = world.hostsOf(plan.id);
  const sleeping = hosts.filter(({ isOn, downBy }) => !isOn && downBy === 'command');
  if (sleeping.length > 0 && chance.is(0.6)) {
    const node = chance.pick(sleeping).plan.name;
    return { action: { kind: 'node.wake', args: {} }, node };
  }
  const empty = hosts.filter(
    ({ isOn, plan: { name } }) =>
      isOn && !world.guestsOn(plan.id, name).some(({ isRunning }) => isRunning),
  );
  const node = chance.pick(empty.length > 0 && chance.is(0.9) ? empty : hosts).plan.name;
  if (chance.is(0.04)) return { action: { kind: 'node.wake', args: {} }, node };
  if (chance.is(0.2)) return { action: { kind: 'node.reboot', args: {} }, node };
  return { action: { kind: 'node.shutdown', args: { mode: 'poweroff' } }, node };
}

/** One wish, told again to the other backend now and then, as an impatient person does. */
export function submit(house: House): void {
  const { chance, world } = house;
  const plan = chance.pick(world.clusters);
  const guest = chance.pick(
    [...world.guests.values()].filter(({ cluster }) => cluster === plan.id),
  );
  const isPower = chance.is(0.45);
  const { action, node } = isPower
    ? nodeAction(house, plan)
    : { action: guestAction(house, plan, guest), node: guest.node };
  const origin = chance.pick(['person', 'token'] as const);
  const key = chance.is(0.5) ? `key-${world.now()}` : undefined;
  const submission = {
    cluster: plan.id,
    kind: action.kind,
    node,
    ...(isPower ? {} : { guest: guest.id }),
    args: action.args,
    origin,
    actor: `${origin}:a`,
    approved: chance.is(0.9),
    ...(key ? { idempotencyKey: key } : {}),
  };
  for (let again = 0; again < (chance.is(0.3) ? 2 : 1); again += 1) {
    order(house, (commands) => commands.submit(submission));
  }
}

const intentOf = (
  plan: ClusterPlan,
  action: Action,
  at: { node: string; guest?: Guest },
): Intent => ({
  cluster: plan.id,
  target: at.guest ? { kind: 'guest', id: at.guest.id } : { kind: 'node', id: at.node },
  executor: at.node,
  action,
  rule: 'simulated',
  reason: 'an engine that wants too much',
  facts: [],
  alternatives: [],
  predicted: [],
  margin: { name: 'none', value: 1 },
});

/** An engine that has lost its mind: everything off, everybody elsewhere, at once. */
export function propose(house: House): void {
  const { chance, world } = house;
  const backend = backendOf(house);
  if (!backend) return;
  const plan = chance.pick(world.clusters);
  const intents: Intent[] = [];
  for (let count = chance.whole(1, 5); count > 0; count -= 1) {
    if (chance.is(0.5)) {
      const { action, node } = nodeAction(house, plan);
      intents.push(intentOf(plan, action, { node }));
    } else {
      const guest = chance.pick(
        [...world.guests.values()].filter(({ cluster }) => cluster === plan.id),
      );
      intents.push(intentOf(plan, guestAction(house, plan, guest), { node: guest.node, guest }));
    }
  }
  const whole = { cluster: plan.id, intents, report: { summary: '', nonActions: [] } };
  const deps = {
    fleet: backend.fleet,
    nowMs: world.now(),
    submit: (proposal: Submission) => backend.commands.submit(proposal),
    rehearse: (proposal: Submission) => backend.commands.rehearse(proposal),
  };
  house.ask(dispatch(whole, house.newId(), deps));
}

const openRows = ({ ledger }: House): CommandRow[] => [...ledger.open.values()];

export function cancelOne(house: House): void {
  const rows = openRows(house).filter(({ state }) => state !== 'INDETERMINATE');
  if (rows.length === 0) return;
  // What already runs is called back seldom, and only a migration can be.
  const moving = rows.filter(({ state, kind }) => state === 'RUNNING' && kind === 'guest.migrate');
  const { chance } = house;
  const { id } = chance.pick(moving.length > 0 && chance.is(0.5) ? moving : rows);
  order(house, (commands) => commands.cancel(id, 'person:b'));
}

export function approveAll(house: House): void {
  for (const { id, state } of openRows(house)) {
    if (state !== 'PLANNED') continue;
    const isWanted = house.chance.is(0.8);
    order(house, (commands) =>
      isWanted ? commands.approve(id, 'person:b') : commands.cancel(id, 'person:b'),
    );
  }
}

const lookAfterMs = 60_000;
const slowBootMs = 960_000;

/** What a person sees who walks over: true, false, or not to be said yet. */
function seen(house: House, row: CommandRow): boolean | null {
  const { world } = house;
  const began = world.effects.find(({ commandId }) => commandId === row.id);
  if (world.ended.has(row.id)) return true;
  if (row.kind === 'node.wake') {
    if (world.host(row.cluster, row.target_id).isOn) return null;
    return began && world.now() - began.atMs < slowBootMs ? null : false;
  }
  for (const task of world.tasks.values()) if (task.work.commandId === row.id) world.kill(task);
  return false;
}

export function resolveOne(house: House): void {
  const { chance, ledger, world } = house;
  const rows = openRows(house).filter(({ id, state }) => {
    const since = ledger.lines.get(id)?.findLast((line) => line.state !== 'INDETERMINATE');
    return state === 'INDETERMINATE' && world.now() - (since?.atMs ?? 0) > lookAfterMs;
  });
  if (rows.length === 0) return;
  const row = chance.pick(rows);
  const truth = seen(house, row);
  if (truth === null) return;
  if (!truth) world.seenFalse.add(row.id);
  const outcome = truth ? 'succeeded' : 'failed';
  const statement = { outcome, note: 'I looked', actor: 'person:c' } as const;
  order(house, (commands) => commands.resolve(row.id, statement));
}

export function hold(house: House, isHeld: boolean): void {
  const cluster = house.chance.is(0.3) ? null : house.chance.pick(house.world.clusters).id;
  const wish = { cluster, hold: isHeld, reason: 'drawn', actor: 'person:d' };
  order(house, (commands) => commands.setHold(wish));
}

export function releaseAll(house: House): void {
  for (const cluster of [null, ...house.world.clusters.map(({ id }) => id)]) {
    const wish = { cluster, hold: false, reason: null, actor: 'person:d' };
    order(house, (commands) => commands.setHold(wish));
  }
}

export function confirmJournals(house: House): void {
  for (const { cluster, name } of house.nodes.values()) {
    if (!house.chance.is(0.5)) continue;
    order(house, (commands) => commands.confirmJournal({ cluster, node: name }, 'person:e'));
  }
}

/** Asks whether each host that runs is known to: a wake of one that is awake is refused as such. */
export function callRoll(house: House, isPresent: (host: Host, reason: string) => void): void {
  const { world, ledger } = house;
  for (const host of world.hosts.values()) {
    if (!host.isOn) continue;
    const { cluster } = host;
    const wish = { cluster, kind: 'node.wake', node: host.plan.name, args: {} } as const;
    const by = { origin: 'person', actor: 'person:f', approved: true } as const;
    order(house, async (commands) => {
      const answer = await commands.submit({ ...wish, ...by });
      const reason = answer.ok ? ledger.commands.get(answer.id)?.state_reason : null;
      if (answer.ok) isPresent(host, reason ?? 'taken up');
      return answer;
    });
  }
}
