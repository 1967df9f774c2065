/**
 * Small clusters as text, and plans as text. A case is a title, the cluster, `=>`, and the plan
 * that is right; it is written by hand before the engine is asked, and nothing here rewrites it.
 *
 *   ## title
 *   policy {save: {mode: on}}                       YAML, optional
 *   n1 8c 32G cpu 95% mem 8G hot 400s               node: cores, memory, load; words as below
 *     web 2c 100% 2G locked backup                  guest of the node above
 *   n3 8c evacuate | sleepy | proving | return web,mail | drains | drained    maintenance by a person
 *   n2 asleep 8c 32G watts 10/60
 *   needs web cpu 400s | spares web memory 4000s 1.2G | scaled web 60s failed 2 (or: open)
 *   died web 130s | started web 600s (or: open; by the engine)
 *   moved web 60s ago | moving x n2 n3 | moves web n1 n2 3h failed    (hours ago)
 *   proven n1,n2                                    those alone may sleep; without it all may
 *   at 2026-01-05T12:00:00Z                       wall time, where the calendar matters
 *   =>
 *   move web n1 n3
 *   wake n2 | sleep n3 | scale web cpuCount=3
 *   n1: reason | smallest change                    a refusal, both parts exact
 */
import { parse } from 'yaml';
import { decide } from '../../../backend/decide/decide.ts';
import { emptyHistory, type History } from '../../../backend/decide/history.ts';
import type { Plan } from '../../../backend/decide/plan.ts';
import { type SizeWait, waitKey } from '../../../backend/decide/sizing.ts';
import { Policy } from '../../../backend/decide/policy.ts';
import type { Evacuation, NodeRecord } from '../../../backend/state/fleet.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import { GuestFacts, NodeFacts } from '../../../broker/contract/facts.ts';
import type { CommandKind } from '../../../broker/contract/command.ts';
import { nodeKey } from '../../../broker/contract/ids.ts';
import type { GuestSample } from '../../../broker/contract/telemetry.ts';
import { guestSample, nodeValues } from '../../support/messages.ts';
import { homeCluster } from '../../support/records.ts';

export type Case = { title: string; cluster: string[]; plan: string[] };

