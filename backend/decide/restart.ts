/**
 * A guest that died is started again: after a wait that doubles with every death, so often and no
 * more. What a person or a command stopped stays stopped, and so does a guest of which nobody can
 * tell why it stopped, unless the policy says otherwise. Whoever gives up says so.
 */
import { isIgnored } from './constraints.ts';
import { attemptsOf } from './deaths.ts';
import { ruleFor } from './guest-policy.ts';
import { guestRules } from './guest-rules.ts';
import { type Model, nodeRole, type Situation } from './model.ts';
import { type Intent, type NonAction, secondsText } from './plan.ts';
import { scaledMs } from './policy.ts';
import { refusalOf } from './refusals.ts';
import type { GuestSample } from '../../broker/contract/telemetry.ts';

const rule = 'restart.guest';
/** An alarm hangs on it: the guest stays dead until a person starts it, or for a day. */
export const gaveUpRule = 'restart.gave-up';
const perRoundMax = 4;
const starting = 'it is being started';

const times = (count: number): string => (count === 1 ? 'once' : `${count} times`);

type Dead = { model: Model; place: number; guest: GuestSample; diedAtMs: number };
type Standing = { attempts: number; waitMs: number; deadMs: number };

function standingOf({ guest, diedAtMs }: Dead, { cluster, policy, history, nowMs }: Situation) {
  const { waitMs, forgetAfterMs } = policy.restart;
  const forgetMs = scaledMs(forgetAfterMs, cluster);
  const ordered = history.deaths.ordered.get(`${cluster.id}/${guest.id}`);
  const attempts = attemptsOf(ordered, diedAtMs, forgetMs);
  // A wait as long as that would make every attempt look like the first.
  const backoffMs = Math.min(scaledMs(waitMs, cluster) * 2 ** attempts, forgetMs / 2);
  return { attempts, waitMs: backoffMs, deadMs: nowMs - diedAtMs } satisfies Standing;
}

/** Why the guest is not started now, with the change that would help. */
function held(dead: Dead, standing: Standing, situation: Situation): [string, string] | null {
  const { model, place, guest } = dead;
  const { policy, history, cluster } = situation;
  if (history.deaths.ordered.get(`${cluster.id}/${guest.id}`)?.isStarting) {
    return [starting, 'that ends'];
  }
  const node = model.nodes[place]!;
  if (isIgnored(guest)) return ['it is tagged to be left alone', 'its tag `kr_ignore` goes'];
  const asked = guestRules(node).get(guest.id)?.stopAsked ?? null;
  if (asked === true) return ['somebody asked for its stop', 'a person starts it'];
  if (asked === null && policy.restart.unexplained === 'leave') {
    return ['its host cannot tell why it stopped', '`restart.unexplained: start`'];
  }
  if (standing.deadMs < standing.waitMs) {
    const rest = secondsText(standing.waitMs - standing.deadMs);
    return [`it has been dead for only ${secondsText(standing.deadMs)}`, `${rest} more`];
  }
  if (refusalOf(situation, 'guest', guest.id)?.targets.includes(guest.id)) {
    return ['the guards refused its start lately', 'what the guards said changes'];
  }
  const short = (guest.memoryTotalBytes ?? 0) - model.memoryFree[place]!;
  const megabytes = Math.ceil(short / 2 ** 20);
  return short < 0 || guest.memoryTotalBytes === null
    ? null
    : [`${node.node} has no memory for it`, `${megabytes} MB more free on ${node.node}`];
}

function intentOf({ model, place, guest }: Dead, standing: Standing, s: Situation): Intent {
  const { attempts, deadMs, waitMs } = standing;
  const { node } = model.nodes[place]!;
  const tried = attempts === 0 ? '' : ` (tried ${times(attempts)} before)`;
  return {
    cluster: s.cluster.id,
    target: { kind: 'guest', id: guest.id },
    executor: node,
    action: { kind: 'guest.start', args: {} },
    rule,
    reason:
      `${guest.name} ran on ${node}, has been dead for ${secondsText(deadMs)}, and nobody asked ` +
      `for that: it starts again${tried}`,
    facts: [
      { name: 'deadForMs', value: Math.round(deadMs), unit: 'milliseconds' },
      { name: 'attempts', value: attempts, unit: 'count' },
      { name: 'attemptsMax', value: s.policy.restart.attempts, unit: 'count' },
    ],
    alternatives: [],
    predicted: [{ name: 'state', value: 'running' }],
    margin: { name: 'waitedMs', value: Math.round(deadMs - waitMs), unit: 'milliseconds' },
  };
}

/** Guests that died and are still seen stopped, by name. */
function deadOf(model: Model, { cluster, policy, history }: Situation): Dead[] {
  const died = history.deaths.died.get(cluster.id);
  if (died === undefined || died.size === 0) return [];
  return model.nodes.flatMap((node, place) => {
    if (model.role[place] !== nodeRole.awake) return [];
    return (node.guests ?? []).flatMap((guest): Dead[] => {
      const diedAtMs = died.get(guest.id);
      if (diedAtMs === undefined || guest.state !== 'stopped') return [];
      return ruleFor(policy.restart.guests, guest) ? [{ model, place, guest, diedAtMs }] : [];
    });
  });
}

export type Restarts = { intents: Intent[]; nonActions: NonAction[] };

export function restart(model: Model, situation: Situation): Restarts {
  const restarts: Restarts = { intents: [], nonActions: [] };
  const { attempts: most } = situation.policy.restart;
  for (const dead of deadOf(model, situation)) {
    const { guest, place } = dead;
    const standing = standingOf(dead, situation);
    const refuse = (why: string, flip: string, by = rule): void => {
      const subject = { kind: 'guest' as const, id: guest.id };
      restarts.nonActions.push({ subject, rule: by, reason: `${guest.name} ${why}`, flip });
    };
    const why = held(dead, standing, situation);
    const isGivenUp = standing.attempts >= most && why?.[0] !== starting;
    if (isGivenUp) {
      refuse(
        `died again after it was started ${times(standing.attempts)}: it is given up`,
        'a person starts it, or a day passes',
        gaveUpRule,
      );
    } else if (why) refuse(`stopped, but ${why[0]}`, why[1]);
    else if (restarts.intents.length >= perRoundMax) {
      refuse('stopped, but others are started first', 'the next round');
    } else {
      restarts.intents.push(intentOf(dead, standing, situation));
      model.memoryFree[place]! -= guest.memoryTotalBytes ?? 0;
      // It is needed here: nothing empties or switches its node off meanwhile.
      model.touched[place] = 1;
    }
  }
  return restarts;
}
