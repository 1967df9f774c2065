/**
 * A cluster in virtual time: guests carry the load they were recorded with wherever the policy
 * puts them, nodes boot, stop and draw watts. It applies intents and counts; it never chooses.
 *
 *   off --wake--> booting --> on --shutdown, empty--> stopping --> off
 *
 * What guests do not explain of a node's load stays on the node. Pure.
 */
import { NodeFacts } from '../../broker/contract/facts.ts';
import { type GuestSample, silentNode } from '../../broker/contract/telemetry.ts';
import type { Intent } from '../decide/plan.ts';
import type { NodeRecord } from '../state/fleet.ts';
import { unmeasuredGuest, unseenNode } from '../state/reduce.ts';
import type { FactsChange } from './reel.ts';
import { assumedWatts, type Watts, wattsAsleep, wattsAt, WattsFit } from './watts.ts';

/** Where no boot or stop of the node was ever measured. */
const bootMsUnknown = 180_000;
const stopMs = 30_000;
/** Reading, sending and writing memory keeps about one core busy. */
const coresPerCopy = 1;
/** Firmware, disks and unthrottled cpus: as a tenth of its load. */
const bootLoadRatio = 0.1;

export type Power = 'off' | 'booting' | 'on' | 'stopping';

export type WorldNode = {
  record: NodeRecord;
  power: Power;
  untilMs: number;
  /** When it came up within this time; null while nobody knows. */
  upSinceMs: number | null;
  /** Load that no guest explains, capacity units; its peak above the mean; its memory. */
  ownUnits: number;
  ownPeak: number;
  ownMemory: number;
  fit: WattsFit;
  /** As of this step. */
  askedUnits: number;
  peakUnits: number;
};

export type WorldGuest = {
  sample: GuestSample;
  /** Place of its node, -1 while it is nowhere. */
  place: number;
  /** Units of load now, NaN when unknown, and the peak above it. */
  units: number;
  peak: number;
  copy: { to: number; arrivesAtMs: number } | null;
};

export type Speed = { copyBytesPerSecond: number; timeScale: number };

const numberOr = (value: unknown, other: number): number =>
  typeof value === 'number' && Number.isFinite(value) ? value : other;

/** The facts of a hello, out of a row that holds more than those. */
function nodeFactsOf(facts: FactsChange['facts']): NodeFacts {
  const parsed = NodeFacts.safeParse(facts);
  return parsed.success ? parsed.data : NodeFacts.parse({});
}

export class World {
  readonly nodes: WorldNode[] = [];
  readonly guests: WorldGuest[] = [];
  readonly placeOf = new Map<string, number>();
  readonly guestAt = new Map<string, number>();
  private readonly cluster: string;
  private readonly speed: Speed;

  constructor(cluster: string, speed: Speed) {
    this.cluster = cluster;
    this.speed = speed;
  }

  /** Place of a node, made when it was never heard of. */
  node(name: string): number {
    const known = this.placeOf.get(name);
    if (known !== undefined) return known;
    const record: NodeRecord = {
      ...unseenNode(this.cluster, name),
      values: { ...silentNode },
      guests: [],
      desired: 'asleep',
    };
    const place = this.nodes.push({
      record,
      power: 'off',
      untilMs: 0,
      upSinceMs: null,
      ownUnits: 0,
      ownPeak: 0,
      ownMemory: 0,
      fit: new WattsFit(),
      askedUnits: 0,
      peakUnits: 0,
    });
    this.placeOf.set(name, place - 1);
    return place - 1;
  }

  guest(id: string): number {
    const known = this.guestAt.get(id);
    if (known !== undefined) return known;
    const sample = unmeasuredGuest(id);
    const index = this.guests.push({ sample, place: -1, units: NaN, peak: 0, copy: null }) - 1;
    this.guestAt.set(id, index);
    return index;
  }

  factor = (place: number): number => this.nodes[place]!.record.facts?.singleThreadFactor ?? 1;

