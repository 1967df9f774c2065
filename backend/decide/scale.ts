/**
 * First step of the ladder: a guest that a policy names gets more cores or memory once it has
 * needed them for long enough, and gives back what it has not used for much longer. Only by means
 * that a running guest takes over at once, the limit of cpu time first; never below what it used
 * while it waited, with a quarter to spare; and never more than its node has over.
 */
import type { CommandArgs } from '../../broker/contract/command.ts';
import { isIgnored } from './constraints.ts';
import { ruleFor, type ScaleRule } from './guest-policy.ts';
import { type GuestRule, guestRules } from './guest-rules.ts';
import { type Model, nodeRole, type Situation } from './model.ts';
import { type Intent, type NonAction, secondsText } from './plan.ts';
import { scaledMs } from './policy.ts';
import { refusalOf } from './refusals.ts';
import { type Resource, resources, type Size, sizeOf, type SizeWait, waitKey } from './sizing.ts';

/** What stays over what was used: the guards ask for as much. */
const keptFactor = 1.25;
/** More than this at once is refused by the guards. */
const factorMax = 2;
const mebibyte = 2 ** 20;
const dimmBytes = 512 * mebibyte;
const vmBytesMin = 1_024 * mebibyte;
const failuresCountedMax = 6;
/** So that what one round begins can be watched before the next adds to it. */
const perRoundMax = 4;

type Args = CommandArgs<'guest.scale'>;
type Range = { min: number; max: number; step: number };
type Verdict = { args: Args; wanted: number } | { reason: string; flip: string };
type Case = {
  model: Model;
  guest: number;
  place: number;
  range: Range;
  size: Size;
  wait: SizeWait;
  situation: Situation;
};

const no = (reason: string, flip: string): Verdict => ({ reason, flip });
const percent = (value: number): string => `${Math.round(value * 100)} %`;
const coresText = (cores: number): string => `${Number(cores.toFixed(2))} cores`;
const gib = (bytes: number): string => `${Number((bytes / 2 ** 30).toFixed(2))} GiB`;
const textOf = (resource: Resource, value: number): string =>
  resource === 'cpu' ? coresText(value) : gib(value);
const round = (value: number): number => Math.round(value * 1000) / 1000;

const grown = ({ size, range }: Case): number =>
  Math.min(range.max, size.has + range.step, size.has * factorMax);

/** Down by a step, not below the policy, not below half, and not below what was used. */
const shrunk = ({ size, range, wait }: Case, unit: number): number =>
  Math.max(
    range.min,
    Math.min(size.has - range.step, range.max),
    Math.ceil(Math.max(wait.most * keptFactor, size.has / factorMax) / unit) * unit,
  );

/** One step does not lead into what the policy allows: a person decides. */
const beyond = ({ wait, size }: Case): Verdict =>
  no(`has ${textOf(wait.resource, size.has)}, far above its \`max\``, 'a higher `max`');

const ruleOfGuest = ({ model, guest, place }: Case): GuestRule | null =>
  guestRules(model.nodes[place]!).get(model.guests[guest]!.id) ?? null;

function moreCores(one: Case): Verdict {
  const { model, guest, place, size, situation } = one;
  const sample = model.guests[guest]!;
  const [node, rule] = [model.nodes[place]!, ruleOfGuest(one)];
  const count = sample.cpuCount ?? 0;
  const cores = node.values?.cpuCount ?? 0;
  const limit = rule?.cpuLimit ?? 0;
  const isLimited = limit > 0 && limit < count;
  const wanted = isLimited ? Math.min(grown(one), count) : Math.floor(grown(one));
  if (wanted <= size.has) return no(`has all ${coresText(size.has)} it may have`, 'a higher `max`');
  if (wanted > cores) return no(`${node.node} has no more cores`, `a node with ${wanted} cores`);
  const { above } = situation.policy.relieve.cpuRatio;
  const after = model.asked[place]! + (wanted - size.has) * model.core[place]!;
  if (after > above * model.capacity[place]!) {
    const units = (after - above * model.capacity[place]!).toFixed(1);
    return no(`${node.node} has no cpu left for it`, `${units} cores less in use on ${node.node}`);
  }
  if (isLimited) return { args: { cpuLimit: wanted }, wanted };
  if (sample.kind === 'vm' && !rule?.hotplug?.includes('cpu')) {
    return no('its hotplug names no cpu', 'add cpu to its hotplug setting and restart it');
  }
  return { args: { cpuCount: wanted, ...(limit > 0 && { cpuLimit: wanted }) }, wanted };
}

