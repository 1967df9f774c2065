import { assert, property } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decide } from '../../../backend/decide/decide.ts';
import { emptyHistory, observe } from '../../../backend/decide/history.ts';
import { modelOf, nodeRole } from '../../../backend/decide/model.ts';
import { Policy } from '../../../backend/decide/policy.ts';
import type { NodeRecord } from '../../../backend/state/fleet.ts';
import { unseenNode } from '../../../backend/state/reduce.ts';
import type { GuestSample } from '../../../broker/contract/telemetry.ts';
import { guestSample, nodeValues } from '../../support/messages.ts';
import { cluster, nowMs, planOf, type Scene, scenes } from './scenes.ts';

const movesOf = (scene: Scene) =>
  planOf(scene).intents.flatMap(({ target, executor, action }) =>
    action.kind === 'guest.migrate'
      ? [{ guest: target.id, from: executor, to: action.args.targetNode }]
      : [],
  );

function forAll(check: (scene: Scene) => void, seed: number): void {
  assert(
    property(scenes, (scene) => check(scene)),
    { seed, numRuns: 400 },
  );
}

/** Who stands where after the plan. */
function placesAfter(scene: Scene): Map<string, GuestSample[]> {
  const places = new Map(scene.nodes.map(({ node, guests }) => [node, [...(guests ?? [])]]));
  for (const { guest, from, to } of movesOf(scene)) {
    const known = places.get(from) ?? [];
    const at = known.findIndex(({ id }) => id === guest);
    const [sample] = known.splice(at, 1);
    if (sample) places.get(to)?.push(sample);
  }
  return places;
}

describe('any plan', () => {
  it('is the same again, byte for byte, and changes nothing it was given', () => {
    forAll((scene) => {
      const before = JSON.stringify([scene.nodes, [...scene.history.hotSinceMs]]);
      expect(JSON.stringify(planOf(scene))).toBe(JSON.stringify(planOf(scene)));
      expect(JSON.stringify([scene.nodes, [...scene.history.hotSinceMs]])).toBe(before);
    }, 1);
  });

  it('moves only free guests of awake nodes, to awake nodes, each once', () => {
    forAll((scene) => {
      const awake = new Set(
        scene.nodes
          .filter((node) => node.sampleAtMs === nowMs && !node.maintenance && !node.activeKind)
          .map(({ node }) => node),
      );
      const moves = movesOf(scene);
      expect(new Set(moves.map(({ guest }) => guest)).size).toBe(moves.length);
      for (const { guest, from, to } of moves) {
        const sample = scene.nodes
          .find(({ node }) => node === from)
          ?.guests?.find(({ id }) => id === guest);
        expect([awake.has(from), awake.has(to), from === to]).toEqual([true, true, false]);
        expect(sample).toMatchObject({ state: 'running', lock: null });
        expect(sample?.cpuRatio).not.toBeNull();
        expect(sample?.tags.join(' ')).not.toMatch(/kr_(pin|ignore)/);
      }
    }, 2);
  });

  it('stays within the limits of the policy', () => {
    forAll((scene) => {
      const moves = movesOf(scene);
      expect(moves.length).toBeLessThanOrEqual(scene.policy.limits.migrationsPerCluster);
      for (const { node } of scene.nodes) {
        const busy = moves.filter(({ from, to }) => from === node || to === node).length;
        expect(busy).toBeLessThanOrEqual(scene.policy.limits.migrationsPerNode);
      }
    }, 3);
  });

  it('fits memory and the planned band on every target', () => {
    forAll((scene) => {
      const targets = new Set(movesOf(scene).map(({ to }) => to));
      const after = placesAfter(scene);
      for (const node of scene.nodes.filter((one) => targets.has(one.node))) {
        const { cpuCount, memoryTotalBytes, memoryUsedBytes } = node.values ?? {};
        const arrived = (after.get(node.node) ?? []).filter(
          ({ id }) => !node.guests?.some((guest) => guest.id === id),
        );
        const memory = arrived.reduce((sum, guest) => sum + (guest.memoryTotalBytes ?? 0), 0);
        expect((memoryUsedBytes ?? 0) + memory).toBeLessThanOrEqual(memoryTotalBytes ?? 0);
        expect(node.values?.cpuRatio ?? 1).toBeLessThanOrEqual(1);
        expect(cpuCount).toBeGreaterThan(0);
      }
    }, 4);
  });

  it('brings no rivals together, and parts no fellows for good', () => {
    forAll((scene) => {
      const after = placesAfter(scene);
      const moved = new Set(movesOf(scene).map(({ guest }) => guest));
      for (const guests of after.values()) {
        const rivals = guests.filter(
          ({ tags, state }) => tags.includes('kr_anti_affinity_a') && state !== 'stopped',
        );
        const isNew = rivals.some(({ id }) => moved.has(id));
        expect(isNew && rivals.length > 1).toBe(false);
      }
    }, 5);
  });

  it('never makes the worst node worse', () => {
    forAll((scene) => {
      const worst = (ratios: number[]) => Math.max(0, ...ratios);
      const situation = { cluster, ...scene, nowMs };
      const model = modelOf(situation);
      const units = new Map(model.guests.map(({ id }, guest) => [id, model.now[guest] ?? 0]));
      const ratios = new Map(
        scene.nodes.map(({ node }, place) => [node, model.asked[place] ?? 0] as const),
      );
      const capacity = new Map(
        scene.nodes.map(({ node }, place) => [node, model.capacity[place] ?? 1] as const),
      );
      const isAwake = (_: unknown, place: number) => model.role[place] === nodeRole.awake;
      const shares = () =>
        scene.nodes
          .filter(isAwake)
          .map(({ node }) => (ratios.get(node) ?? 0) / (capacity.get(node) ?? 1));
      const before = worst(shares());
      for (const { guest, from, to } of movesOf(scene)) {
        ratios.set(from, (ratios.get(from) ?? 0) - (units.get(guest) ?? 0));
        ratios.set(to, (ratios.get(to) ?? 0) + (units.get(guest) ?? 0));
      }
      // Emptying fills other nodes on purpose, up to its own band and no further.
      expect(worst(shares())).toBeLessThanOrEqual(
        Math.max(before, scene.policy.save.fillRatio) + 1e-9,
      );
    }, 6);
  });

  it('sleeps only nodes that run nothing, one at a time, and leaves enough awake', () => {
    forAll((scene) => {
      const plan = planOf(scene);
      const slept = plan.intents.filter(({ action }) => action.kind === 'node.shutdown');
      expect(slept.length).toBeLessThanOrEqual(scene.policy.save.mode === 'on' ? 1 : 0);
      for (const { target } of slept) {
        const node = scene.nodes.find((one) => one.node === target.id);
        expect(node?.guests?.every(({ state }) => state === 'stopped')).toBe(true);
        const targets = movesOf(scene).map(({ to }) => to);
        expect(targets).not.toContain(target.id);
        const awake = scene.nodes.filter(
          (one) => one.sampleAtMs === nowMs && !one.maintenance && !one.activeKind,
        );
        expect(awake.length).toBeGreaterThan(scene.policy.save.awakeMin);
      }
    }, 7);
  });

  it('wakes only sleeping nodes, and only by one that is awake', () => {
    forAll((scene) => {
      for (const { target, executor, action } of planOf(scene).intents) {
        if (action.kind !== 'node.wake') continue;
        const stateOf = (name: string) => scene.nodes.find(({ node }) => node === name);
        expect(stateOf(target.id)?.desired).toBe('asleep');
        expect(stateOf(executor)?.online).toBe(true);
      }
    }, 8);
  });
});