  capacity(place: number): number {
    const { values, facts } = this.nodes[place]!.record;
    return numberOr(values?.cpuCount ?? facts?.cpuCount, 0) * this.factor(place);
  }

  watts(place: number): Watts {
    const { facts } = this.nodes[place]!.record;
    const { wattsIdle: idle, wattsLoaded: loaded } = facts ?? {};
    if (typeof idle === 'number' && typeof loaded === 'number') {
      return { idle, loaded, source: 'facts' };
    }
    return this.nodes[place]!.fit.line() ?? assumedWatts(this.capacity(place));
  }

  /** What a node or guest is from now on. Where it runs is the policy's business, not the facts'. */
  learn({ entity, id, facts }: FactsChange): void {
    if (entity === 'node') {
      const { record } = this.nodes[this.node(id)]!;
      record.facts = nodeFactsOf(facts);
      record.guestFactsJson = Array.isArray(facts['guests'])
        ? JSON.stringify(facts['guests'])
        : record.guestFactsJson;
      return;
    }
    const guest = this.guests[this.guest(id)]!;
    if (facts['node'] === null) {
      Object.assign(guest, { place: -1, units: NaN, copy: null });
      return;
    }
    const { sample } = guest;
    const { kind, name, state, lock, haState, tags } = facts as Partial<GuestSample>;
    // A migration that then ran holds a lock that this world's own migrations do not have.
    const held = lock === 'migrate' ? null : (lock ?? null);
    Object.assign(sample, {
      kind: kind ?? sample.kind,
      name: name ?? sample.name,
      state: state ?? sample.state,
      lock: held,
      haState: haState ?? null,
      tags: tags ?? sample.tags,
    });
  }

  isMoving = (): boolean => this.guests.some(({ copy }) => copy !== null);

  /** Boots, stops and copies that are over by now. */
  settle(nowMs: number): void {
    for (const node of this.nodes) {
      if (node.untilMs > nowMs) continue;
      if (node.power === 'booting') {
        node.power = 'on';
        node.upSinceMs = node.untilMs;
      }
      if (node.power === 'stopping') node.power = 'off';
    }
    for (const guest of this.guests) {
      if (guest.copy === null || guest.copy.arrivesAtMs > nowMs) continue;
      if (this.nodes[guest.copy.to]!.power === 'on') guest.place = guest.copy.to;
      guest.copy = null;
    }
  }

  /** Starts what an intent says; false where this world cannot. */
  apply({ action, target, executor }: Intent, nowMs: number): boolean {
    if (action.kind === 'guest.migrate') {
      return this.migrate(this.guest(target.id), this.node(action.args.targetNode), nowMs);
    }
    if (target.kind !== 'node' || executor === '') return false;
    const node = this.nodes[this.node(target.id)]!;
    if (action.kind === 'node.wake' && node.power === 'off') {
      node.power = 'booting';
      node.untilMs = nowMs + this.scaled(node.record.facts?.bootMs ?? bootMsUnknown);
      return true;
    }
    const isEmpty = !this.guests.some(
      ({ place, copy, sample }) =>
        (place === this.node(target.id) && sample.state !== 'stopped') ||
        copy?.to === this.node(target.id),
    );
    if (action.kind !== 'node.shutdown' || node.power !== 'on' || !isEmpty) return false;
    node.power = 'stopping';
    node.untilMs = nowMs + this.scaled(stopMs);
    return true;
  }

  private scaled = (ms: number): number => ms / this.speed.timeScale;

  private migrate(index: number, to: number, nowMs: number): boolean {
    const guest = this.guests[index]!;
    if (guest.copy !== null || guest.place < 0 || guest.place === to) return false;
    if (this.nodes[to]!.power !== 'on') return false;
    const { facts } = this.nodes[guest.place]!.record;
    const link = facts?.migrationBytesPerSecond ?? this.speed.copyBytesPerSecond;
    const speed = Math.min(link, facts?.migrationLimitBytesPerSecond ?? Infinity);
    const copyMs = (numberOr(guest.sample.memoryTotalBytes, 0) / speed) * 1000;
    guest.copy = { to, arrivesAtMs: nowMs + this.scaled(copyMs) };
    return true;
  }

