import { describe, expect, it } from 'vitest';
import { GuestFacts, NodeFacts } from '../../../broker/contract/facts.ts';
import { Telemetry } from '../../../broker/contract/telemetry.ts';
import { advance } from '../../../simulator/world/advance.ts';
import { buildFleetWorld, buildWorld } from '../../../simulator/world/build.ts';
import { factsOf, guestFactsOf } from '../../../simulator/world/facts.ts';
import { type LoadShape, loadShapes, wantedRatio } from '../../../simulator/world/load.ts';
import type { World, WorldNode } from '../../../simulator/world/model.ts';
import { crash } from '../../../simulator/world/node-effects.ts';
import { cpuPressure, demandOf, settleEnergy } from '../../../simulator/world/power.ts';
import { sampleNode } from '../../../simulator/world/sample.ts';
import { smallWorld, startMs } from './helpers.ts';

const first = (world: World): WorldNode => {
  const [node] = world.nodes.values();
  if (node === undefined) throw new Error('an empty world');
  return node;
};

describe('a sample', () => {
  it('has every value of the catalogue and passes the contract', () => {
    const world = smallWorld();
    const { node, guests, versions, membersOnline } = sampleNode(world, first(world), startMs);
    const head = { incarnation: 1, sampledAtMs: startMs, intervalMs: 5000 };
    const body = { ...head, node, guests, versions, membersOnline };
    expect(Telemetry.parse(body)).toEqual(body);
    const missing = Object.entries(node).filter(([, value]) => value === null);
    // What is measured is not estimated.
    expect(missing).toEqual([['powerEstimatedWatts', null]]);
  });

  it('tells null, not 0, of a guest that does not run', () => {
    const world = smallWorld();
    const [stopped] = sampleNode(world, first(world), startMs).guests ?? [];
    expect(stopped).toMatchObject({ state: 'stopped', cpuRatio: null, uptimeMs: null });
    expect(stopped?.memoryTotalBytes).toBeGreaterThan(0);
  });

  it('changes from one to the next', () => {
    const world = smallWorld();
    const node = first(world);
    const earlier = JSON.stringify(sampleNode(world, node, startMs).guests);
    advance(world, startMs + 5000);
    expect(JSON.stringify(sampleNode(world, node, startMs + 5000).guests)).not.toBe(earlier);
  });

  it('saturates: a node never works more than all its cpus, and pressure tells the rest', () => {
    const world = smallWorld();
    const node = first(world);
    for (const guest of node.guests) {
      guest.state = 'running';
      guest.cpuCount = node.spec.cpuCount;
      guest.forcedRatio = 1;
    }
    // More cpus make the same work lighter, so the work is made for all of them.
    const demand = demandOf(world, node, startMs).ratio;
    const calm = sampleNode(world, node, startMs).node;
    expect(calm.cpuRatio).toBeLessThanOrEqual(1);
    for (const guest of node.guests) guest.cpuCount = guest.spec.cpuCount;
    const [greedy] = node.guests;
    if (greedy) Object.assign(greedy.spec, { cpuCount: node.spec.cpuCount * 2 });
    if (greedy) greedy.cpuCount = node.spec.cpuCount * 2;
    expect(demandOf(world, node, startMs).ratio).toBeGreaterThan(demand);
    for (let atMs = startMs; atMs <= startMs + 60_000; atMs += 5000) {
      sampleNode(world, node, atMs);
    }
    const { node: values, guests } = sampleNode(world, node, startMs + 60_000);
    expect(values.cpuRatio).toBe(1);
    expect(values.cpuPressureSomeAvg10Ratio).toBeGreaterThan(0.4);
    expect(values.powerWatts).toBe(node.spec.wattsLoaded);
    expect(guests?.[0]?.cpuRatio).toBeLessThan(0.6);
    const cores = (guests ?? []).reduce(
      (sum, guest) => sum + (guest.cpuRatio ?? 0) * (guest.cpuCount ?? 0),
      0,
    );
    expect(cores).toBeLessThanOrEqual(node.spec.cpuCount * 1.01);
  });

  it('counts watts, elapsed time and the time scale into energy', () => {
    const world = smallWorld(42, 60);
    const node = first(world);
    crash(world, node);
    expect([node.watts, node.joules]).toEqual([3, 0]);
    advance(world, startMs + 1000);
    settleEnergy(world, node, world.nowMs);
    expect(node.joules).toBe(3 * 1 * 60);
  });
});

