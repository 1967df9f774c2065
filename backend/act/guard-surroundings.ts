/**
 * Gathers what surrounds a command: the windows of the policy, where Kernreaktor itself lives, what
 * else is under way, and the past hour of a node. It never judges, and what is unknown stays null.
 */
import type { CommandKind, CommandState } from '../../broker/contract/command.ts';
import type { GuestFacts } from '../../broker/contract/facts.ts';
import { ruleFor } from '../decide/guest-policy.ts';
import { scaledMs } from '../decide/policy.ts';
import type { Window } from '../decide/windows.ts';
import type { GuestRecord, NodeRecord } from '../state/fleet.ts';
import type { CommandBrief } from '../store/command-store.ts';
import type { GuestSizes, Load, OtherCommand, Phase } from './guard.ts';
import type { Limits } from './guard-limits.ts';
import {
  type House,
  type HouseAnswer,
  houseSetting,
  type Identity,
  locateHouse,
  type SeenGuest,
  type SeenNode,
} from './house.ts';
import { activeStates, isPowerOff } from './lifecycle.ts';
import { type Context, type PolicyWords, type Step, timeScaleOf } from './step.ts';

export const otherOf = (
  row: Pick<CommandBrief, 'id' | 'kind' | 'state' | 'target_id' | 'executor' | 'args'>,
): OtherCommand => ({
  id: row.id,
  kind: row.kind as CommandKind,
  state: row.state as CommandState,
  target: row.target_id,
  executor: row.executor,
  destination: (JSON.parse(row.args) as { targetNode?: string }).targetNode ?? null,
});

/** What may be at work now; when planning, what waits for its turn already counts. */
export async function readUnderWay(
  step: Step,
  phase: Phase,
  self: string,
): Promise<OtherCommand[]> {
  const states = phase === 'PLANNED' ? [...activeStates, 'QUEUED', 'OFFERED'] : activeStates;
  const rows = await step.rows.commandsOf(step.cluster.id, { states });
  return rows.filter(({ id, kind }) => id !== self && kind !== 'node.wake').map(otherOf);
}

/** Wakes whose node did not come when it should. */
export async function readFailingWakes(step: Step): Promise<OtherCommand[]> {
  const filter = { kinds: ['node.wake'], states: ['INDETERMINATE'] };
  return (await step.rows.commandsOf(step.cluster.id, filter)).map(otherOf);
}

/** What the active policy says to this part; null without one, or where nobody can read it. */
function policyWords({ context, cluster }: Step): PolicyWords | null {
  if (cluster.policy_id === null) return null;
  const record = context.fleet().clusters.get(cluster.id);
  return record?.policyYaml ? context.policyOf(record.policyYaml) : null;
}

/** A cluster without a policy has no windows; one whose policy is not at hand has unknown ones. */
export const windowsOf = (step: Step): readonly Window[] | null =>
  step.cluster.policy_id === null ? [] : (policyWords(step)?.windows ?? null);

/** Between which sizes the policy lets automation change a guest, null where it names none. */
export function sizesOf(step: Step, guest: GuestRecord): GuestSizes | null {
  const rule = ruleFor(policyWords(step)?.sizes ?? [], guest);
  return (
    rule && {
      cpuMin: rule.cpu?.min ?? null,
      cpuMax: rule.cpu?.max ?? null,
      memoryMinBytes: rule.memory?.min ?? null,
      memoryMaxBytes: rule.memory?.max ?? null,
    }
  );
}

const touchesHouse: ReadonlySet<CommandKind> = new Set([
  'node.drain',
  'guest.migrate',
  'guest.stop',
  'guest.restart',
  'guest.delete',
]);

/** Its guests, as far as one of them could be a machine we look for: most are dropped unparsed. */
function guestsOf(record: NodeRecord, identities: readonly Identity[]): SeenGuest[] {
  const json = record.guestFactsJson ?? '[]';
  const marks = identities.flatMap(({ macs, systemUuid }) => [...macs, systemUuid ?? []].flat());
  if (!marks.some((mark) => json.includes(mark))) return [];
  return (JSON.parse(json) as GuestFacts[]).map(({ id, macs, systemUuid }) => ({
    id,
    macs,
    systemUuid,
    addresses: null,
  }));
}

function seenNodes(context: Context): SeenNode[] {
  const { clusters, nodes } = context.fleet();
  return [...nodes.values()]
    .filter(({ cluster }) => clusters.get(cluster)?.simulated !== true)
    .map((record) => ({
      cluster: record.cluster,
      node: record.node,
      facts: record.facts,
      guests: guestsOf(record, context.identities),
    }));
}

/** A guest that was named is where it is now, not where it was then. */
const followed = (context: Context, answer: HouseAnswer): HouseAnswer =>
  answer.map((place) => {
    const guest = place.guest && context.fleet().guests.get(`${place.cluster}/${place.guest}`);
    return guest ? { ...place, node: guest.node } : place;
  });

export function readHouse(context: Context, setting: string | undefined): House {
  const answer = setting === undefined ? null : (JSON.parse(setting) as HouseAnswer);
  return locateHouse(seenNodes(context), context.identities, answer && followed(context, answer));
}

const emptyHouse: House = { residents: [], unknown: [] };

export const houseFor = async (step: Step, kind: CommandKind): Promise<House> =>
  isPowerOff(kind) || touchesHouse.has(kind)
    ? readHouse(step.context, await step.rows.setting(houseSetting))
    : emptyHouse;

type WindowLimits = Pick<Limits, 'loadWindowMs'>;

/** Nothing is asked where the limits look at now alone. */
export async function readLoad(
  step: Step,
  node: string,
  { loadWindowMs }: WindowLimits,
): Promise<Load | null> {
  if (loadWindowMs === 0) return null;
  return step.context.loadOf({ cluster: step.cluster.id, node }, loadWindowMs);
}

/** SAFETY W4: for so long a node was idle before the engine may put it to sleep. */
const idleForMs = 40 * 60_000;

/** By a window of its own: a short one for destinations must not make busy nodes look idle. */
export async function readIdleness(
  step: Step,
  node: string,
  { loadWindowMs }: WindowLimits,
): Promise<Load | null> {
  const ownMs = scaledMs(idleForMs, { timeScale: timeScaleOf(step.cluster) });
  return readLoad(step, node, { loadWindowMs: loadWindowMs === 0 ? 0 : ownMs });
}