describe('a month of rounds', () => {
  it('moves no guest twice within its cooldown', () => {
    const policy = Policy.parse({ save: { mode: 'on' }, relieve: { cpuRatio: { forMs: 0 } } });
    const history = emptyHistory();
    const stepMs = 600_000;
    const guests = Array.from({ length: 40 }, (_, place) => place);
    const placeOf = guests.map((guest) => guest % 4);
    const load = (guest: number, step: number) =>
      0.55 + 0.45 * Math.sin(step / (10 + (guest % 3)) + (guest % 2));
    const lastMs = new Map<string, number>();
    let moves = 0;
    for (let step = 1; step <= (30 * 86_400_000) / stepMs; step += 1) {
      const atMs = step * stepMs;
      const nodes = Array.from({ length: 4 }, (_, place): NodeRecord => {
        const own = guests.filter((guest) => placeOf[guest] === place);
        const used = own.reduce((sum, guest) => sum + load(guest, step), 0);
        return {
          ...unseenNode('home', `n${place}`),
          online: true,
          sampleAtMs: atMs,
          guests: own.map((guest) =>
            guestSample(`g${guest}`, { cpuCount: 1, cpuRatio: load(guest, step) }),
          ),
          values: nodeValues({ cpuCount: 8, cpuRatio: used / 8, memoryUsedBytes: 0 }),
        };
      });
      observe(history, { cluster, nodes }, policy, atMs);
      for (const { target, action } of decide({ cluster, nodes }, policy, history, atMs).intents) {
        if (action.kind !== 'guest.migrate') continue;
        const since = atMs - (lastMs.get(target.id) ?? -Infinity);
        expect(since).toBeGreaterThanOrEqual(policy.limits.guestCooldownMs);
        lastMs.set(target.id, atMs);
        history.lastMovedAtMs.set(`home/${target.id}`, atMs);
        placeOf[Number(target.id.slice(1))] = Number(action.args.targetNode.slice(1));
        moves += 1;
      }
    }
    expect(moves).toBeGreaterThan(100);
  });
});