/** A limit takes cores away from a guest without unplugging any. */
function fewerCores(one: Case): Verdict | null {
  const wanted = shrunk(one, 0.25);
  if (wanted >= one.size.has) return null;
  return wanted > one.range.max ? beyond(one) : { args: { cpuLimit: wanted }, wanted };
}

function memoryBarrier(one: Case): Verdict | null {
  if (one.model.guests[one.guest]!.kind !== 'vm') return null;
  const rule = ruleOfGuest(one);
  if (!rule?.hotplug?.includes('memory')) {
    return no('its hotplug names no memory', 'add memory to its hotplug setting and restart it');
  }
  return rule.hasVirtiofs === false
    ? null
    : no('it shares folders by virtiofs, or nobody knows', 'no virtiofs in its configuration');
}

const unitOf = ({ model, guest }: Case): number =>
  model.guests[guest]!.kind === 'vm' ? dimmBytes : mebibyte;

function moreMemory(one: Case): Verdict {
  const { model, place, size } = one;
  const unit = unitOf(one);
  const wanted = Math.floor(grown(one) / unit) * unit;
  if (wanted <= size.has) return no(`has all ${gib(size.has)} it may have`, 'a higher `max`');
  const barrier = memoryBarrier(one);
  if (barrier) return barrier;
  const short = wanted - size.has - (model.memoryFree[place]! - model.memoryKept[place]!);
  if (short < 0) return { args: { memoryBytes: wanted }, wanted };
  const { node } = model.nodes[place]!;
  return no(`${node} has no memory left for it`, `${gib(short)} more free on ${node}`);
}

function lessMemory(one: Case): Verdict | null {
  const unit = unitOf(one);
  const isVm = one.model.guests[one.guest]!.kind === 'vm';
  const least = Math.ceil(shrunk(one, unit) / unit) * unit;
  const wanted = isVm ? Math.max(vmBytesMin, least) : least;
  if (wanted >= one.size.has) return null;
  if (wanted > one.range.max) return beyond(one);
  return memoryBarrier(one) ?? { args: { memoryBytes: wanted }, wanted };
}

function verdictOf(one: Case): Verdict | null {
  const { resource, way } = one.wait;
  if (resource === 'cpu') return way === 'grow' ? moreCores(one) : fewerCores(one);
  return way === 'grow' ? moreMemory(one) : lessMemory(one);
}

/** Why the guest is not scaled now, whatever it needs. */
function held({ model, guest, situation }: Case): [string, string] | null {
  const { cluster, history, nowMs, policy } = situation;
  const sample = model.guests[guest]!;
  if (sample.lock !== null) return [`is locked (${sample.lock})`, 'its lock ends'];
  if (isIgnored(sample)) return ['is tagged to be left alone', 'its tag `kr_ignore` goes'];
  const last = history.scaled.get(`${cluster.id}/${sample.id}`);
  if (last?.isOpen) return ['is being scaled', 'that ends'];
  if (refusalOf(situation, 'guest', sample.id)?.targets.includes(sample.id)) {
    return ['was refused by the guards lately', 'what the guards said changes'];
  }
  if (last === undefined) return null;
  const doublings = 2 ** Math.min(last.failures, failuresCountedMax);
  const restMs = last.atMs + scaledMs(policy.scale.cooldownMs, cluster) * doublings - nowMs;
  if (restMs <= 0) return null;
  const failed = last.failures > 0 ? `, and ${last.failures} changes failed` : '';
  return [
    `was scaled ${secondsText(nowMs - last.atMs)} ago${failed}`,
    `${secondsText(restMs)} more`,
  ];
}

