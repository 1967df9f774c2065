import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import type { Submission } from '../../../backend/act/planned.ts';
import { Policy } from '../../../backend/decide/policy.ts';
import { createWorld } from './twin.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-windows-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const minute = 60_000;

/** A policy that opens `minutesAhead` from now for ten minutes. */
async function running(minutesAhead: number, kinds: string[]) {
  const world = await createWorld({ folder });
  const opens = new Date(world.clock.wallMs() + 6_000 + minutesAhead * minute);
  const window = {
    cron: `${opens.getUTCMinutes()} ${opens.getUTCHours()} * * *`,
    durationMs: 10 * minute,
    zone: 'UTC',
    allow: kinds,
  };
  const policyYaml = stringify(Policy.parse({ windows: [window] }));
  await world.database.db
    .updateTable('clusters')
    .set({ policy_id: world.newId(), autonomy: '{"default":"auto"}' })
    .execute();
  const cluster = {
    id: 'home',
    simulated: true,
    timeScale: 1,
    hold: false,
    autonomy: { default: 'auto' as const },
    policyHash: 'h',
    policyYaml,
  };
  world.fleet.clusters.set('home', cluster);
  const service = world.createService();
  await service.commands.start();
  await world.boot();
  const ask = (change: Partial<Submission> = {}) =>
    service.commands.submit({
      cluster: 'home',
      kind: 'guest.restart',
      node: 'n1',
      guest: '100',
      args: {},
      origin: 'engine',
      actor: 'engine',
      approved: true,
      ...change,
    });
  const commands = () => world.database.db.selectFrom('commands').selectAll().execute();
  return { world, service, ask, commands, cluster };
}

const person = { origin: 'person', actor: 'account:anna' } as const;

describe('change windows', () => {
  it('keep the engine waiting without a row, and let it act when they open', async () => {
    const { world, ask, commands } = await running(30, ['guest.restart']);
    expect(await ask()).toMatchObject({
      ok: false,
      refusal: { code: 'KR_WINDOW', wayOut: expect.stringMatching(/^wait until .* UTC/) },
    });
    expect(await commands()).toEqual([]);
    expect(await ask(person)).toMatchObject({ ok: true, state: 'QUEUED' });
    await world.clock.advance(31 * minute);
    expect(await ask({ node: 'n2', guest: '101' })).toMatchObject({ ok: true, state: 'QUEUED' });
    await world.clock.advance(11 * minute);
    expect(await ask()).toMatchObject({ ok: false, refusal: { code: 'KR_WINDOW' } });
  });

  it('bind everybody in switching a node off, and nobody in waking it', async () => {
    const { world, service, commands } = await running(30, ['node.shutdown']);
    const off = { ...person, node: 'n3' };
    const send = (kind: 'node.shutdown' | 'node.wake') =>
      service.commands.submit({ ...off, kind, cluster: 'home', args: {}, approved: true });
    const { id } = (await send('node.shutdown')) as { id: string };
    expect((await world.command(id)).state_reason).toMatch(/^KR_WINDOW: node\.shutdown is outside/);
    const wake = await send('node.wake');
    const [last] = (await commands()).filter(({ kind }) => kind === 'node.wake');
    expect(wake).toMatchObject({ ok: true });
    expect(last?.state_reason).toMatch(/^KR_ALREADY_AWAKE/);
  });

  it('judge again at the grant: what was planned in time is not begun too late', async () => {
    const { world, service, ask } = await running(0, ['guest.restart']);
    await world.clock.advance(minute);
    await world.database.db
      .updateTable('clusters')
      .set({ autonomy: '{"default":"approve"}' })
      .execute();
    const planned = (await ask()) as { id: string; state: string };
    expect(planned.state).toBe('PLANNED');
    // The policy is asked at every judgement, so a new version counts at once, too.
    await world.clock.advance(8 * minute);
    world.twin('n1').crash();
    await service.commands.approve(planned.id, 'account:anna');
    await world.clock.advance(2 * minute);
    world.twin('n1').start();
    await world.clock.advance(2 * minute);
    expect((await world.command(planned.id)).state_reason).toMatch(/^KR_WINDOW/);
    expect(world.effects).toEqual([]);
  });

  it('that nobody can read bar the engine and every power-off', async () => {
    const { world, ask, cluster } = await running(0, ['guest.restart']);
    world.fleet.clusters.set('home', { ...cluster, policyYaml: 'windows: [{cron: 7}]' });
    expect(await ask()).toMatchObject({ refusal: { code: 'KR_WINDOW_UNKNOWN' } });
    world.fleet.clusters.delete('home');
    expect(await ask()).toMatchObject({ refusal: { code: 'KR_WINDOW_UNKNOWN' } });
    expect(await ask(person)).toMatchObject({ ok: true, state: 'QUEUED' });
  });
});
