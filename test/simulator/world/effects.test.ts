import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Action } from '../../../broker/contract/command.ts';
import { advance, cancel } from '../../../simulator/world/advance.ts';
import { findGuest, findNode, type World } from '../../../simulator/world/model.ts';
import { crash, powerOn, wakeByMac } from '../../../simulator/world/node-effects.ts';
import { observe } from '../../../simulator/world/observe.ts';
import { sampleNode } from '../../../simulator/world/sample.ts';
import { brokenRule, cluster, onGuest, onNode, smallWorld, startMs } from './helpers.ts';

const guestOf = (world: World, id: string) => {
  const guest = findGuest(world, cluster, id);
  if (guest === undefined) throw new Error(`no guest ${id}`);
  return guest;
};
const nodeOf = (world: World, id: string) => {
  const node = findNode(world, cluster, id);
  if (node === undefined) throw new Error(`no node ${id}`);
  return node;
};
const migrateTo = (targetNode: string): Action => ({
  kind: 'guest.migrate',
  args: { targetNode, online: true, withLocalDisks: false },
});
const start: Action = { kind: 'guest.start', args: {} };
const shutdown: Action = { kind: 'node.shutdown', args: { mode: 'poweroff' } };
const minuteMs = 60_000;

describe('effects on a guest', () => {
  it('starts a stopped guest after some seconds and logs both ends', () => {
    const world = smallWorld();
    const task = onGuest(world, 'n0001', '100', start);
    expect(guestOf(world, '100')).toMatchObject({ state: 'stopped', lock: 'start' });
    advance(world, task.endMs - 1);
    expect(guestOf(world, '100').state).toBe('stopped');
    advance(world, task.endMs);
    expect(guestOf(world, '100')).toMatchObject({ state: 'running', lock: null });
    expect(world.log).toEqual([
      expect.objectContaining({
        kind: 'guest.start',
        guest: '100',
        effect: 'start',
        outcome: null,
      }),
      expect.objectContaining({ kind: 'guest.start', guest: '100', effect: 'end', outcome: 'ok' }),
    ]);
  });

  it('lets a migration take memory over bandwidth and a core on either end', () => {
    const world = smallWorld();
    const guest = guestOf(world, '101');
    const [source, target] = [nodeOf(world, 'n0001'), nodeOf(world, 'n0002')];
    const before = sampleNode(world, source, world.nowMs).node.loadAverage1;
    const task = onGuest(world, 'n0001', '101', migrateTo('n0002'));
    const bytesPerSecond = Math.min(
      source.spec.migrationBytesPerSecond,
      target.spec.migrationBytesPerSecond,
    );
    expect(task.endMs - startMs).toBeCloseTo(2_000 + (guest.memoryBytes / bytesPerSecond) * 1000);
    expect([source.migrations, target.migrations]).toEqual([1, 1]);
    expect(target.reservedBytes).toBe(guest.memoryBytes);
    expect(sampleNode(world, source, world.nowMs + 4_000).node.loadAverage1).toBeGreaterThan(
      before ?? 0,
    );
    advance(world, task.endMs);
    expect(guest.node).toBe(target);
    expect(source.guests).not.toContain(guest);
    expect([source.migrations, target.migrations, target.reservedBytes]).toEqual([0, 0, 0]);
  });

  it('scales a guest to absolute values and refuses more cpus than the host has', () => {
    const world = smallWorld();
    const memoryBytes = guestOf(world, '101').memoryBytes + 2 ** 30;
    const scale = (args: { cpuCount?: number; memoryBytes?: number }): Action => ({
      kind: 'guest.scale',
      args,
    });
    const task = onGuest(world, 'n0001', '101', scale({ cpuCount: 3, memoryBytes }));
    advance(world, task.endMs);
    expect(guestOf(world, '101')).toMatchObject({ cpuCount: 3, memoryBytes });
    const refused = onGuest(world, 'n0001', '101', scale({ cpuCount: 500 }));
    expect(refused.outcome).toMatch(/^node n0001 has \d+ cpus$/);
    expect(guestOf(world, '101').cpuCount).toBe(3);
  });

  it('refuses with the reason and still logs that somebody acted', () => {
    const world = smallWorld();
    onGuest(world, 'n0001', '101', migrateTo('n0002'));
    const outcomes = [
      onGuest(world, 'n0001', '101', migrateTo('n0003')),
      onGuest(world, 'n0002', '102', migrateTo('n0003')),
      onGuest(world, 'n0001', '102', start),
      onGuest(world, 'n0001', '102', migrateTo('n0001')),
      onGuest(world, 'n0001', '102', migrateTo('n9999')),
      onGuest(world, 'n0001', '999', start),
    ].map((task) => task.outcome);
    expect(outcomes).toEqual([
      'guest 101 is locked (migrate)',
      'guest 102 is on n0001',
      'guest 102 is already running',
      'the target is the source',
      'no node n9999',
      'no guest 999',
    ]);
    expect(world.log.filter(({ effect }) => effect === 'start')).toHaveLength(7);
  });

  it('refuses what does not fit into memory', () => {
    const world = smallWorld();
    guestOf(world, '100').memoryBytes = 2 ** 40;
    expect(onGuest(world, 'n0001', '100', start).outcome).toMatch(
      /^node n0001 has \d+ MiB free, 1048576 MiB are needed$/,
    );
    expect(brokenRule(world)).toBeUndefined();
  });

  it('gives everything back when a migration is cancelled', () => {
    const world = smallWorld();
    const task = onGuest(world, 'n0001', '101', migrateTo('n0002'));
    cancel(world, world.nowMs + 100, task.id);
    expect(task.outcome).toBe('cancelled');
    expect(guestOf(world, '101')).toMatchObject({ state: 'running', lock: null });
    expect(guestOf(world, '101').node.spec.node).toBe('n0001');
    expect(brokenRule(world)).toBeUndefined();
  });
});

