import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { simulatedLimits } from '../../../backend/act/guard-limits.ts';
import { checkInvariants } from './invariants.ts';
import { createWorld, noFaults } from './twin.ts';
import { taken, type Wish } from './wishes.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-again-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const minute = 60_000;

async function running(limits: object = {}) {
  const world = await createWorld({ folder });
  await world.database.db
    .updateTable('clusters')
    .set({
      limits: JSON.stringify({ ...simulatedLimits, ...limits }),
      autonomy: '{"default":"auto"}',
    })
    .execute();
  const service = world.createService();
  // Measured to boot in a minute, so a wake is given up after three.
  const card = { name: 'eth0', mac: '02:00:00:00:00:03', broadcast: '192.168.1.255' };
  const facts = NodeFacts.parse({
    kernel: '6.14.0-twin',
    links: [{ ...card, wakeOnMagic: true }],
    roles: [],
    busy: [],
    upsOnBattery: false,
    bootMs: minute,
  });
  Object.assign(world.fleet.nodes.get('home/n3') ?? {}, { facts });
  await service.commands.start();
  await world.boot();
  const send = (wish: Wish) => taken(service, wish);
  const commands = () =>
    world.database.db.selectFrom('commands').selectAll().orderBy('planned_at_ms').execute();
  const audited = async () => {
    const rows = await world.database.db.selectFrom('audit').select('action').execute();
    return rows.map(({ action }) => action);
  };
  const sleep = async () => {
    await send({ kind: 'node.shutdown', node: 'n3' });
    await world.clock.advance(2 * minute);
    expect(world.isOff('n3')).toBe(true);
  };
  return { world, service, send, commands, audited, sleep };
}

describe('a wake whose node does not come', () => {
  it('is tried by the next way, under a new id, once its deadline is missed', async () => {
    const { world, send, commands, sleep, audited } = await running();
    await sleep();
    world.muteWaker('n1');
    const first = await send({ kind: 'node.wake', node: 'n3' });
    await world.clock.advance(6 * minute);
    const wakes = (await commands()).filter(({ kind }) => kind === 'node.wake');
    expect(wakes.map(({ executor, parent_id, origin }) => [executor, parent_id, origin])).toEqual([
      ['n1', null, 'person'],
      ['n2', first, 'system'],
    ]);
    expect(world.isOff('n3')).toBe(false);
    // Its boot closes the first one too: whatever woke it, it is awake.
    expect(wakes.map(({ state }) => state)).toEqual(['SUCCEEDED', 'SUCCEEDED']);
    expect(world.effects.filter(({ kind }) => kind === 'node.wake')).toHaveLength(2);
    expect(await audited()).toContain('command.again');
    await checkInvariants(world);
  });

  it('bars every power-off meanwhile, and ends in a quarantine when all ways are used up', async () => {
    const { world, send, commands, sleep, audited } = await running({
      wakeAttempts: 3,
      wakeQuarantineMs: 30 * 1_440 * minute,
    });
    await sleep();
    world.breakWakes();
    await send({ kind: 'node.wake', node: 'n3' });
    await world.clock.advance(4 * minute);
    const early = await send({ kind: 'node.shutdown', node: 'n2' });
    expect((await world.command(early)).state_reason).toMatch(/^KR_WAKE_FAILING: node n3/);
    await world.clock.advance(8 * minute);
    const wakes = (await commands()).filter(({ kind }) => kind === 'node.wake');
    expect(wakes.map(({ executor }) => executor)).toEqual(['n1', 'n2', 'n1']);
    expect(wakes.every(({ state }) => state === 'INDETERMINATE')).toBe(true);
    const late = await send({ kind: 'node.shutdown', node: 'n2' });
    expect((await world.command(late)).state_reason).toMatch(/^KR_WAKE_FAILED: node n3/);
    expect((await audited()).filter((action) => action === 'wake.given-up')).toHaveLength(1);
    await checkInvariants(world);
  });

  it('brings back a node whose going nobody heard of, however often it takes', async () => {
    const { world, send, commands } = await running({ wakeAttempts: 3 });
    // Neither its goodbye nor its will comes through: for the server it is still connected.
    world.setFaults({ ...noFaults, loss: 1 });
    world.powerOff('n3');
    await world.clock.advance(minute);
    world.setFaults(noFaults);
    await world.clock.advance(minute);
    world.breakWakes();
    await send({ kind: 'node.wake', node: 'n3' });
    await world.clock.advance(20 * minute);
    const wakes = (await commands()).map(({ kind, state }) => `${kind} ${state}`);
    expect(wakes).toHaveLength(3);
    expect(new Set(wakes)).toEqual(new Set(['node.wake INDETERMINATE']));
  });

  it('waits under HOLD, and goes on afterwards', async () => {
    const { world, service, send, commands, sleep } = await running();
    await sleep();
    world.muteWaker('n1');
    await send({ kind: 'node.wake', node: 'n3' });
    await world.clock.advance(1_000);
    const hold = { cluster: 'home', reason: null, actor: 'account:anna' };
    await service.commands.setHold({ ...hold, hold: true });
    await world.clock.advance(8 * minute);
    expect((await commands()).filter(({ kind }) => kind === 'node.wake')).toHaveLength(1);
    await service.commands.setHold({ ...hold, hold: false });
    await world.clock.advance(5 * minute);
    expect(world.isOff('n3')).toBe(false);
  });
});

