import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CommandKind } from '../../../broker/contract/command.ts';
import type { Submission } from '../../../backend/act/planned.ts';
import { checkInvariants, openOf } from './invariants.ts';
import { createWorld, everyKind, noFaults, type Service, type World } from './twin.ts';
import { restart, taken } from './wishes.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-act-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const layout = {
  clusters: { home: ['n1', 'n2', 'n3', 'n4'], work: ['w1', 'w2', 'w3'] },
  guests: {
    'home/100': 'n1',
    'home/101': 'n1',
    'home/102': 'n2',
    'home/103': 'n3',
    'work/100': 'w1',
    'work/101': 'w2',
  },
};

/** A wish drawn by seed; many make no sense where the world stands, and must be refused. */
function draw(world: World): Submission {
  const { random } = world;
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random.ratio() * items.length)] as T;
  const cluster = pick(Object.keys(layout.clusters)) as keyof typeof layout.clusters;
  const kind: CommandKind = pick(everyKind);
  const common = { cluster, kind, origin: 'token', actor: 'token:t', approved: true } as const;
  if (kind.startsWith('node.'))
    return { ...common, node: pick(layout.clusters[cluster]), args: {} };
  const key = pick(Object.keys(layout.guests).filter((one) => one.startsWith(cluster)));
  const node = world.fleet.guests.get(key)?.node ?? '';
  const args = {
    'guest.migrate': { targetNode: pick(layout.clusters[cluster]) },
    'guest.scale': { cpuCount: 4 },
  };
  return {
    ...common,
    node,
    guest: key.slice(cluster.length + 1),
    args: args[kind as keyof typeof args] ?? {},
  };
}

const anyNode = (world: World) =>
  [...world.twins.values()][Math.floor(world.random.ratio() * world.twins.size)];

/** One random thing happens, then a little time passes. */
async function disturb(world: World, service: Service): Promise<void> {
  const chance = world.random.ratio();
  if (chance < 0.7) {
    await service.commands.submit(draw(world));
  } else if (chance < 0.8) {
    const twin = anyNode(world);
    if (twin && twin.session !== null) {
      twin.crash();
      world.clock.after(1_000 + world.random.ratio() * 40_000, () => {
        if (!world.isOff(twin.node, twin.cluster) && twin.session === null) twin.start();
      });
    }
  } else if (chance < 0.85) {
    const rows = await world.database.db.selectFrom('commands').select('id').execute();
    const row = rows[Math.floor(world.random.ratio() * rows.length)];
    if (row) await service.commands.cancel(row.id, 'token:t');
  }
  await world.clock.advance(world.random.ratio() * 6_000);
}

async function settle(world: World): Promise<void> {
  world.setFaults(noFaults);
  for (const twin of world.twins.values()) {
    if (twin.session === null && !world.isOff(twin.node, twin.cluster)) twin.start();
  }
  await world.clock.advance(25 * 60_000);
}

const seeds = Array.from({ length: 6 }, (_, index) => index + 1);

describe('under loss, duplication, reordering and crashes of daemons', () => {
  it.each(seeds)(
    'seed %i: every command ends or is INDETERMINATE, each effect once',
    async (seed) => {
      const world = await createWorld({ folder, seed, layout });
      const service = world.createService();
      await service.commands.start();
      await world.boot();
      world.setFaults({ loss: 0.2, duplicate: 0.3, delayMs: 4_000 });
      for (let round = 0; round < 60; round += 1) await disturb(world, service);
      await settle(world);
      expect(await openOf(world)).toEqual([]);
      expect(world.effects.length).toBeGreaterThan(5);
      await checkInvariants(world);
    },
  );
});