describe('effects on a node', () => {
  it('powers off after the tool returned, and boots again by magic packet with a new bootId', () => {
    const world = smallWorld();
    const node = nodeOf(world, 'n0003');
    const { bootId } = node;
    const off = onNode(world, 'n0003', shutdown);
    expect([node.power, off.outcome]).toEqual(['stopping', null]);
    advance(world, off.endMs);
    expect([node.power, off.outcome]).toEqual(['off', 'ok']);
    expect(node.guests.every((guest) => guest.state === 'stopped')).toBe(true);
    expect(world.clusters.get(cluster)?.online).toEqual(['n0001', 'n0002', 'n0004']);

    const wake = wakeByMac(world, [node.spec.mac], 'w');
    expect([node.power, wake?.outcome]).toEqual(['booting', null]);
    expect((wake?.endMs ?? 0) - world.nowMs).toBeGreaterThan(57_000);
    expect((wake?.endMs ?? 0) - world.nowMs).toBeLessThan(189_000);
    advance(world, wake?.endMs ?? 0);
    expect([node.power, wake?.outcome]).toEqual(['on', 'ok']);
    expect(node.bootId).not.toBe(bootId);
    expect(node.guests.filter((guest) => guest.state === 'running')).toHaveLength(4);
    expect(world.changed).toEqual([node, node]);
  });

  it('stays off when a boot fails, and wakes at the next packet', () => {
    const world = smallWorld();
    const node = nodeOf(world, 'n0002');
    crash(world, node);
    node.bootFailures = 1;
    const first = wakeByMac(world, [node.spec.mac], 'w1');
    advance(world, world.nowMs + 5 * minuteMs);
    expect([node.power, first?.outcome]).toEqual(['off', 'boot failed']);
    const second = wakeByMac(world, [node.spec.mac], 'w2');
    advance(world, world.nowMs + 5 * minuteMs);
    expect([node.power, second?.outcome]).toEqual(['on', 'ok']);
  });

  it('ignores a magic packet to a node that is on, and one to nobody', () => {
    const world = smallWorld();
    const node = nodeOf(world, 'n0002');
    expect(wakeByMac(world, [node.spec.mac], 'w')?.outcome).toBe('node is on');
    expect(wakeByMac(world, ['02:00:00:00:00:01'], 'w')).toBeUndefined();
  });

  it('fails a migration whose target loses power and keeps the guest running at its source', () => {
    const world = smallWorld();
    const task = onGuest(world, 'n0001', '101', migrateTo('n0002'));
    crash(world, nodeOf(world, 'n0002'));
    expect(task.outcome).toBe('node n0002 lost power');
    expect(guestOf(world, '101')).toMatchObject({ state: 'running', lock: null });
    expect(brokenRule(world)).toBeUndefined();
  });

  it('fails the boot of a node whose plug is pulled meanwhile', () => {
    const world = smallWorld();
    const node = nodeOf(world, 'n0002');
    crash(world, node);
    const boot = powerOn(world, node, 'node.boot', null);
    crash(world, node);
    expect([node.power, boot.outcome]).toEqual(['off', 'power was cut']);
    advance(world, world.nowMs + 10 * minuteMs);
    expect(node.power).toBe('off');
  });

  it('cannot suspend and says what to do instead', () => {
    const task = onNode(smallWorld(), 'n0001', {
      kind: 'node.shutdown',
      args: { mode: 'suspend' },
    });
    expect(task.outcome).toBe('this world cannot suspend; use mode poweroff');
  });

  it('divides durations by its time scale', () => {
    const world = smallWorld(42, 60);
    const node = nodeOf(world, 'n0001');
    crash(world, node);
    const wake = wakeByMac(world, [node.spec.mac], 'w');
    expect((wake?.endMs ?? 0) - world.nowMs).toBeLessThan(189_000 / 60);
  });
});

