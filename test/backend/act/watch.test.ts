import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { simulatedLimits } from '../../../backend/act/guard-limits.ts';
import type { Submission } from '../../../backend/act/planned.ts';
import { createWorld } from './twin.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-watch-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const day = 86_400_000;

/** A cluster of this age whose wish is auto, with the shadow days of a real one. */
async function running(ageMs: number) {
  const world = await createWorld({ folder });
  await world.database.db
    .updateTable('clusters')
    .set({
      limits: JSON.stringify({ ...simulatedLimits, shadowMs: 7 * day }),
      autonomy: '{"default":"auto"}',
      created_at_ms: world.clock.wallMs() - ageMs,
    })
    .execute();
  const service = world.createService();
  await service.commands.start();
  await world.boot();
  const proposal = (wish: Partial<Submission>): Submission => ({
    cluster: 'home',
    kind: 'guest.restart',
    node: 'n1',
    guest: '100',
    args: {},
    origin: 'engine',
    actor: 'engine',
    approved: true,
    ...wish,
  });
  const propose = async (wish: Partial<Submission> = {}) => {
    const answer = await service.commands.submit(proposal(wish));
    if (!answer.ok) throw new Error(answer.refusal.detail);
    return world.command(answer.id);
  };
  const rehearse = (wish: Partial<Submission>) => service.commands.rehearse(proposal(wish));
  const watches = () => world.database.db.selectFrom('shadow_runs').selectAll().execute();
  return { world, service, propose, rehearse, watches };
}

const home = { kind: 'guest.migrate', args: { targetNode: 'n1' } } as const;

describe('an engine that is watched', () => {
  it('waits for approval until seven days have passed, and then acts', async () => {
    const young = await running(7 * day - 60_000);
    expect((await young.propose()).state).toBe('PLANNED');
    await young.world.clock.advance(60_000);
    expect((await young.propose({ node: 'n2', guest: '101' })).state).toBe('QUEUED');
  });

  it('is watched anew, in that kind, when guards had to stop it', async () => {
    const { propose, watches, world } = await running(8 * day);
    const denied = await propose(home);
    expect(denied.state_reason).toMatch(/^KR_SELF_MIGRATION/);
    expect(await watches()).toMatchObject([
      { cluster: 'home', kind: 'guest.migrate', reason: expect.stringMatching(/^KR_SELF_MIG/) },
    ]);
    const next = await propose({ kind: 'guest.migrate', args: { targetNode: 'n2' } });
    expect(next.state).toBe('PLANNED');
    expect((await propose({ node: 'n2', guest: '101' })).state).toBe('QUEUED');
    const audit = await world.database.db.selectFrom('audit').select('action').execute();
    expect(audit.map(({ action }) => action)).toContain('autonomy.watched-anew');
  });

  it('is watched anew when what it did failed or stayed uncertain', async () => {
    const { propose, watches, world } = await running(8 * day);
    const id = (await propose()).id;
    while ((await world.command(id)).state !== 'RUNNING') await world.clock.advance(100);
    world.twin('n1').crash();
    await world.clock.advance(60_000);
    expect((await world.command(id)).state).toBe('INDETERMINATE');
    expect((await watches()).map(({ kind }) => kind)).toEqual(['guest.restart']);
    expect((await propose({ node: 'n2', guest: '101' })).state).toBe('PLANNED');
  });

  it.each([
    ['V6', 'KR_NO_CONSENT', 'engine', ['guest.restart']],
    ['V2', 'KR_LOCKED', 'engine', []],
    ['V4', 'KR_GUEST_FACTS', 'engine', []],
    ['exec', 'KR_DISK_FULL', 'engine', []],
    ['V6', 'KR_NO_CONSENT', 'person', []],
  ] as const)(
    'refused by %s of the node with %s, asked by the %s, is watched anew in %j',
    async (rule, code, origin, kinds) => {
      const { propose, watches, world } = await running(8 * day);
      const node = world.twin('n1');
      const { journalId } = node;
      const { id: commandId } = await propose({ origin });
      const guard = { id: 'consent', rule, facts: [] };
      const refusal = { step: 'refused', code, reason: 'r', wayOut: 'w', guard } as const;
      node.say('report', { ...refusal, commandId, n: 1, journalId, incarnation: 1 });
      while ((await world.command(commandId)).state === 'QUEUED') await world.clock.advance(10);
      expect((await world.command(commandId)).state).toBe('REJECTED');
      expect((await watches()).map(({ kind }) => kind)).toEqual(kinds);
    },
  );

  it('is judged also in what it only recommends, and nothing of that leaves a command', async () => {
    const { world, rehearse, watches } = await running(8 * day);
    expect(await rehearse({})).toMatchObject({ ok: true, denial: null });
    expect(await rehearse(home)).toMatchObject({ denial: { code: 'KR_SELF_MIGRATION' } });
    expect((await watches()).map(({ kind }) => kind)).toEqual(['guest.migrate']);
    expect(await world.database.db.selectFrom('commands').selectAll().execute()).toEqual([]);
  });

  it('is not blamed for what it could not see, nor a person for anything', async () => {
    const { propose, rehearse, watches, service } = await running(8 * day);
    await propose({ ...home, origin: 'person', actor: 'account:anna' });
    await service.commands.setHold({ cluster: 'home', hold: true, reason: null, actor: 'anna' });
    expect(await rehearse({})).toMatchObject({ denial: { code: 'KR_HOLD' } });
    expect(await watches()).toEqual([]);
  });
});

it('tells when power-offs become automatic, and ends the watch for an administrator who answers', async () => {
  const { world, service, watches } = await running(2 * day);
  const at = { cluster: 'home', node: 'n1' };
  const standing = await service.commands.wakeStanding(at);
  const cluster = await world.database.db
    .selectFrom('clusters')
    .select('created_at_ms')
    .executeTakeFirstOrThrow();
  const automaticAtMs = cluster.created_at_ms + 7 * day;
  expect(standing).toMatchObject({
    standing: { watch: { wished: 'auto', level: 'approve', automaticAtMs, reason: null } },
  });
  const ended = await service.commands.trustEngine(at, 'account:anna');
  expect(ended).toMatchObject({
    standing: {
      watch: { level: 'auto', reason: 'ended before its time by account:anna' },
    },
  });
  const kinds = (await watches()).map(({ kind }) => kind);
  expect(kinds.toSorted()).toEqual(['guest.migrate', 'node.shutdown', 'node.wake']);
  const entries = await world.database.db.selectFrom('audit').select(['action', 'actor']).execute();
  expect(entries).toContainEqual({ action: 'autonomy.watch-ended', actor: 'account:anna' });
});
