/**
 * Goes through the stages of a run: how many daemons, at which interval, what happens to them, and
 * one row for each second of what is seen. An open loop: a server that is slow changes nothing here.
 */
import type { Clock } from '../../broker/contract/ports.ts';
import type { Fleet } from '../fleet.ts';
import type { LiveWorld } from '../live-world.ts';
import { scenarios } from '../scenarios/index.ts';
import type { ScenarioEvent } from '../scenarios/scenario.ts';
import type { Target } from '../target.ts';
import { usageOf, type watchPace } from '../usage.ts';
import { findGuest, findNode } from '../world/model.ts';
import { crash, powerOn } from '../world/node-effects.ts';
import type { FaultPlayer } from './faults.ts';
import type { Stage } from './profile.ts';
import type { Row } from './rows.ts';
import { nodesAt } from './stages.ts';

export type Drive = {
  clock: Clock;
  live: LiveWorld;
  fleet: Fleet;
  target: Target;
  faults: FaultPlayer;
  pace: ReturnType<typeof watchPace>;
  scenario: string;
  /** This process. */
  pid: number;
  signal: AbortSignal;
  onProgress: (line: string) => void;
};

export const pause = (clock: Clock, delayMs: number): Promise<void> =>
  new Promise((resolve) => void clock.after(delayMs, () => resolve()));

/** Carries out what a scenario wants: in the world, or on the daemons' network. */
export function apply(live: LiveWorld, fleet: Fleet, event: ScenarioEvent): void {
  if (event.kind === 'drop') return fleet.drop(event.places);
  if (event.kind === 'restart') return fleet.restart(event.places);
  live.change((world) => {
    if (event.kind === 'load') {
      const guest = findGuest(world, event.cluster, event.guest);
      if (guest) guest.forcedRatio = event.ratio;
      return;
    }
    const node = findNode(world, event.cluster, event.node);
    if (!node) return;
    if (event.kind === 'crash') crash(world, node);
    else if (event.kind === 'power-on') powerOn(world, node, 'node.boot', null);
    else node.bootFailures = event.count;
  });
}

/** Ramps are made of steps of this length. */
const stepMs = 200;

export type Driver = {
  /** Resolves when the stage is over, or the run was ended early. */
  stage(index: number, stage: Stage): Promise<void>;
  /** Some of the last may still get their reading; `settle` waits for it. */
  rows: Row[];
  settle(): Promise<void>;
};

export function createDriver(drive: Drive): Driver {
  const { clock, fleet, live, target, faults, pace, signal } = drive;
  const scenario = scenarios.get(drive.scenario);
  const rows: Row[] = [];
  const reading = new Set<Promise<void>>();
  const startMs = clock.monotonicMs();
  let second = -1;

  async function fill(row: Row): Promise<void> {
    row.reading = await target.read();
  }
  function look(at: { stage: number; isSteady: boolean }): void {
    const { samples, replayed } = fleet.counters();
    const row: Row = {
      second,
      atMs: clock.monotonicMs(),
      ...at,
      wanted: fleet.wanted(),
      connected: fleet.connected(),
      sent: fleet.tally().handed,
      samples,
      replayed,
      unconfirmed: fleet.unconfirmed(),
      own: usageOf(drive.pid),
      backend: usageOf(target.pid()),
      lagMs: pace.recentP99Ms(),
      reading: null,
    };
    rows.push(row);
    // One question at a time: a server that is slow to answer has rows without an answer.
    if (reading.size > 0) return;
    const asked = fill(row).finally(() => reading.delete(asked));
    reading.add(asked);
  }

  function everySecond(at: { stage: number; isSteady: boolean }): void {
    const events = live.change((world) => scenario?.events(world, second * 1_000) ?? []);
    for (const event of events) apply(live, fleet, event);
    faults.second(second);
    look(at);
    const row = rows.at(-1) as Row;
    drive.onProgress(
      `${second} s, stage ${at.stage + 1}: ${row.connected} of ${row.wanted} daemons connected, ` +
        `${row.samples} samples, ${row.replayed} replayed, ${live.world.log.length} effect lines`,
    );
  }

  return {
    rows,
    async stage(index, stage) {
      const before = fleet.wanted();
      const beginMs = clock.monotonicMs();
      fleet.setPace(stage.interval);
      for (let step = 0; !signal.aborted; step += 1) {
        const waitMs = beginMs + step * stepMs - clock.monotonicMs();
        if (waitMs > 0) await pause(clock, waitMs);
        const nowMs = clock.monotonicMs();
        const insideMs = nowMs - beginMs;
        fleet.resize(nodesAt(stage, before, insideMs));
        const now = Math.floor((nowMs - startMs) / 1_000);
        if (now > second) {
          second = now;
          everySecond({ stage: index, isSteady: insideMs >= stage.ramp });
        }
        if (insideMs >= stage.for) break;
      }
    },
    async settle() {
      await Promise.all(reading);
    },
  };
}