describe('facts', () => {
  it('pass the contract and leave nothing unknown that a guard needs', () => {
    const world = smallWorld();
    const node = first(world);
    const facts = factsOf(world, node);
    expect(NodeFacts.parse(facts)).toEqual(facts);
    const guests = node.guests.map(guestFactsOf);
    expect(guests.map((guest) => GuestFacts.parse(guest))).toEqual(guests);
    expect(facts.quorum).toMatchObject({ quorate: true, expectedVotes: 4, quorumVotes: 3 });
  });

  it('lose quorum when half of the votes are gone', () => {
    const world = smallWorld();
    const [, second, third] = [...world.nodes.values()];
    if (second) crash(world, second);
    if (third) crash(world, third);
    const facts = factsOf(world, first(world));
    expect(facts.quorum).toMatchObject({ quorate: false, totalVotes: 2 });
  });

  it('know of no quorum on a standalone host', () => {
    const world = buildFleetWorld({
      seed: 1,
      startMs,
      timeScale: 1,
      nodes: 1,
      nodesPerCluster: 1,
      guestsPerNode: 2,
      clusterPrefix: 'alone',
    });
    expect(factsOf(world, first(world)).quorum).toBeNull();
    expect(sampleNode(world, first(world), startMs).membersOnline).toBeNull();
  });
});

describe('a load shape', () => {
  const hourMs = 3_600_000;
  const mean = (shape: LoadShape, fromMs: number, toMs: number): number => {
    const load = { shape, seed: 11, base: 0.05, swing: 0.5 };
    let sum = 0;
    let count = 0;
    for (let atMs = fromMs; atMs < toMs; atMs += 60_000) {
      sum += wantedRatio(load, atMs);
      count += 1;
    }
    return sum / count;
  };
  const mondayMs = Date.UTC(2026, 0, 5);

  it('never leaves 0..1, whatever the shape', () => {
    for (const shape of loadShapes) {
      for (let hour = 0; hour < 24 * 7; hour += 1) {
        const ratio = wantedRatio({ shape, seed: hour, base: 0.4, swing: 1 }, hour * hourMs);
        expect(ratio).toBeGreaterThan(0);
        expect(ratio).toBeLessThanOrEqual(1);
      }
    }
  });

  it('is high in the evening and low in the morning when diurnal', () => {
    const evening = mean('diurnal', mondayMs + 18 * hourMs, mondayMs + 21 * hourMs);
    const morning = mean('diurnal', mondayMs + 6 * hourMs, mondayMs + 9 * hourMs);
    expect(evening).toBeGreaterThan(2 * morning);
  });

  it('rests on Sunday when weekly', () => {
    const dayMs = 24 * hourMs;
    const monday = mean('weekly', mondayMs, mondayMs + dayMs);
    const sunday = mean('weekly', mondayMs - dayMs, mondayMs);
    expect(monday).toBeGreaterThan(1.5 * sunday);
  });

  it('spikes for three of each twenty minutes', () => {
    const load = { shape: 'spike' as const, seed: 5, base: 0.05, swing: 0.8 };
    let busy = 0;
    for (let second = 0; second < 1200; second += 1) {
      if (wantedRatio(load, mondayMs + second * 1000) > 0.5) busy += 1;
    }
    expect(busy).toBeGreaterThanOrEqual(179);
    expect(busy).toBeLessThanOrEqual(181);
  });
});

describe('cpu pressure', () => {
  it('is nothing on a calm node and grows without a jump at saturation', () => {
    expect(cpuPressure(0.5)).toBe(0);
    expect(cpuPressure(1.0001) - cpuPressure(1)).toBeLessThan(0.001);
    expect(cpuPressure(2)).toBeCloseTo(0.6);
  });
});

describe('building a world', () => {
  it('names the guest whose node does not exist', () => {
    const { spec } = first(smallWorld()).guests[0] ?? {};
    if (spec === undefined) throw new Error('no guest');
    expect(() => buildWorld({ seed: 1, startMs, timeScale: 1, nodes: [], guests: [spec] })).toThrow(
      'guest sim-001/100 names the unknown node n0001',
    );
  });

  it('gives 2048 nodes distinct MACs and fits every guest', () => {
    const world = buildFleetWorld({
      seed: 42,
      startMs,
      timeScale: 1,
      nodes: 2048,
      nodesPerCluster: 16,
      guestsPerNode: 20,
      clusterPrefix: 'sim',
    });
    expect(world.nodesByMac.size).toBe(2048);
    expect(world.clusters.size).toBe(128);
    expect(world.guests.size).toBe(40_960);
  });
});
