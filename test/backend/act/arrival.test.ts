import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GuestRecord } from '../../../backend/state/fleet.ts';
import { createWorld } from './twin.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-arrival-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** The executor has reported success; what the picture then shows of the guest is `seen`. */
async function migrated(seen: Partial<GuestRecord>, { isStoppedFirst = false } = {}) {
  const world = await createWorld({ folder });
  world.setArrival(seen);
  const service = world.createService();
  await service.commands.start();
  await world.boot();
  const at = { cluster: 'home', node: 'n1', guest: '100' } as const;
  const by = { origin: 'person', actor: 'account:anna', approved: true } as const;
  if (isStoppedFirst) {
    // The picture goes on to say that it runs.
    await service.commands.submit({ ...at, ...by, kind: 'guest.stop', args: {} });
    await world.clock.advance(30_000);
  }
  const args = { targetNode: 'n2' };
  const answer = await service.commands.submit({ ...at, ...by, kind: 'guest.migrate', args });
  if (!answer.ok) throw new Error(answer.refusal.detail);
  const guest = world.fleet.guests.get('home/100');
  const show = (change: Partial<GuestRecord>) => Object.assign(guest ?? {}, change);
  await world.clock.advance(30_000);
  const state = async () => (await world.command(answer.id)).state;
  return { world, state, show };
}

describe('a migration', () => {
  it('has succeeded once its new node shows the guest', async () => {
    const { state } = await migrated({});
    expect(await state()).toBe('SUCCEEDED');
  });

  it.each<[string, Partial<GuestRecord>]>([
    ['the old node still shows it', { node: 'n1' }],
    ['no sample is younger than the move', { sampleAtMs: 0 }],
    ['its state is not known', { state: 'unknown' }],
    ['its HA resource is in error', { haState: 'error' }],
    ['it ran before and is down there', { state: 'stopped' }],
  ])('stays to be verified while %s, and becomes INDETERMINATE', async (_what, seen) => {
    const { world, state } = await migrated(seen);
    expect(await state()).toBe('VERIFYING');
    await world.clock.advance(20 * 60_000);
    expect(await state()).toBe('INDETERMINATE');
    expect(world.effects).toHaveLength(1);
  });

  it('has succeeded although it is down there when a stop had ended before', async () => {
    const { state } = await migrated({ state: 'stopped' }, { isStoppedFirst: true });
    expect(await state()).toBe('SUCCEEDED');
  });

  it('succeeds by itself when the guest is seen later, without a second move', async () => {
    const { world, state, show } = await migrated({ node: 'n1' });
    expect(await state()).toBe('VERIFYING');
    show({ node: 'n2', sampleAtMs: world.clock.monotonicMs() });
    await world.clock.advance(60_000);
    expect(await state()).toBe('SUCCEEDED');
    expect(world.effects).toHaveLength(1);
  });
});
