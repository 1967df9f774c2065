import { describe, expect, it } from 'vitest';
import { advance } from '../../../simulator/world/advance.ts';
import { buildHomelab } from '../../../simulator/world/homelab.ts';
import { findNode, worldTimeMs } from '../../../simulator/world/model.ts';
import { demandOf } from '../../../simulator/world/power.ts';
import { brokenRule, startMs } from './helpers.ts';

const homelab = () => buildHomelab({ seed: 7, startMs, timeScale: 60 });

describe('the homelab of the demo', () => {
  it('has five machines at home, two in the attic, three in a rack, and guests that fit', () => {
    const world = homelab();
    expect([...world.clusters.values()].map(({ id, nodes }) => [id, nodes.length])).toEqual([
      ['home', 5],
      ['attic', 2],
      ['rack', 3],
    ]);
    expect(world.guests.size).toBe(36);
    expect(brokenRule(world)).toBeUndefined();
    expect(new Set([...world.guests.values()].map(({ spec }) => spec.name)).size).toBe(36);
  });

  it('gets hot on the film server in the evening, not in the morning, and nowhere else', () => {
    const world = homelab();
    const dayMs = 86_400_000 / 60;
    const hotHours = new Map<string, number[]>();
    for (let atMs = startMs; atMs < startMs + dayMs; atMs += dayMs / 96) {
      advance(world, atMs);
      for (const node of world.nodes.values()) {
        if (demandOf(world, node, atMs).ratio <= 0.85) continue;
        const hour = new Date(worldTimeMs(world, atMs)).getUTCHours();
        hotHours.set(node.spec.node, [...(hotHours.get(node.spec.node) ?? []), hour]);
      }
    }
    expect([...hotHours.keys()]).toEqual(['nuc1']);
    const hours = hotHours.get('nuc1') ?? [];
    expect(hours.length).toBeGreaterThan(8);
    expect(hours.filter((hour) => hour > 3 && hour < 11)).toEqual([]);
  });

  it('begins at the hour that is asked for, whatever the clock on the wall says', () => {
    for (const hoursLater of [0, 7, 19]) {
      const wallMs = startMs + hoursLater * 3_600_000;
      const world = buildHomelab({ seed: 7, startMs: wallMs, timeScale: 60, startHour: 12 });
      expect(new Date(worldTimeMs(world, wallMs)).getUTCHours()).toBe(12);
      const nuc1 = findNode(world, 'home', 'nuc1');
      if (!nuc1) throw new Error('no nuc1');
      const ratioAfter = (minutes: number): number => {
        advance(world, wallMs + minutes * 60_000);
        return demandOf(world, nuc1, wallMs + minutes * 60_000).ratio;
      };
      expect(ratioAfter(3)).toBeGreaterThan(0.95);
    }
  });

  it('lets the attic be two standalone hosts without quorum', () => {
    expect(findNode(homelab(), 'attic', 'big')?.spec.votes).toBe(0);
    expect(findNode(homelab(), 'home', 'xeon')?.spec.votes).toBe(1);
  });
});
