/**
 * Plays recorded telemetry through the engine of production: the same `observe`, `decide` and
 * `record`, one round per step, with samples up to now and nothing later. Beside it the time as
 * it was, booked by the same watts. Pure: the same reels give the same outcome.
 */
import { nodeKey } from '../../broker/contract/ids.ts';
import { decide } from '../decide/decide.ts';
import { emptyHistory, type Move, observe, observeHeat, record } from '../decide/history.ts';
import { observeMinutes } from '../decide/minutes.ts';
import type { Policy } from '../decide/policy.ts';
import type { PowerOff } from '../decide/rest.ts';
import type { ClusterRecord, NodeRecord } from '../state/fleet.ts';
import { nodeState } from '../state/node-state.ts';
import { Course } from './course.ts';
import { book, emptyRun, type Outcome, type Resolution, type Source, Tally } from './outcome.ts';
import {
  estimateColumn,
  type FactsChange,
  peakColumn,
  type Reel,
  type Rows,
  wattsColumn,
} from './reel.ts';
import { wattsAsleep, wattsAt } from './watts.ts';
import { World } from './world.ts';

export type Setup = {
  cluster: Pick<ClusterRecord, 'id' | 'simulated' | 'timeScale'>;
  policy: Policy;
  /** What was true when it began, then every change, in order of time. */
  facts: readonly FactsChange[];
  fromMs: number;
  toMs: number;
  protectedNodes: readonly string[];
  pricePerKwh: number | null;
};

/** As fresh as the engine demands of a sample: three steps without one, and it is unknown. */
const heldSteps = 3;
const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

type Seen = { units: number; silentSteps: number };

const at = (rows: Rows, column: string, cell: number): number => rows.values[column]?.[cell] ?? NaN;

const known = (value: number): number | null => (Number.isNaN(value) ? null : value);

export class Replay {
  private readonly setup: Setup;
  private readonly cluster: ClusterRecord;
  private readonly world: World;
  private readonly history = emptyHistory();
  private readonly tally = new Tally();
  private readonly recorded = emptyRun();
  private readonly replayed = emptyRun();
  private readonly resolution: Resolution[] = [];
  private readonly course: Course;
  private readonly seen = new Map<number, Seen>();
  private readonly known: Set<string>;
  private readonly moves: Move[] = [];
  private readonly powerOffs: PowerOff[] = [];
  private metered = 0;
  private isMetered = true;
  private factsRead = 0;
  private steps = 0;
  private toldSteps = 0;
  private forced = 0;

  constructor(setup: Setup) {
    this.setup = setup;
    const { cluster, policy } = setup;
    this.course = new Course(setup);
    this.cluster = {
      ...cluster,
      hold: false,
      autonomy: {},
      policyHash: null,
      policyYaml: null,
    };
    const { copyBytesPerSecond } = policy.moves;
    this.world = new World(cluster.id, { copyBytesPerSecond, timeScale: cluster.timeScale });
    this.learnUntil(setup.fromMs);
    // Who was known then and told nothing was asleep; who comes later is new, and awake.
    this.known = new Set(this.world.placeOf.keys());
  }

  play(reel: Reel, source: Source): void {
    const { fromMs, stepMs, steps } = reel;
    const toMs = fromMs + steps * stepMs;
    const last = this.resolution.at(-1);
    if (last?.source === source && last.stepMs === stepMs) last.toMs = toMs;
    else this.resolution.push({ fromMs, toMs, stepMs, source });
    const places = reel.nodes.names.map((name) => this.world.node(name));
    const guests = reel.guests.names.map((id) => this.world.guest(id));
    for (const name of this.setup.protectedNodes) {
      const place = this.world.placeOf.get(name);
      if (place !== undefined) this.world.nodes[place]!.record.protected = true;
    }
    for (let step = 0; step < steps; step += 1) this.step(reel, step, { places, guests });
  }

  private learnUntil(nowMs: number): void {
    const { facts } = this.setup;
    for (
      let next = facts[this.factsRead];
      next && next.atMs <= nowMs;
      next = facts[this.factsRead]
    ) {
      this.world.learn(next);
      this.factsRead += 1;
    }
  }

  private step(reel: Reel, step: number, index: { places: number[]; guests: number[] }): void {
    const { world } = this;
    const nowMs = reel.fromMs + (step + 1) * reel.stepMs;
    this.steps += 1;
    this.learnUntil(nowMs);
    world.settle(nowMs);
    const isTold = reel.nodes.names.some(
      (_, row) => !Number.isNaN(at(reel.nodes, 'cpuRatio', row * reel.steps + step)),
    );
    if (!isTold) return;
    this.toldSteps += 1;
    this.readNodes(reel, step, index.places);
    this.readGuests(reel, step, index);
    this.explain(reel, step, index);
    world.weigh();
    this.bookBoth(reel, step, index.places);
    this.round(nowMs, reel.stepMs);
    const { recorded, replayed } = this;
    this.course.mark(nowMs, { recorded, replayed, moves: this.tally.moves });
  }