describe('what never started', () => {
  /** The grant is committed and its executor dies before it can hear it, for longer than 30 s. */
  async function loseGrant(kind: 'guest.restart' | 'node.shutdown', limits: object = {}) {
    const house = await running(limits);
    const { world, send } = house;
    world.setFaults({ loss: 0, duplicate: 0, delayMs: 3_000 });
    const target = kind === 'guest.restart' ? { guest: '100' } : {};
    const id = await send({ kind, ...target });
    while ((await world.command(id)).state !== 'GRANTED') await world.clock.advance(10);
    world.twin('n1').crash();
    world.setFaults(noFaults);
    await world.clock.advance(minute);
    expect((await world.command(id)).state).toBe('INDETERMINATE');
    expect(world.effects).toEqual([]);
    world.twin('n1').start();
    await world.clock.advance(2 * minute);
    expect((await world.command(id)).state).toBe('FAILED');
    return { ...house, id };
  }

  it('is sent again once, under a new id, and its effect happens once', async () => {
    const { world, commands, id, audited } = await loseGrant('guest.restart');
    const again = (await commands()).filter(({ parent_id }) => parent_id === id);
    expect(again.map(({ state, origin, actor, reason }) => [state, origin, actor, reason])).toEqual(
      [['SUCCEEDED', 'person', 'account:anna', `again: ${id} never started`]],
    );
    expect(world.effects.map(({ commandId }) => commandId)).toEqual([again[0]?.id]);
    expect((await audited()).filter((action) => action === 'command.again')).toHaveLength(1);
    await checkInvariants(world);
  });

  it('is left alone where it would switch a node off', async () => {
    const { world, commands } = await loseGrant('node.shutdown');
    expect(await commands()).toHaveLength(1);
    expect(world.effects).toEqual([]);
  });

  it('is left alone where the policy wants no retries', async () => {
    const { commands } = await loseGrant('guest.restart', { retries: 0 });
    expect(await commands()).toHaveLength(1);
  });
});

describe('commands at once', () => {
  it('are two by default; a third waits for its turn, and a wake never does', async () => {
    const { world, send, sleep } = await running({ commandsAtOnce: 2 });
    await sleep();
    const guests = [
      await send({ kind: 'guest.restart', guest: '100' }),
      await send({ kind: 'guest.restart', node: 'n2', guest: '101' }),
    ];
    await world.clock.advance(600);
    const states = async (ids: string[]) =>
      Promise.all(ids.map(async (id) => (await world.command(id)).state));
    expect(await states(guests)).toEqual(['RUNNING', 'RUNNING']);
    const third = await send({ kind: 'guest.start', node: 'n2', guest: '102' });
    const wake = await send({ kind: 'node.wake', node: 'n3' });
    await world.clock.advance(300);
    expect(await states([third, wake])).toEqual(['OFFERED', 'RUNNING']);
    await world.clock.advance(minute);
    expect(await states([...guests, third])).toEqual(['SUCCEEDED', 'SUCCEEDED', 'SUCCEEDED']);
    await checkInvariants(world);
  });

  it('refuse what the engine proposes beyond them', async () => {
    const { world, send } = await running({ commandsAtOnce: 1 });
    await send({ kind: 'guest.restart', guest: '100' });
    const engine = { origin: 'engine', actor: 'engine', kind: 'guest.restart' } as const;
    const barred = await send({ ...engine, node: 'n2', guest: '101' });
    expect((await world.command(barred)).state_reason).toMatch(/^KR_COMMANDS_AT_ONCE: 1 commands/);
  });
});