function intentOf(one: Case, { args, wanted }: { args: Args; wanted: number }): Intent {
  const { model, guest, place, size, wait, range, situation } = one;
  const { resource, way, sinceMs, most } = wait;
  const sample = model.guests[guest]!;
  const { node } = model.nodes[place]!;
  const forMs = situation.nowMs - sinceMs;
  const unit = resource === 'cpu' ? 'count' : 'bytes';
  const after = size.uses / wanted;
  const [has, gets] = [textOf(resource, size.has), textOf(resource, wanted)];
  const seen = way === 'grow' ? percent(size.uses / size.has) : textOf(resource, most);
  const did = way === 'grow' ? `uses ${seen} of its ${has}` : `used at most ${seen} of its ${has}`;
  return {
    cluster: situation.cluster.id,
    target: { kind: 'guest', id: sample.id },
    executor: node,
    action: { kind: 'guest.scale', args },
    rule: `scale.${resource}`,
    reason: `${sample.name} ${did} for ${secondsText(forMs)}: it gets ${gets}`,
    facts: [
      { name: 'has', value: round(size.has), unit },
      { name: 'uses', value: round(size.uses), unit },
      { name: 'usedAtMost', value: round(most), unit },
      { name: 'forMs', value: Math.round(forMs), unit: 'milliseconds' },
      { name: 'min', value: range.min, unit },
      { name: 'max', value: range.max, unit },
    ],
    alternatives: [],
    predicted: [
      { name: `guest${resource === 'cpu' ? 'Cpu' : 'Memory'}Ratio`, value: round(after) },
    ],
    margin: { name: 'change', value: round(wanted - size.has), unit },
  };
}

/** The guest's need that has waited for long enough: what is too little before what is too much. */
function casesOf(model: Model, guest: number, rule: ScaleRule, situation: Situation): Case[] {
  const { policy, cluster, history, nowMs } = situation;
  const place = model.nodeOf[guest]!;
  const sample = model.guests[guest]!;
  const cpuLimit = guestRules(model.nodes[place]!).get(sample.id)?.cpuLimit ?? null;
  return resources
    .flatMap((resource): Case[] => {
      const range = rule[resource];
      const size = range && sizeOf(sample, resource, cpuLimit);
      const wait = history.sizeWaits.get(cluster.id)?.get(waitKey(sample.id, resource));
      if (!range || !size || !wait) return [];
      const { growForMs, shrinkForMs } = policy.scale;
      const waitMs = scaledMs(wait.way === 'grow' ? growForMs : shrinkForMs, cluster);
      if (nowMs - wait.sinceMs < waitMs) return [];
      return [{ model, guest, place, range, size, wait, situation }];
    })
    .sort((a, b) => (a.wait.way < b.wait.way ? -1 : Number(a.wait.way > b.wait.way)));
}

export type Scaling = { intents: Intent[]; nonActions: NonAction[] };

/** Whether a guest's node is awake, and the guest has a rule that is due. */
function dueCases(model: Model, situation: Situation): Case[][] {
  const { guests } = situation.policy.scale;
  return model.guests.flatMap((sample, guest): Case[][] => {
    if (model.role[model.nodeOf[guest]!] !== nodeRole.awake) return [];
    const rule = ruleFor(guests, sample);
    const cases = rule ? casesOf(model, guest, rule, situation) : [];
    return cases.length > 0 ? [cases] : [];
  });
}

/** What a change takes of its node counts from here on; the guest stays where it is meanwhile. */
function apply({ model, guest, place, size, wait }: Case, wanted: number): void {
  model.barrier[guest] = 'is being scaled';
  const more = wanted - size.has;
  if (wait.resource === 'memory') {
    model.memoryFree[place]! -= more;
    model.memory[guest]! += more;
  } else if (more > 0) {
    model.asked[place]! += more * model.core[place]!;
    model.mean[place]! += more * model.core[place]!;
  }
}

/** One change for a guest, and few in a round. */
export function scale(model: Model, situation: Situation): Scaling {
  const scaling: Scaling = { intents: [], nonActions: [] };
  if (situation.policy.scale.guests.length === 0) return scaling;
  for (const cases of dueCases(model, situation)) {
    for (const one of cases) {
      const verdict = verdictOf(one);
      if (verdict === null) continue;
      const why = held(one);
      const { id, name } = model.guests[one.guest]!;
      const refuse = (reason: string, flip: string): void => {
        const subject = { kind: 'guest' as const, id };
        const rule = `scale.${one.wait.resource}`;
        const wish = one.wait.way === 'grow' ? 'needs more' : 'could do with less';
        const what = `${name} ${wish} ${one.wait.resource}, but ${reason}`;
        scaling.nonActions.push({ subject, rule, reason: what, flip });
      };
      if (why) refuse(...why);
      else if ('reason' in verdict) refuse(verdict.reason, verdict.flip);
      else if (scaling.intents.length >= perRoundMax) refuse('others go first', 'the next round');
      else {
        scaling.intents.push(intentOf(one, verdict));
        apply(one, verdict.wanted);
        break;
      }
    }
  }
  return scaling;
}