  private readNodes(reel: Reel, step: number, places: readonly number[]): void {
    places.forEach((place, row) => {
      const node = this.world.nodes[place]!;
      const cpuRatio = at(reel.nodes, 'cpuRatio', row * reel.steps + step);
      if (Number.isNaN(cpuRatio)) return;
      const name = reel.nodes.names[row]!;
      if (this.toldSteps === 1 || !this.known.has(name)) node.power = 'on';
      this.known.add(name);
      const values = node.record.values!;
      values.cpuCount =
        known(at(reel.nodes, 'cpuCount', row * reel.steps + step)) ?? values.cpuCount;
      values.memoryTotalBytes =
        known(at(reel.nodes, 'memoryTotalBytes', row * reel.steps + step)) ??
        values.memoryTotalBytes;
      const cell = row * reel.steps + step;
      const metered = at(reel.nodes, wattsColumn, cell);
      node.fit.add(
        cpuRatio,
        Number.isNaN(metered) ? at(reel.nodes, estimateColumn, cell) : metered,
      );
    });
  }

  private readGuests(reel: Reel, step: number, { places, guests }: Index): void {
    guests.forEach((index, row) => {
      const guest = this.world.guests[index]!;
      const on = reel.guestNode[row * reel.steps + step]!;
      const ratio = on < 0 ? NaN : at(reel.guests, 'cpuRatio', row * reel.steps + step);
      const seen = this.seen.get(index) ?? { units: NaN, silentSteps: heldSteps };
      this.seen.set(index, seen);
      if (on < 0) {
        seen.silentSteps += 1;
        if (seen.silentSteps > heldSteps) Object.assign(guest, { units: NaN, peak: 0 });
        return;
      }
      const { sample } = guest;
      sample.cpuCount =
        known(at(reel.guests, 'cpuCount', row * reel.steps + step)) ?? sample.cpuCount;
      sample.memoryTotalBytes =
        known(at(reel.guests, 'memoryTotalBytes', row * reel.steps + step)) ??
        sample.memoryTotalBytes;
      sample.memoryUsedBytes = known(at(reel.guests, 'memoryUsedBytes', row * reel.steps + step));
      const place = places[on]!;
      const full = (sample.cpuCount ?? NaN) * this.world.factor(place);
      guest.units = ratio * full;
      guest.peak = Math.max(
        0,
        (at(reel.guests, peakColumn, row * reel.steps + step) - ratio) * full || 0,
      );
      seen.silentSteps = 0;
      if (guest.place < 0 && guest.copy === null) this.put(index, place);
    });
  }

  /** A guest that appeared runs where somebody started it; that node must be awake for it. */
  private put(index: number, place: number): void {
    this.world.guests[index]!.place = place;
    const node = this.world.nodes[place]!;
    if (node.power === 'on' || this.world.guests[index]!.sample.state !== 'running') return;
    if (this.toldSteps > 1) this.forced += 1;
    node.power = 'on';
  }

  /** What of each node's recorded load and memory no recorded guest of it explains. */
  private explain(reel: Reel, step: number, { places, guests }: Index): void {
    const units = new Float64Array(places.length);
    const squares = new Float64Array(places.length);
    const memory = new Float64Array(places.length);
    guests.forEach((index, row) => {
      const on = reel.guestNode[row * reel.steps + step]!;
      if (on < 0) return;
      const guest = this.world.guests[index]!;
      units[on]! += guest.units || 0;
      squares[on]! += guest.peak ** 2;
      memory[on]! += guest.sample.memoryUsedBytes ?? 0;
    });
    places.forEach((place, row) => {
      const ratio = at(reel.nodes, 'cpuRatio', row * reel.steps + step);
      if (Number.isNaN(ratio)) return;
      const node = this.world.nodes[place]!;
      const capacity = this.world.capacity(place);
      node.ownUnits = Math.max(0, ratio * capacity - units[row]!);
      const peak =
        Math.max(0, at(reel.nodes, peakColumn, row * reel.steps + step) - ratio || 0) * capacity;
      node.ownPeak = Math.sqrt(Math.max(0, peak ** 2 - squares[row]!));
      const used = at(reel.nodes, 'memoryUsedBytes', row * reel.steps + step);
      if (!Number.isNaN(used)) node.ownMemory = Math.max(0, used - memory[row]!);
    });
  }

  private bookBoth(reel: Reel, step: number, places: readonly number[]): void {
    const { above } = this.setup.policy.relieve.cpuRatio;
    const hours = (reel.stepMs / hourMs) * this.cluster.timeScale;
    const { world } = this;
    world.nodes.forEach((node, place) => {
      const over = node.power === 'on' && node.peakUnits > above * world.capacity(place);
      book(this.replayed, world.draw(place), hours, { on: node.power === 'on', over });
    });
    const rows = new Map(places.map((place, row) => [place, row]));
    world.nodes.forEach((_, place) => {
      const row = rows.get(place);
      const ratio = row === undefined ? NaN : at(reel.nodes, 'cpuRatio', row * reel.steps + step);
      if (row === undefined || Number.isNaN(ratio)) {
        return book(this.recorded, wattsAsleep, hours, { on: false, over: false });
      }
      const over = at(reel.nodes, peakColumn, row * reel.steps + step) > above;
      book(this.recorded, wattsAt(world.watts(place), ratio), hours, { on: true, over });
      const watts = at(reel.nodes, wattsColumn, row * reel.steps + step);
      if (Number.isNaN(watts)) this.isMetered = false;
      else this.metered += (watts * hours) / 1000;
    });
  }