export function casesOf(text: string): Case[] {
  return text
    .split(/^## /m)
    .slice(1)
    .map((block) => {
      const [title = '', ...lines] = block.split('\n').filter((line) => line.trim() !== '');
      const at = lines.findIndex((line) => line.trim() === '=>');
      if (at < 0) throw new Error(`${title}: no line "=>"`);
      return {
        title,
        cluster: lines.slice(0, at),
        plan: lines.slice(at + 1).map((line) => line.trim()),
      };
    });
}

const nowMs = 10_000_000;
const cluster = homeCluster();

const gib = 2 ** 30;
const ratio = (text: string): number | null =>
  text === '?' ? null : Number.parseFloat(text) / 100;
const bytes = (text: string): number => Number.parseFloat(text) * gib;
const ms = (text: string): number => Number.parseFloat(text) * 1000;

type Scene = { nodes: NodeRecord[]; history: History; policy: Policy };

/** The words of a line, taken one by one; what is left over is a mistake. */
function reader(line: string) {
  const words = line.trim().split(/\s+/);
  return {
    next: (): string => {
      const word = words.shift();
      if (word === undefined) throw new Error(`too short: ${line}`);
      return word;
    },
    isDone: () => words.length === 0,
  };
}

const disk = (storage: string, shared: boolean) => {
  return { volume: `${storage}:vm-disk-0`, storage, sizeBytes: null, shared };
};

/** Words of a guest's description; false for any other. */
function describe(facts: GuestFacts, word: string, next: () => string): boolean {
  if (word === 'localdisk') facts.disks = [disk('local', false)];
  else if (word === 'on') facts.disks = [disk(next(), true)];
  else if (word === 'device') facts.localResources = [next()];
  else if (word === 'container') facts.kind = 'container';
  else if (word === 'crs') facts.ownedByHypervisorBalancer = true;
  else if (word === 'allowed') facts.allowedNodes = next().split(',');
  else if (word === 'cputype') facts.cpuType = next();
  else if (word === 'stopasked') facts.stopAsked = next() === 'yes';
  else if (word === 'limit') facts.cpuLimit = Number(next());
  else if (word === 'hotplug') {
    facts.hotplug = next().split(',');
    facts.localResources ??= [];
  } else return false;
  return true;
}

function addGuest(scene: Scene, line: string): void {
  const words = reader(line);
  const name = words.next();
  const guest: GuestSample = {
    ...guestSample(name, { name }),
    cpuCount: Number.parseFloat(words.next()),
    cpuRatio: ratio(words.next()),
    memoryTotalBytes: bytes(words.next()),
  };
  const facts: GuestFacts = GuestFacts.parse({ id: name, kind: 'vm', name });
  let isDescribed = false;
  while (!words.isDone()) {
    const word = words.next();
    if (word === 'locked') guest.lock = words.next();
    else if (word === 'ha') guest.haState = words.next();
    else if (word === 'uses') guest.memoryUsedBytes = bytes(words.next());
    else if (word === 'tag') guest.tags = [...guest.tags, words.next()];
    else if (describe(facts, word, words.next)) isDescribed = true;
    else if (word === 'stopped' || word === 'paused') guest.state = word;
    else throw new Error(`${line}: "${word}" says nothing of a guest`);
  }
  const node = scene.nodes.at(-1);
  if (!node) throw new Error(`${line}: no node stands above this guest`);
  guest.kind = facts.kind;
  node.guests = [...(node.guests ?? []), guest];
  if (!isDescribed) return;
  const described = JSON.parse(node.guestFactsJson ?? '[]') as GuestFacts[];
  node.guestFactsJson = JSON.stringify([...described, facts]);
}

const wished = (phase: Evacuation['phase'], guests: string[]): Evacuation => {
  return { phase, sleeps: false, guests, actor: 'ann', startedAtMs: 1 };
};

function addNode(scene: Scene, line: string): void {
  const words = reader(line);
  const node: NodeRecord = {
    ...unseenNode('home', words.next()),
    online: true,
    sampleAtMs: nowMs,
    guests: [],
  };
  const key = nodeKey('home', node.node);
  let values = nodeValues({ cpuRatio: 0.1, cpuCount: 8, memoryUsedBytes: 0 });
  let facts = NodeFacts.parse({});
  while (!words.isDone()) {
    const word = words.next();
    if (/^\d+c$/.test(word)) values = { ...values, cpuCount: Number.parseFloat(word) };
    else if (/^\d+G$/.test(word)) values = { ...values, memoryTotalBytes: bytes(word) };
    else if (word === 'cpu') values = { ...values, cpuRatio: ratio(words.next()) };
    else if (word === 'mem') values = { ...values, memoryUsedBytes: bytes(words.next()) };
    else if (word === 'speed') facts = { ...facts, singleThreadFactor: Number(words.next()) };
    else if (word === 'watts') {
      const [idle, loaded] = words.next().split('/').map(Number);
      facts = { ...facts, wattsIdle: idle ?? null, wattsLoaded: loaded ?? null };
    } else if (word === 'hot') scene.history.hotSinceMs.set(key, nowMs - ms(words.next()));
    else if (word === 'urgent') {
      scene.history.urgentSinceMs.set(key, nowMs - ms(words.next()));
    } else if (word === 'store') {
      const storage = { id: words.next(), type: null, usedBytes: null, totalBytes: null };
      facts = { ...facts, storages: [{ ...storage, shared: true, active: true }] };
    } else if (word === 'cpumodel') {
      const [cpuVendor = null, cpuModel = null] = words.next().split('/');
      facts = { ...facts, cpuVendor, cpuModel, microcode: '1' };
    } else if (word === 'empty') scene.history.emptySinceMs.set(key, nowMs - ms(words.next()));
    else if (word === 'asleep') Object.assign(node, { desired: 'asleep', online: false });
    else if (word === 'silent') node.sampleAtMs = nowMs - ms(words.next());
    else if (word === 'evacuate') node.evacuation = wished('evacuate', []);
    else if (word === 'proving') node.evacuation = wished('prove', []);
    else if (word === 'return') node.evacuation = wished('return', words.next().split(','));
    else if (word === 'sleepy') node.evacuation = { ...wished('evacuate', []), sleeps: true };
    else if (word === 'drains') {
      const capabilities: CommandKind[] = ['node.drain', 'node.restore'];
      node.driver = { name: 'proxmox', version: '1', simulated: false, capabilities };
    } else if (word === 'drained') facts = { ...facts, maintenance: true };
    else if (word === 'maintenance') node.maintenance = true;
    else if (word === 'protected') node.protected = true;
    else if (word === 'waking') node.activeKind = 'node.wake';
    else if (word === 'stopping') node.activeKind = 'node.shutdown';
    else if (word === 'blind') node.guests = null;
    else throw new Error(`${line}: "${word}" says nothing of a node`);
  }
  node.values = values;
  node.facts = facts;
  scene.nodes.push(node);
}

function addMove(scene: Scene, words: ReturnType<typeof reader>): void {
  const [guest, fromNode, toNode] = [words.next(), words.next(), words.next()];
  const atMs = nowMs - Number.parseFloat(words.next()) * 3_600_000;
  const end = words.isDone() ? '' : words.next();
  const move = { guest, fromNode, toNode, atMs, failed: end === 'failed' };
  const known = scene.history.moves.get('home') ?? [];
  scene.history.moves.set('home', [...known, { ...move, byPerson: end === 'person' }]);
  scene.history.lastMovedAtMs.set(`home/${guest}`, atMs);
}

function addWait(
  { history }: Scene,
  way: 'grow' | 'shrink',
  words: ReturnType<typeof reader>,
): void {
  const [guest, resource] = [words.next(), words.next() === 'cpu' ? 'cpu' : 'memory'] as const;
  const sinceMs = nowMs - ms(words.next());
  const [text, isMost] = words.isDone() ? ['0', false] : [words.next(), true];
  const most = isMost && text.endsWith('G') ? bytes(text) : Number.parseFloat(text);
  const waits = history.sizeWaits.get('home') ?? new Map<string, SizeWait>();
  waits.set(waitKey(guest, resource), { resource, way, sinceMs, most });
  history.sizeWaits.set('home', waits);
}

function addScaled({ history }: Scene, words: ReturnType<typeof reader>): void {
  const [guest, atMs] = [words.next(), nowMs - ms(words.next())];
  const end = words.isDone() ? '' : words.next();
  const failures = end === 'failed' ? Number(words.next()) : 0;
  history.scaled.set(`home/${guest}`, { atMs, isOpen: end === 'open', failures });
}

function addDeath({ history }: Scene, words: ReturnType<typeof reader>): void {
  const died = history.deaths.died.get('home') ?? new Map<string, number>();
  died.set(words.next(), nowMs - ms(words.next()));
  history.deaths.died.set('home', died);
}

function addStart({ history }: Scene, words: ReturnType<typeof reader>): void {
  const { ordered } = history.deaths;
  const [key, atMs] = [`home/${words.next()}`, nowMs - ms(words.next())];
  const known = ordered.get(key)?.startsAtMs ?? [];
  const isStarting = !words.isDone() && words.next() === 'open';
  ordered.set(key, { startsAtMs: [...known, atMs], isStarting, otherAtMs: null });
}

function addLine(scene: Scene, line: string): void {
  const words = reader(line);
  const first = words.next();
  if (line.startsWith(' ')) addGuest(scene, line);
  else if (first === 'policy') scene.policy = Policy.parse(parse(line.slice('policy '.length)));
  else if (first === 'needs') addWait(scene, 'grow', words);
  else if (first === 'spares') addWait(scene, 'shrink', words);
  else if (first === 'scaled') addScaled(scene, words);
  else if (first === 'died') addDeath(scene, words);
  else if (first === 'started') addStart(scene, words);
  else if (first === 'moved') {
    scene.history.lastMovedAtMs.set(`home/${words.next()}`, nowMs - ms(words.next()));
  } else if (first === 'at') scene.history.wallOffsetMs = Date.parse(words.next()) - nowMs;
  else if (first === 'moves') addMove(scene, words);
  else if (first === 'proven') {
    scene.history.proven.set('home', new Set(words.next().split(',')));
  } else if (first === 'looked') scene.history.lastSaveAtMs.set('home', nowMs - ms(words.next()));
  else if (first === 'moving') {
    const [guest, fromNode, toNode] = [words.next(), words.next(), words.next()];
    const known = scene.history.movesInFlight.get('home') ?? [];
    scene.history.movesInFlight.set('home', [...known, { guest, fromNode, toNode, atMs: nowMs }]);
  } else addNode(scene, line);
}

/** The cluster that the text describes, ready to be decided on. */
export function sceneOf(lines: readonly string[]): Scene {
  const scene: Scene = { nodes: [], history: emptyHistory(), policy: Policy.parse({}) };
  for (const line of lines) addLine(scene, line);
  return scene;
}

export const planOf = ({ nodes, history, policy }: Scene): Plan =>
  decide({ cluster, nodes }, policy, history, nowMs);

/** A plan in the words of the cases. */
export function textOf(plan: Plan): string[] {
  const intents = plan.intents.map(({ target, executor, action }) => {
    if (action.kind === 'guest.migrate') {
      return `move ${target.id} ${executor} ${action.args.targetNode}`;
    }
    if (action.kind === 'guest.scale') {
      const sizes = Object.entries(action.args).map(([name, value]) => `${name}=${value}`);
      return `scale ${target.id} ${sizes.join(' ')}`;
    }
    if (action.kind === 'node.wake') return `wake ${target.id} by ${executor}`;
    return action.kind === 'node.shutdown' ? `sleep ${target.id}` : `${action.kind} ${target.id}`;
  });
  const refusals = plan.report.nonActions.map(
    ({ subject, reason, flip }) => `${subject.id}: ${reason} | ${flip ?? 'nothing'}`,
  );
  const { emptied = [], returned = [] } = plan.report;
  const steps = [
    ...emptied.map((one) => `emptied ${one}`),
    ...returned.map((one) => `returned ${one}`),
  ];
  return [...intents, ...steps, ...refusals];
}
