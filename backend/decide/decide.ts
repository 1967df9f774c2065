/**
 * State, policy, history and now -> Plan. Pure: the same inputs give the same plan, byte for
 * byte. One ladder: start what died, scale what a policy lets grow or shrink, relieve what is hot,
 * wake what that needs, empty what is cheap to empty, and let sleep what ran nothing. Each step
 * sees what the ones before it planned.
 */
import { avoided } from './breaker.ts';
import { mayRun, neededNodes, wakeNeeded, withinWindows } from './calendar.ts';
import { consolidate, isDue } from './consolidate.ts';
import { evacuate } from './evacuate.ts';
import type { History } from './history.ts';
import {
  type ClusterState,
  type Model,
  modelOf,
  nodeRole,
  ratioOf,
  type Situation,
} from './model.ts';
import type { Intent, NonAction, Plan } from './plan.ts';
import type { Policy } from './policy.ts';
import { sleep, wake } from './power.ts';
import { restart } from './restart.ts';
import { scale } from './scale.ts';
import { relievePressure } from './pressure.ts';
import { type Look, preferredNodes, relieve } from './relieve.ts';
import { targetsOf } from './targets.ts';
import { trafficOf } from './traffic.ts';

function summaryOf(
  model: Model,
  policy: Policy,
  { intents, nonActions }: { intents: Intent[]; nonActions: NonAction[] },
): string {
  const first = intents[0];
  if (first) return first.reason;
  const held = nonActions[0];
  if (held) return `${held.subject.id} is left alone: ${held.reason}`;
  let hottest: number | null = null;
  for (let place = 0; place < model.nodes.length; place += 1) {
    if (model.role[place] !== nodeRole.awake) continue;
    if (hottest === null || ratioOf(model, place) > ratioOf(model, hottest)) hottest = place;
  }
  if (hottest === null) return 'no node has a known load';
  const name = model.nodes[hottest]!.node;
  return (
    `no node has cpu above ${policy.relieve.cpuRatio.above}; ` +
    `highest is ${name} (${ratioOf(model, hottest).toFixed(2)})`
  );
}

const isAmong = (intents: readonly Intent[], { target }: Intent): boolean =>
  intents.some((other) => other.target.id === target.id);

/**
 * The plan of one cluster.
 * @param state the cluster and its nodes as last heard of; read only
 * @param history what earlier rounds left (`observe` before, `record` after); read only
 * @param nowMs monotonic ms, the clock of `sampleAtMs`
 */
export function decide(state: ClusterState, policy: Policy, history: History, nowMs: number): Plan {
  const situation: Situation = { ...state, policy, history, nowMs };
  const model = modelOf(situation);
  const traffic = trafficOf(model, situation);
  const preferred = preferredNodes(model);
  const look: Look = {
    situation,
    traffic,
    preferred,
    targets: targetsOf(model, situation, traffic, preferred),
    needed: neededNodes(model, situation),
  };
  const restarted = restart(model, situation);
  const scaled = scale(model, situation);
  const evacuated = evacuate(model, look);
  const relief = relieve(model, look);
  const pressed = relievePressure(model, look);
  const unmetUnits = evacuated.unmetUnits + relief.unmetUnits + pressed.unmetUnits;
  const lacking = evacuated.unmetUnits + relief.wakeUnits + pressed.wakeUnits;
  const short = wake(model, lacking, situation);
  const timely = wakeNeeded(model, look.needed, situation);
  const woken = [...short, ...timely.filter((one) => !isAmong(short, one))];
  const maySave = unmetUnits === 0 && policy.save.mode !== 'off';
  const looksToSave = maySave && isDue(situation);
  // What may sleep saves at once, so that it takes its share of what may be under way first.
  const maySleep = maySave && mayRun('node.shutdown', situation);
  const sleptFirst = maySleep ? sleep(model, look) : null;
  const saved =
    maySave && mayRun('guest.migrate', situation) ? consolidate(model, look, looksToSave) : null;
  const hasLookedToSave = saved?.hasLooked ?? looksToSave;
  const slept = maySave && !maySleep ? sleep(model, look) : sleptFirst;
  const wanted = [
    ...restarted.intents,
    ...scaled.intents,
    ...relief.intents,
    ...pressed.intents,
    ...woken,
    ...(saved?.intents ?? []),
    ...(slept?.intents ?? []),
  ];
  const { intents: open, nonActions: shut } = withinWindows(wanted, situation);
  // What a person ordered is bound by no window of the engine's.
  const intents = [...evacuated.intents, ...open];
  const nonActions = [
    ...evacuated.nonActions,
    ...avoided(model, look.traffic.breakers, situation),
    ...shut,
    ...restarted.nonActions,
    ...scaled.nonActions,
    ...relief.nonActions,
    ...pressed.nonActions,
    ...(saved?.nonActions ?? []),
    ...(slept?.nonActions ?? []),
  ];
  const summary = summaryOf(model, policy, { intents, nonActions });
  return {
    cluster: state.cluster.id,
    intents,
    report: {
      summary,
      nonActions,
      ...(look.traffic.oscillating.length > 0 && { oscillating: [...look.traffic.oscillating] }),
      ...(hasLookedToSave && { hasLookedToSave }),
      ...(evacuated.emptied.length > 0 && { emptied: evacuated.emptied }),
      ...(evacuated.returned.length > 0 && { returned: evacuated.returned }),
      ...(saved && { draining: saved.draining }),
    },
  };
}