  private movesInFlight(): Move[] {
    const { nodes, guests } = this.world;
    return guests.flatMap(({ copy, place, sample }) =>
      copy === null || place < 0
        ? []
        : [
            {
              guest: sample.id,
              fromNode: nodes[place]!.record.node,
              toNode: nodes[copy.to]!.record.node,
              atMs: copy.arrivesAtMs,
            },
          ],
    );
  }

  private round(nowMs: number, stepMs: number): void {
    const { cluster, history, world } = this;
    const { policy } = this.setup;
    const nodes = world.tell(nowMs, stepMs);
    while (this.moves[0] && nowMs - this.moves[0].atMs > dayMs) this.moves.shift();
    while (this.powerOffs[0] && nowMs - this.powerOffs[0].atMs > dayMs) this.powerOffs.shift();
    history.powerOffs.set(cluster.id, this.powerOffs);
    history.moves.set(cluster.id, this.moves);
    history.movesInFlight.set(cluster.id, this.movesInFlight());
    observe(history, { cluster, nodes }, policy, nowMs);
    this.observePeaks(nodes, nowMs);
    const plan = decide({ cluster, nodes }, policy, history, nowMs);
    record(history, plan, nowMs);
    for (const { rule, reason } of plan.report.nonActions) this.tally.hold(rule, reason);
    for (const intent of plan.intents) {
      if (!world.apply(intent, nowMs)) continue;
      this.tally.act(intent, nowMs);
      if (intent.action.kind === 'node.shutdown') {
        this.powerOffs.push({ node: intent.target.id, atMs: nowMs });
      }
      if (intent.action.kind !== 'guest.migrate') continue;
      this.moves.push({
        guest: intent.target.id,
        fromNode: intent.executor,
        toNode: intent.action.args.targetNode,
        atMs: nowMs,
      });
      history.lastMovedAtMs.set(`${cluster.id}/${intent.target.id}`, nowMs);
    }
  }

  /**
   * What a daemon's samples within the step showed beside their mean: guards ask for the busiest
   * moment of each minute, and a node is hot from its first sample above the threshold on until
   * one lies below the band. The lowest was not kept: it is taken to lie as far below the mean.
   */
  private observePeaks(nodes: readonly NodeRecord[], nowMs: number): void {
    const { history, world } = this;
    const peaks = world.tellPeaks(nodes);
    observeMinutes(history.minutes, peaks, nowMs);
    nodes.forEach((record, place) => {
      const { cluster, node, values } = record;
      const [mean, high] = [values?.cpuRatio ?? null, peaks[place]!.values?.cpuRatio ?? null];
      if (mean === null || high === null || nodeState(record, nowMs) !== 'awake') return;
      const { policy } = this.setup;
      const heat = { low: 2 * mean - high, high };
      observeHeat(history, nodeKey(cluster, node), heat, { policy, nowMs });
    });
  }

  private assumptions(): string[] {
    const { world } = this;
    const named = (source: string): string =>
      world.nodes
        .filter((_, place) => world.watts(place).source === source)
        .map(({ record: { node } }) => node)
        .join(', ');
    const [measured, assumed] = [named('measured'), named('assumed')];
    return [
      'everything the policy wants within the limits of the guards is done: autonomy, what else ' +
        'guards ask (proof, locks, storage) and failures are left out',
      `a sleeping node draws ${wattsAsleep} W`,
      ...(measured === '' ? [] : [`watts by load are fitted to what was told of ${measured}`]),
      ...(assumed === '' ? [] : [`watts are guessed for ${assumed}: tell wattsIdle, wattsLoaded`]),
      ...(this.forced === 0
        ? []
        : [`${this.forced} times somebody started a guest on a node that would have slept`]),
    ];
  }

  outcome(): Outcome {
    const { cluster, fromMs, toMs, pricePerKwh } = this.setup;
    const { recorded, replayed, tally } = this;
    const days = ((toMs - fromMs) * this.cluster.timeScale) / dayMs;
    const savedKwh = recorded.kwh - replayed.kwh;
    const { moves, wakes, sleeps } = tally;
    return {
      cluster: cluster.id,
      fromMs,
      toMs,
      recorded: { ...recorded, measuredKwh: this.isMetered ? this.metered : null },
      replayed: { ...replayed, moves, movesPerDay: moves / days, wakes, sleeps },
      savedKwh,
      saved: pricePerKwh === null ? null : { amount: savedKwh * pricePerKwh, pricePerKwh },
      actions: tally.actions,
      actionCount: tally.count,
      held: tally.held(),
      course: this.course.points(),
      resolution: this.resolution,
      coverage: this.steps === 0 ? 0 : this.toldSteps / this.steps,
      assumptions: this.assumptions(),
    };
  }
}

type Index = { places: number[]; guests: number[] };
