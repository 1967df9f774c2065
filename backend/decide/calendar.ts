/**
 * What a policy says of the clock: nodes that something needs awake now or soon, and kinds of
 * action whose window is shut. Times are wall time; only the lead of a boot is a duration. Pure.
 */
import type { CommandKind } from '../../broker/contract/command.ts';
import type { Model, Situation } from './model.ts';
import { nodeRole } from './model.ts';
import type { Intent, NonAction } from './plan.ts';
import { scaledMs } from './policy.ts';
import { type CalendarEntry, localTime, spanAround, windowVerdict } from './windows.ts';

/** A node that was never timed, and what is left over after a boot before it is needed. */
const bootMsUnknown = 180_000;
const spareMs = 15 * 60_000;

export type Need = { what: string; fromMs: number; untilMs: number; zone: string };

const concerns = ({ nodes }: CalendarEntry, node: string): boolean =>
  nodes === undefined || nodes.includes(node);

export const wallMsOf = ({ nowMs, history }: Situation): number => nowMs + history.wallOffsetMs;

/** By place, what needs a node awake; null for all others. */
export function neededNodes(model: Model, situation: Situation): (Need | null)[] {
  const { policy, cluster } = situation;
  if (policy.calendar.length === 0) return model.nodes.map(() => null);
  const atMs = wallMsOf(situation);
  const spans = policy.calendar.map((entry) => ({ entry, ...spanAround(entry, atMs) }));
  return model.nodes.map(({ node, facts }) => {
    const leadMs = scaledMs((facts?.bootMs ?? bootMsUnknown) + spareMs, cluster);
    for (const { entry, open, nextMs } of spans) {
      if (!concerns(entry, node)) continue;
      const { what, zone, durationMs } = entry;
      if (open) return { what, zone, fromMs: open.opensAtMs, untilMs: open.closesAtMs };
      if (nextMs !== null && nextMs - atMs <= leadMs) {
        return { what, zone, fromMs: nextMs, untilMs: nextMs + durationMs };
      }
    }
    return null;
  });
}

/** Wakes for sleeping nodes that something needs. */
export function wakeNeeded(
  model: Model,
  needed: readonly (Need | null)[],
  situation: Situation,
): Intent[] {
  const executor = model.nodes
    .filter((_, place) => model.role[place] === nodeRole.awake)
    .map(({ node }) => node)
    .sort()[0];
  if (executor === undefined) return [];
  return model.nodes.flatMap(({ node }, place): Intent[] => {
    const need = needed[place];
    if (!need || model.role[place] !== nodeRole.asleep) return [];
    return [
      {
        cluster: situation.cluster.id,
        target: { kind: 'node', id: node },
        executor,
        action: { kind: 'node.wake', args: {} },
        rule: 'calendar.wake',
        reason: `${need.what} needs ${node} from ${localTime(need.fromMs, need.zone)}: it wakes`,
        facts: [
          { name: 'neededFromMs', value: need.fromMs, unit: 'milliseconds' },
          { name: 'neededUntilMs', value: need.untilMs, unit: 'milliseconds' },
        ],
        alternatives: [],
        predicted: [],
        margin: {
          name: 'leadMs',
          value: Math.round(need.fromMs - wallMsOf(situation)),
          unit: 'milliseconds',
        },
      },
    ];
  });
}

/** Whether the windows of the policy let a kind run now. */
export const mayRun = (kind: CommandKind, situation: Situation): boolean =>
  situation.policy.windows.length === 0 ||
  windowVerdict(situation.policy.windows, kind, wallMsOf(situation)).isOpen;

/** Intents that may be carried out now, and why the others wait. */
export function withinWindows(
  intents: readonly Intent[],
  situation: Situation,
): { intents: Intent[]; nonActions: NonAction[] } {
  const { windows } = situation.policy;
  if (windows.length === 0) return { intents: [...intents], nonActions: [] };
  const atMs = wallMsOf(situation);
  const nonActions: NonAction[] = [];
  const open = intents.filter(({ action, target }) => {
    if (action.kind === 'node.wake') return true;
    const verdict = windowVerdict(windows, action.kind, atMs);
    if (verdict.isOpen) return true;
    const { untilMs, by } = verdict;
    nonActions.push({
      subject: { kind: target.kind, id: target.id },
      rule: 'window',
      reason: `${action.kind} is shut at this time`,
      flip: untilMs === null ? null : `at ${localTime(untilMs, by.zone)}`,
    });
    return false;
  });
  return { intents: open, nonActions };
}
