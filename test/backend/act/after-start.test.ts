import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { simulatedLimits } from '../../../backend/act/guard-limits.ts';
import { createWorld } from './twin.ts';
import { restart, taken } from './wishes.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-start-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const minute = 60_000;

async function running(limits: object) {
  const world = await createWorld({ folder });
  const limit = (more: object) =>
    world.database.db
      .updateTable('clusters')
      .set({ limits: JSON.stringify({ ...simulatedLimits, ...more }) })
      .execute();
  await limit(limits);
  const service = world.createService();
  await service.commands.start();
  await world.boot();
  const cluster = () =>
    world.database.db.selectFrom('clusters').selectAll().executeTakeFirstOrThrow();
  return { world, service, cluster, limit };
}

/** A restart is queued, and the server ends before anyone heard of it; the next knows no guest. */
async function restarted(limits: object) {
  const { world, service, limit } = await running({});
  const id = await taken(service, restart);
  service.kill();
  await limit(limits);
  const guest = world.fleet.guests.get('home/100');
  if (!guest) throw new Error('no guest');
  world.fleet.guests.delete('home/100');
  // One that is not back yet: the picture is not whole.
  world.twin('n3').crash();
  await world.createService().commands.start();
  const command = () => world.command(id);
  return { world, command, guest, id };
}

describe('a command that was queued before the server restarted', () => {
  it('waits for what its nodes have not said yet, says so, and is granted when they have', async () => {
    const { world, command, guest, id } = await restarted({});
    await world.clock.advance(minute);
    expect(await command()).toMatchObject({ state: 'OFFERED' });
    expect((await command()).state_reason).toMatch(/^KR_SETTLING: .* KR_UNKNOWN_GUEST so far$/);
    expect(world.effects).toEqual([]);
    world.fleet.guests.set('home/100', guest);
    await world.clock.advance(minute);
    expect((await command()).state).toBe('SUCCEEDED');
    expect(world.effects.map(({ commandId }) => commandId)).toEqual([id]);
  });

  it('is refused for it once the window of the start is over', async () => {
    const { world, command } = await restarted({});
    await world.clock.advance(2.5 * minute);
    expect(await command()).toMatchObject({ state: 'REJECTED' });
    expect((await command()).state_reason).toMatch(/^KR_UNKNOWN_GUEST/);
    expect(world.effects).toEqual([]);
  });

  it('expires at its own deadline, and names what it had waited for', async () => {
    const { world, command } = await restarted({ startupHoldMs: 10 * minute });
    await world.clock.advance(5.5 * minute);
    expect(await command()).toMatchObject({ state: 'EXPIRED' });
    expect((await command()).state_reason).toMatch(/KR_UNKNOWN_GUEST.*did not come in time/);
    expect(world.effects).toEqual([]);
  });
});

describe('a storm of silent nodes', () => {
  it('freezes the cluster though nobody asks for anything, and until 5 min after it', async () => {
    const { world, cluster } = await running({ staleNodesMin: 2, freezeMs: 5 * minute });
    await world.clock.advance(2 * minute);
    world.twin('n2').crash();
    world.twin('n3').crash();
    await world.clock.advance(minute);
    expect((await cluster()).frozen_reason).toBe(
      '2 of 3 nodes that should be awake were not heard',
    );
    await world.clock.advance(minute);
    world.twin('n2').start();
    world.twin('n3').start();
    await world.clock.advance(4.5 * minute);
    expect((await cluster()).frozen_until_ms).toBeGreaterThan(world.clock.wallMs());
    await world.clock.advance(1.5 * minute);
    expect((await cluster()).frozen_until_ms).toBeLessThan(world.clock.wallMs());
    const rows = await world.database.db.selectFrom('audit').selectAll().execute();
    expect(rows.filter(({ action }) => action === 'cluster.frozen')).toHaveLength(1);
  });

  it('is not seen in the first two minutes of a server, when nobody had time to connect', async () => {
    const { world, cluster } = await running({ staleNodesMin: 2, freezeMs: 5 * minute });
    world.twin('n2').crash();
    world.twin('n3').crash();
    await world.clock.advance(1.5 * minute);
    expect((await cluster()).frozen_until_ms).toBeNull();
    await world.clock.advance(minute);
    expect((await cluster()).frozen_until_ms).toBeGreaterThan(world.clock.wallMs());
  });
});