describe('post-conditions', () => {
  const look = (world: World, action: Action, id: string, kind: 'node' | 'guest' = 'guest') =>
    observe(world, { cluster, node: 'n0001', target: { kind, id }, commandId: 'c', action })
      .postcondition;

  it('are unknown while the effect is under way and known afterwards', () => {
    const world = smallWorld();
    expect(look(world, start, '100')).toBe(false);
    const task = onGuest(world, 'n0001', '100', start);
    expect(look(world, start, '100')).toBeNull();
    advance(world, task.endMs);
    expect(look(world, start, '100')).toBe(true);
  });

  it('tell a restart of this command from an older one', () => {
    const world = smallWorld();
    const restart: Action = { kind: 'guest.restart', args: {} };
    expect(look(world, restart, '101')).toBe(false);
    advance(world, onGuest(world, 'n0001', '101', restart).endMs);
    expect(look(world, restart, '101')).toBe(true);
  });

  it('see a shutdown from a neighbour as unknown, then true', () => {
    const world = smallWorld();
    expect(look(world, shutdown, 'n0002', 'node')).toBe(false);
    const task = onNode(world, 'n0002', shutdown);
    expect(look(world, shutdown, 'n0002', 'node')).toBeNull();
    advance(world, task.endMs);
    expect(look(world, shutdown, 'n0002', 'node')).toBe(true);
  });

  it('compare every value of a scale', () => {
    const world = smallWorld();
    const { cpuCount, memoryBytes } = guestOf(world, '101');
    const same: Action = { kind: 'guest.scale', args: { cpuCount, memoryBytes } };
    const other: Action = { kind: 'guest.scale', args: { cpuCount, memoryBytes: 1 } };
    expect([look(world, same, '101'), look(world, other, '101')]).toEqual([true, false]);
  });
});

type Step = { afterMs: number; node: number; guest: number; what: number; to: number };

const actions = (step: Step): Action[] => [
  start,
  { kind: 'guest.stop', args: { force: step.to % 2 === 0, timeoutMs: 180_000 } },
  { kind: 'guest.restart', args: {} },
  migrateTo(`n000${step.to}`),
  { kind: 'guest.scale', args: { memoryBytes: step.to * 2 ** 33, cpuCount: step.to } },
  shutdown,
];

function play(world: World, steps: readonly Step[], check: (world: World) => void): void {
  let atMs = world.nowMs;
  for (const step of steps) {
    atMs += step.afterMs;
    const node = nodeOf(world, `n000${step.node}`);
    const action = actions(step)[step.what];
    if (action?.kind === 'node.shutdown') onNode(world, node.spec.node, action, atMs);
    else if (action) onGuest(world, node.spec.node, String(100 + step.guest), action, atMs);
    else if (step.what === 6) crash(world, node);
    else wakeByMac(world, [node.spec.mac], null);
    check(world);
  }
  advance(world, atMs + 30 * minuteMs);
  check(world);
}

const step = fc.record({
  afterMs: fc.integer({ min: 0, max: 20_000 }),
  node: fc.integer({ min: 1, max: 4 }),
  guest: fc.integer({ min: 0, max: 19 }),
  what: fc.integer({ min: 0, max: 7 }),
  to: fc.integer({ min: 1, max: 4 }),
});

describe('any sequence of effects', () => {
  it('keeps memory within bounds, each guest on one node, and closes every effect once', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const world = smallWorld();
        play(world, steps, (now) => expect(brokenRule(now)).toBeUndefined());
        expect(world.pending).toEqual([]);
        const count = (effect: string) =>
          world.log.filter((entry) => entry.effect === effect).length;
        expect(count('start')).toBe(world.tasks.size);
        expect(count('end')).toBe(world.tasks.size);
        expect([...world.guests.values()].every((guest) => guest.lock === null)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it('only ever adds energy, at no less than what a sleeping board draws', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const world = smallWorld(7, 10);
        const joules = new Map<string, number>();
        play(world, steps, (now) => {
          for (const [key, node] of now.nodes) {
            if (node.power === 'on') sampleNode(now, node, now.nowMs);
            expect(node.joules).toBeGreaterThanOrEqual(joules.get(key) ?? 0);
            const seconds = (node.settledAtMs - startMs) / 1000;
            expect(node.joules).toBeGreaterThanOrEqual(3 * 10 * seconds - 1e-6);
            joules.set(key, node.joules);
          }
        });
      }),
      { numRuns: 60 },
    );
  });

  it('gives the same log for the same seed and steps, and another for another seed', () => {
    const hashOf = (seed: number, steps: readonly Step[]): string => {
      const world = smallWorld(seed);
      play(world, steps, () => undefined);
      return createHash('sha256').update(JSON.stringify(world.log)).digest('hex');
    };
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        expect(hashOf(42, steps)).toBe(hashOf(42, steps));
      }),
      { numRuns: 50 },
    );
    const wake = [{ afterMs: 1, node: 1, guest: 0, what: 0, to: 1 }];
    expect(hashOf(42, wake)).not.toBe(hashOf(43, wake));
  });
});