describe('a backend that is killed in the middle', () => {
  it.each(seeds.slice(0, 4))('seed %i: its successor executes nothing twice', async (seed) => {
    const world = await createWorld({ folder, seed: seed + 100, layout });
    let service = world.createService();
    await service.commands.start();
    await world.boot();
    world.setFaults({ loss: 0.1, duplicate: 0.2, delayMs: 2_000 });
    for (let round = 0; round < 50; round += 1) {
      await disturb(world, service);
      if (world.random.ratio() < 0.15) {
        service.kill();
        await world.clock.advance(world.random.ratio() * 60_000);
        service = world.createService();
        await service.commands.start();
        // The embedded broker died with it: every daemon connects anew.
        for (const twin of world.twins.values()) {
          if (twin.session === null) continue;
          twin.say('presence', { online: true, reason: 'birth', load: null });
          twin.hello();
        }
      }
    }
    await settle(world);
    expect(await openOf(world)).toEqual([]);
    await checkInvariants(world);
  });

  it('gives running commands their silence anew instead of doubting them at once', async () => {
    const world = await createWorld({ folder });
    const first = world.createService();
    await first.commands.start();
    await world.boot();
    const id = await taken(first, restart);
    await world.clock.advance(600);
    expect((await world.command(id)).state).toBe('RUNNING');
    first.kill();
    world.twin('n1').crash();
    await world.clock.advance(5 * 60_000);
    const second = world.createService();
    await second.commands.start();
    await world.clock.advance(20_000);
    expect((await world.command(id)).state).toBe('RUNNING');
    world.twin('n1').start();
    await world.clock.advance(5_000);
    expect((await world.command(id)).state).toBe('SUCCEEDED');
    expect(world.effects).toHaveLength(1);
    await checkInvariants(world);
  });
});

describe('two backends on one database', () => {
  it('let only the leader act, and the other take over under a higher epoch', async () => {
    const world = await createWorld({ folder });
    const first = world.createService('backend-a');
    await first.commands.start();
    const second = world.createService('backend-b');
    await second.commands.start();
    await world.boot();
    expect(await second.commands.submit(restart)).toMatchObject({
      ok: false,
      refusal: { status: 503, code: 'KR_NOT_LEADER' },
    });
    const epoch = first.commands.lease.epochOf('home') ?? 0;
    first.kill();
    await world.clock.advance(15_000);
    expect(second.commands.lease.epochOf('home')).toBe(epoch + 1);
    const answer = await second.commands.submit(restart);
    await world.clock.advance(60_000);
    if (!answer.ok) throw new Error(answer.refusal.detail);
    expect(await world.command(answer.id)).toMatchObject({ state: 'SUCCEEDED', epoch: epoch + 1 });
    await checkInvariants(world);
  });

  it('a deposed one changes nothing, although it still believes in its lease', async () => {
    const world = await createWorld({ folder });
    const first = world.createService('backend-a');
    await first.commands.start();
    await world.boot();
    const before = await world.database.db.selectFrom('leases').selectAll().execute();
    await world.database.db
      .updateTable('leases')
      .set((eb) => ({ owner: 'backend-b', epoch: eb('epoch', '+', 1) }))
      .execute();
    expect(first.commands.lease.epochOf('home')).toBe(before[0]?.epoch);
    expect(await first.commands.submit(restart)).toMatchObject({
      ok: false,
      refusal: { code: 'KR_NOT_LEADER' },
    });
    expect(await world.database.db.selectFrom('commands').selectAll().execute()).toEqual([]);
    expect(await world.database.db.selectFrom('audit').selectAll().execute()).toEqual([]);
  });

  it.each(seeds.slice(0, 4))(
    'seed %i: pauses of the leader never lead to a second start',
    async (seed) => {
      const world = await createWorld({ folder, seed: seed + 200, layout });
      const services = ['backend-a', 'backend-b'].map((owner) => world.createService(owner));
      for (const { commands } of services) await commands.start();
      await world.boot();
      world.setFaults({ loss: 0.1, duplicate: 0.3, delayMs: 3_000 });
      for (let round = 0; round < 60; round += 1) {
        const one = services[Math.floor(world.random.ratio() * 2)] as Service;
        if (world.random.ratio() < 0.1) {
          one.pause(true);
          world.clock.after(20_000, () => one.pause(false));
        }
        await disturb(world, one);
      }
      await settle(world);
      expect(await openOf(world)).toEqual([]);
      await checkInvariants(world);
    },
  );
});
