import { describe, expect, it } from 'vitest';
import { scenarios } from '../../../simulator/scenarios/index.ts';
import type { Scenario, ScenarioEvent } from '../../../simulator/scenarios/scenario.ts';
import { buildFleetWorld } from '../../../simulator/world/build.ts';
import type { World } from '../../../simulator/world/model.ts';
import { demandOf } from '../../../simulator/world/power.ts';
import { startMs } from '../world/helpers.ts';

const world = (seed = 42): World =>
  buildFleetWorld({
    seed,
    startMs,
    timeScale: 1,
    nodes: 48,
    nodesPerCluster: 6,
    guestsPerNode: 20,
    clusterPrefix: 'sim',
  });

const named = (name: string): Scenario => {
  const scenario = scenarios.get(name);
  if (scenario === undefined) throw new Error(`no scenario ${name}`);
  return scenario;
};

type Happening = { atMs: number; event: ScenarioEvent };
const played = (name: string, seed = 42, seconds = 300): Happening[] => {
  const now = world(seed);
  const all: Happening[] = [];
  for (let second = 0; second <= seconds; second += 1) {
    const atMs = second * 1000;
    for (const event of named(name).events(now, atMs)) all.push({ atMs, event });
  }
  return all;
};

describe('every scenario', () => {
  it.each([...scenarios.keys()])('%s is the same again for the same seed', (name) => {
    expect(played(name)).toEqual(played(name));
  });

  it.each([...scenarios.keys()])('%s changes nothing by itself', (name) => {
    const now = world();
    const before = JSON.stringify(
      [...now.nodes.values()].map(({ power, watts }) => [power, watts]),
    );
    for (let second = 0; second <= 120; second += 1) named(name).events(now, second * 1000);
    expect(JSON.stringify([...now.nodes.values()].map(({ power, watts }) => [power, watts]))).toBe(
      before,
    );
    expect(now.log).toEqual([]);
  });
});

describe('scenario', () => {
  it('steady leaves the world alone', () => {
    expect(played('steady')).toEqual([]);
  });

  it('hot-spot brings one node of every cluster to 95 % and no other', () => {
    const now = world();
    const hot = (): string[] =>
      [...now.nodes.values()]
        .filter((node) => demandOf(now, node, startMs + 20_000).ratio > 0.85)
        .map(({ spec }) => spec.cluster);
    expect(hot()).toEqual([]);
    for (const event of named('hot-spot').events(now, 20_000)) {
      if (event.kind !== 'load') throw new Error(`unexpected ${event.kind}`);
      const guest = now.guests.get(`${event.cluster}/${event.guest}`);
      if (guest) guest.forcedRatio = event.ratio;
    }
    expect(hot()).toEqual([...now.clusters.keys()]);
  });

  it('node-crash takes a node of every fourth cluster and gives the same one back', () => {
    const happened = played('node-crash');
    const places = (kind: string) =>
      happened.flatMap(({ event }) =>
        event.kind === kind && 'node' in event ? [`${event.cluster}/${event.node}`] : [],
      );
    expect(places('crash')).toHaveLength(2);
    expect(places('power-on')).toEqual(places('crash'));
  });

  it('flapping drops about 5 % of all, others each time', () => {
    const drops = played('flapping').map(({ event }) =>
      event.kind === 'drop' ? event.places.map(({ node }) => node) : [],
    );
    expect(drops).toHaveLength(30);
    const mean = drops.flat().length / drops.length / 48;
    expect(mean).toBeGreaterThan(0.02);
    expect(mean).toBeLessThan(0.09);
    expect(new Set(drops.map(String)).size).toBeGreaterThan(10);
  });

  it.each([
    ['broker-restart', 'drop'],
    ['thundering-herd', 'restart'],
  ])('%s meets every daemon once, in the same instant', (name, kind) => {
    const [only, ...more] = played(name);
    expect(more).toEqual([]);
    expect(only).toMatchObject({ atMs: 30_000, event: { kind } });
    expect(only?.event.kind === kind && 'places' in only.event && only.event.places).toHaveLength(
      48,
    );
  });

  it('wake-fails weakens every third node and tries each minute to bring one back', () => {
    const happened = played('wake-fails');
    const of = (kind: string) => happened.filter(({ event }) => event.kind === kind);
    expect(of('boot-failures')).toHaveLength(16);
    expect(of('crash').map(({ atMs }) => atMs)).toEqual(Array.from({ length: 8 }, () => 20_000));
    expect(new Set(of('power-on').map(({ atMs }) => atMs))).toEqual(
      new Set([60_000, 120_000, 180_000, 240_000, 300_000]),
    );
  });
});