  /** Loads of nodes by what stands on them now; call after loads and places are set. */
  weigh(): void {
    const squares = new Float64Array(this.nodes.length);
    this.nodes.forEach((node, place) => {
      const isUp = node.power === 'on';
      node.askedUnits = isUp ? node.ownUnits : 0;
      squares[place] = isUp ? node.ownPeak ** 2 : 0;
    });
    for (const { place, units, peak, sample, copy } of this.guests) {
      // Both ends of a copy are busy with it.
      if (copy !== null && place >= 0) {
        this.nodes[place]!.askedUnits += coresPerCopy * this.factor(place);
        this.nodes[copy.to]!.askedUnits += coresPerCopy * this.factor(copy.to);
      }
      if (place < 0 || Number.isNaN(units) || sample.state !== 'running') continue;
      this.nodes[place]!.askedUnits += units;
      squares[place]! += peak ** 2;
    }
    this.nodes.forEach((node, place) => {
      node.peakUnits = node.askedUnits + Math.sqrt(squares[place]!);
    });
  }

  /** Records as the engine is used to them: what daemons would have sent in this step. */
  tell(nowMs: number, stepMs: number): NodeRecord[] {
    const guests: GuestSample[][] = this.nodes.map(() => []);
    const memory = this.nodes.map(({ ownMemory }) => ownMemory);
    for (const { sample, place, units } of this.guests) {
      if (place < 0) continue;
      const count = sample.cpuCount;
      const full = count === null ? null : count * this.factor(place);
      sample.cpuRatio =
        full === null || full <= 0 || Number.isNaN(units) ? null : Math.min(1, units / full);
      guests[place]!.push(sample);
      memory[place]! += sample.memoryUsedBytes ?? sample.memoryTotalBytes ?? 0;
    }
    return this.nodes.map(({ record, power, askedUnits, upSinceMs }, place) => {
      const isOn = power === 'on';
      const capacity = this.capacity(place);
      record.online = isOn;
      record.desired = power === 'off' || power === 'stopping' ? 'asleep' : 'awake';
      record.activeKind =
        power === 'booting' ? 'node.wake' : power === 'stopping' ? 'node.shutdown' : null;
      if (isOn) record.sampleAtMs = nowMs;
      if (isOn) record.sampledAtWallMs = nowMs;
      record.intervalMs = stepMs;
      record.guests = isOn ? guests[place]! : [];
      const values = record.values!;
      values.cpuRatio = isOn && capacity > 0 ? Math.min(1, askedUnits / capacity) : null;
      values.memoryUsedBytes = isOn ? memory[place]! : null;
      values.uptimeMs = isOn && upSinceMs !== null ? nowMs - upSinceMs : null;
      return record;
    });
  }

  /** The same records at the busiest moment of the step. */
  tellPeaks(records: readonly NodeRecord[]): NodeRecord[] {
    return records.map((record, place) => {
      const { values } = record;
      const capacity = this.capacity(place);
      if (!values || values.cpuRatio === null || capacity <= 0) return record;
      const cpuRatio = Math.min(1, this.nodes[place]!.peakUnits / capacity);
      return { ...record, values: { ...values, cpuRatio } };
    });
  }

  /** Watts of a node as it stands. */
  draw(place: number): number {
    const node = this.nodes[place]!;
    const watts = this.watts(place);
    if (node.power === 'off') return wattsAsleep;
    if (node.power === 'on') {
      const capacity = this.capacity(place);
      return wattsAt(watts, capacity > 0 ? node.askedUnits / capacity : 0);
    }
    return wattsAt(watts, node.power === 'booting' ? bootLoadRatio : 0);
  }
}
