import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { simulatedLimits } from '../../../backend/act/guard-limits.ts';
import type { Submission } from '../../../backend/act/planned.ts';
import { checkInvariants, openOf } from './invariants.ts';
import { guestSample } from '../../support/messages.ts';
import { createWorld, noFaults, type Service, type World } from './twin.ts';
import { restart, wishOf } from './wishes.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-act-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const shutdown = wishOf({ kind: 'node.shutdown', node: 'n3' });
const wake = wishOf({ kind: 'node.wake', node: 'n3' });

async function running(options = {}): Promise<{ world: World; service: Service }> {
  const world = await createWorld({ folder, ...options });
  const service = world.createService();
  await service.commands.start();
  await world.boot();
  return { world, service };
}

async function accepted(service: Service, submission: Submission): Promise<string> {
  const answer = await service.commands.submit(submission);
  if (!answer.ok) throw new Error(`${answer.refusal.code}: ${answer.refusal.detail}`);
  return answer.id;
}

describe('a command that meets no trouble', () => {
  it('goes from wish to proof through every state once, and frees its target', async () => {
    const { world, service } = await running();
    const id = await accepted(service, restart);
    await world.clock.advance(30_000);
    expect(await world.history(id)).toEqual([
      'PLANNED',
      'QUEUED',
      'OFFERED',
      'GRANTED',
      'RUNNING',
      'VERIFYING',
      'SUCCEEDED',
    ]);
    expect((await world.target('guest', '100'))?.active_command).toBeNull();
    await checkInvariants(world);
  });

  it('tells listeners every state with its time', async () => {
    const { world, service } = await running();
    const states: string[] = [];
    service.commands.onEvent(({ state }) => states.push(state));
    await accepted(service, restart);
    await world.clock.advance(30_000);
    expect(states.at(0)).toBe('PLANNED');
    expect(states.at(-1)).toBe('SUCCEEDED');
  });

  it('is executed one after another on one target, in the order of submission', async () => {
    const { world, service } = await running();
    const ids = [];
    for (let count = 0; count < 3; count += 1) ids.push(await accepted(service, restart));
    await world.clock.advance(120_000);
    expect(world.effects.map(({ commandId }) => commandId)).toEqual(ids);
    await checkInvariants(world);
  });
});

describe('power', () => {
  it('counts a shutdown as done by two kinds of witness, a wake by the new boot', async () => {
    const { world, service } = await running();
    const off = await accepted(service, shutdown);
    await world.clock.advance(60_000);
    const row = await world.command(off);
    expect(row.state).toBe('SUCCEEDED');
    const kinds = (JSON.parse(row.witnesses) as { kind: string }[]).map(({ kind }) => kind);
    expect(new Set(kinds)).toEqual(new Set(['gone', 'probe']));
    const on = await accepted(service, wake);
    expect((await world.command(on)).executor).toBe('n1');
    await world.clock.advance(20_000);
    expect((await world.command(on)).state).toBe('VERIFYING');
    await world.clock.advance(60_000);
    expect((await world.command(on)).state).toBe('SUCCEEDED');
    await checkInvariants(world);
  });

  it('believes no neighbour that may not have noticed yet that the node has joined', async () => {
    const { world, service } = await running();
    const off = await accepted(service, shutdown);
    await world.clock.advance(1_000);
    expect((await world.command(off)).granted_at_ms).not.toBeNull();
    const missing = { node: 'n3', votes: 1, online: false };
    const quorum = { quorate: true, expectedVotes: 3, totalVotes: 2, quorumVotes: 2 };
    const facts = NodeFacts.parse({ quorum: { ...quorum, members: [missing], qdevice: null } });
    const look = () => {
      const sampleAtMs = world.clock.monotonicMs();
      const seen = { facts, membersOnline: ['n1', 'n2'], sampleAtMs };
      Object.assign(world.fleet.nodes.get('home/n1') ?? {}, seen);
    };
    look();
    await world.clock.advance(8_000);
    const early = await world.command(off);
    expect(early.state).toBe('VERIFYING');
    expect(early.witnesses).not.toContain('membership');
    expect(world.sent.filter(({ name }) => name === 'probe')).toEqual([]);
    await world.clock.advance(3_000);
    look();
    await world.clock.advance(2_000);
    expect((await world.command(off)).state).toBe('SUCCEEDED');
    await checkInvariants(world);
  });

  it('calls silence INDETERMINATE, alarms after five minutes, and bars only power-offs', async () => {
    const { world, service } = await running({
      layout: { clusters: { home: ['n1', 'n3'] }, guests: { 'home/100': 'n1' } },
    });
    // The only other node is gone too: nobody can see what became of n3.
    const off = await accepted(service, shutdown);
    await world.clock.advance(500);
    world.powerOff('n1');
    await world.clock.advance(16 * 60_000);
    expect((await world.command(off)).state).toBe('INDETERMINATE');
    expect((await world.command(off)).alarmed_at_ms).toBeNull();
    await world.clock.advance(6 * 60_000);
    expect((await world.command(off)).alarmed_at_ms).not.toBeNull();
    world.twin('n1').start();
    await world.clock.advance(1_000);
    const barred = await accepted(service, wishOf({ kind: 'node.shutdown', node: 'n1' }));
    expect((await world.command(barred)).state_reason).toContain('KR_POWER_OFF_IN_FLIGHT');
    const on = await accepted(service, wake);
    await world.clock.advance(90_000);
    expect((await world.command(on)).state).toBe('SUCCEEDED');
    expect((await world.command(off)).state).toBe('SUCCEEDED');
    expect((await world.target('node', 'n3'))?.active_command).toBeNull();
    await checkInvariants(world);
  });

  it('is no shutdown that has done it when a host that had not begun boots by itself', async () => {
    const { world, service } = await running();
    world.setFaults({ loss: 0, duplicate: 0, delayMs: 3_000 });
    const off = await accepted(service, shutdown);
    while ((await world.command(off)).state !== 'GRANTED') await world.clock.advance(10);
    expect(world.effects).toEqual([]);
    world.twin('n3').crash();
    world.twin('n3').reboot();
    // Its tombstone is lost at first, its hello with the new boot is not.
    world.setFaults({ ...noFaults, loss: 1 });
    world.twin('n3').start();
    world.setFaults(noFaults);
    world.twin('n3').hello();
    await world.clock.advance(1_000);
    expect((await world.command(off)).state).toBe('GRANTED');
    await world.clock.advance(20_000);
    expect((await world.command(off)).state).toBe('REJECTED');
    expect(world.effects).toEqual([]);
    await checkInvariants(world);
  });

  it('is no shutdown that has done it when a host is gone before it began', async () => {
    const { world, service } = await running();
    world.setFaults({ loss: 0, duplicate: 0, delayMs: 3_000 });
    const off = await accepted(service, shutdown);
    while ((await world.command(off)).state !== 'GRANTED') await world.clock.advance(10);
    // Its mains fail: gone for the broker, gone for every witness, and no order of ours did it.
    world.powerOff('n3');
    world.setFaults(noFaults);
    await world.clock.advance(10 * 60_000);
    expect((await world.command(off)).state).toBe('INDETERMINATE');
    expect(world.effects).toEqual([]);
    await checkInvariants(world);
  });

  it('gives the target back to an uncertain power-off when a wake stays without proof', async () => {
    const { world, service } = await running({
      layout: { clusters: { home: ['n1', 'n3'] }, guests: {} },
    });
    // Its only way is tried once.
    const limits = JSON.stringify({ ...simulatedLimits, wakeAttempts: 1 });
    await world.database.db.updateTable('clusters').set({ limits }).execute();
    world.breakWakes();
    world.blindWitnesses();
    const off = await accepted(service, shutdown);
    await world.clock.advance(16 * 60_000);
    expect((await world.command(off)).state).toBe('INDETERMINATE');
    const on = await accepted(service, wake);
    await world.clock.advance(2_000);
    expect((await world.target('node', 'n3'))?.active_command).toBe(on);
    await world.clock.advance(12 * 60_000);
    expect((await world.command(on)).state).toBe('INDETERMINATE');
    expect((await world.target('node', 'n3'))?.active_command).toBe(off);
    await checkInvariants(world);
  });

  it('refuses a wake that nobody can send, and says so', async () => {
    const { world, service } = await running();
    for (const node of ['n1', 'n2', 'n3']) world.powerOff(node);
    await world.clock.advance(1_000);
    const id = await accepted(service, wake);
    const row = await world.command(id);
    expect(row.state).toBe('REJECTED');
    expect(row.state_reason).toMatch(/^KR_NO_WAKER: .*; bring/);
  });

  it('never switches off a protected node, nor one with guests, nor one it has no view of', async () => {
    const { world, service } = await running();
    await world.database.db
      .updateTable('nodes')
      .set({ protected: 1 })
      .where('id', '=', 'n2')
      .execute();
    const record = world.fleet.nodes.get('home/n1');
    if (record) record.guests = [guestSample('100')];
    const third = world.fleet.nodes.get('home/n3');
    if (third) third.guests = null;
    const reasons = [];
    for (const node of ['n2', 'n1', 'n3']) {
      const id = await accepted(service, { ...shutdown, node });
      reasons.push((await world.command(id)).state_reason?.split(':')[0]);
    }
    expect(reasons).toEqual(['KR_PROTECTED', 'KR_GUESTS_RUNNING', 'KR_GUESTS_UNKNOWN']);
    expect(world.effects).toEqual([]);
  });
});

describe('a submission', () => {
  it.each<[string, Partial<Submission>, { code: string; field: string; status: number }]>([
    [
      'an unknown cluster',
      { cluster: 'moon' },
      { code: 'KR_UNKNOWN_CLUSTER', field: 'cluster', status: 404 },
    ],
    [
      'a malformed cluster',
      { cluster: 'MOON' },
      { code: 'KR_INVALID', field: 'cluster', status: 400 },
    ],
    ['an unknown node', { node: 'n9' }, { code: 'KR_UNKNOWN_NODE', field: 'node', status: 404 }],
    [
      'an unknown guest',
      { guest: '999' },
      { code: 'KR_UNKNOWN_GUEST', field: 'guest', status: 404 },
    ],
    ['no guest', { guest: '' }, { code: 'KR_INVALID', field: 'guest', status: 400 }],
    ['the wrong node', { node: 'n2' }, { code: 'KR_GUEST_ELSEWHERE', field: 'node', status: 409 }],
    [
      'an unknown argument',
      { args: { hurry: true } },
      { code: 'KR_INVALID', field: 'args.hurry', status: 400 },
    ],
    [
      'an unknown target node',
      { kind: 'guest.migrate', args: { targetNode: 'n9' } },
      { code: 'KR_UNKNOWN_NODE', field: 'args.targetNode', status: 404 },
    ],
    [
      'a guest on a node kind',
      { kind: 'node.shutdown' },
      { code: 'KR_INVALID', field: 'guest', status: 400 },
    ],
  ])(
    'with %s is refused by field and way out, and leaves no trace',
    async (_, change, expected) => {
      const { world, service } = await running();
      const answer = await service.commands.submit({ ...restart, ...change });
      const wayOut = expect.stringMatching(/./);
      expect(answer).toMatchObject({ ok: false, refusal: { ...expected, wayOut } });
      for (const table of ['commands', 'targets', 'outbox', 'audit'] as const) {
        expect(await world.database.db.selectFrom(table).selectAll().execute()).toEqual([]);
      }
    },
  );

  it('is answered the same under the same key, and refused under it with another body', async () => {
    const { world, service } = await running();
    const first = await service.commands.submit({ ...restart, idempotencyKey: 'k1' });
    const again = await service.commands.submit({ ...restart, idempotencyKey: 'k1' });
    expect(again).toEqual({ ...first, replayed: true });
    const other = { ...restart, kind: 'guest.stop', idempotencyKey: 'k1' } as const;
    expect(await service.commands.submit(other)).toMatchObject({
      ok: false,
      refusal: { status: 409, code: 'KR_IDEMPOTENCY' },
    });
    expect(await world.database.db.selectFrom('commands').select('id').execute()).toHaveLength(1);
    const foreign = await service.commands.submit({
      ...restart,
      idempotencyKey: 'k1',
      actor: 'account:bert',
    });
    expect(foreign).toMatchObject({ ok: true, replayed: false });
  });

  it('of one key sent twice at once makes one command', async () => {
    const { world, service } = await running();
    const both = await Promise.all(
      [1, 2].map(() => service.commands.submit({ ...restart, idempotencyKey: 'same' })),
    );
    expect(new Set(both.map((one) => (one.ok ? one.id : ''))).size).toBe(1);
    expect(await world.database.db.selectFrom('commands').select('id').execute()).toHaveLength(1);
  });

  it('to the node the guest is on already is rejected with the rule it broke', async () => {
    const { world, service } = await running();
    const id = await accepted(
      service,
      wishOf({ kind: 'guest.migrate', guest: '100', args: { targetNode: 'n1' } }),
    );
    expect((await world.command(id)).state_reason).toMatch(/^KR_SELF_MIGRATION/);
  });

  it('from the engine waits for approval unless autonomy is auto', async () => {
    const { world, service } = await running();
    const autonomy = JSON.stringify({ default: 'recommend', 'guest.restart': 'approve' });
    await world.database.db.updateTable('clusters').set({ autonomy }).execute();
    const engine = { ...restart, origin: 'engine', actor: 'engine' } as const;
    const id = await accepted(service, engine);
    await world.clock.advance(60_000);
    expect((await world.command(id)).state).toBe('PLANNED');
    expect(await service.commands.approve(id, 'account:anna')).toEqual({
      ok: true,
      state: 'QUEUED',
    });
    await world.clock.advance(60_000);
    expect(await world.command(id)).toMatchObject({
      state: 'SUCCEEDED',
      approved_by: 'account:anna',
    });
    expect(await service.commands.submit({ ...engine, kind: 'guest.stop' })).toMatchObject({
      ok: false,
      refusal: { code: 'KR_AUTONOMY' },
    });
  });

  it('that nobody approves expires, and one that nobody claims does too', async () => {
    const { world, service } = await running();
    const planned = await accepted(service, { ...restart, approved: false });
    world.twin('n2').crash();
    const offline = await accepted(
      service,
      wishOf({ kind: 'guest.stop', node: 'n2', guest: '101' }),
    );
    expect((await world.command(offline)).state_reason).toMatch(/^KR_EXECUTOR_OFFLINE/);
    const unheard = await accepted(service, restart);
    world.twin('n1').crash();
    await world.clock.advance(6 * 60_000);
    expect((await world.command(unheard)).state).toBe('EXPIRED');
    expect((await world.command(planned)).state).toBe('PLANNED');
    await world.clock.advance(5 * 60_000);
    expect((await world.command(planned)).state).toBe('EXPIRED');
    expect(await openOf(world)).toEqual([]);
    await checkInvariants(world);
  });
});

describe('people', () => {
  it('cancel what has not been granted, and are refused after', async () => {
    const { world, service } = await running();
    const early = await accepted(service, restart);
    expect(await service.commands.cancel(early, 'account:anna')).toEqual({
      ok: true,
      state: 'CANCELLED',
    });
    const late = await accepted(service, restart);
    await world.clock.advance(600);
    expect(await service.commands.cancel(late, 'account:anna')).toMatchObject({
      ok: false,
      refusal: { status: 409, code: 'KR_COMMAND_STATE' },
    });
    await world.clock.advance(60_000);
    expect(world.effects.map(({ commandId }) => commandId)).toEqual([late]);
    expect(await service.commands.cancel(world.newId(), 'x')).toMatchObject({
      ok: false,
      refusal: { status: 404, code: 'KR_UNKNOWN_COMMAND' },
    });
    await checkInvariants(world);
  });

  it('call a running migration back, and nothing else that runs', async () => {
    const { world, service } = await running();
    const restarted = await accepted(service, restart);
    await world.clock.advance(600);
    expect((await world.command(restarted)).state).toBe('RUNNING');
    expect(await service.commands.cancel(restarted, 'account:anna')).toMatchObject({
      ok: false,
      refusal: { code: 'KR_COMMAND_STATE', wayOut: expect.stringContaining('a migration') },
    });
    await world.clock.advance(60_000);
    const args = { targetNode: 'n2', online: true, withLocalDisks: false };
    const moved = await accepted(
      service,
      wishOf({ kind: 'guest.migrate', node: 'n1', guest: '100', args }),
    );
    for (let waited = 0; (await world.command(moved)).state !== 'RUNNING'; waited += 1) {
      expect(waited).toBeLessThan(50);
      await world.clock.advance(200);
    }
    expect(await service.commands.cancel(moved, 'account:anna')).toEqual({
      ok: true,
      state: 'CANCELLING',
    });
    await world.clock.advance(100_000);
    expect(await world.command(moved)).toMatchObject({ state: 'FAILED' });
    expect(await world.history(moved)).toContain('CANCELLING');
    await checkInvariants(world);
  });

  it('hold everything: no row, waiting ones cancelled, running ones go on, wakes held too', async () => {
    const { world, service } = await running();
    const going = await accepted(service, restart);
    await world.clock.advance(600);
    const waiting = await accepted(service, restart);
    const order = { cluster: null, hold: true, reason: 'storm', actor: 'account:anna' };
    expect(await service.commands.setHold(order)).toEqual({ ok: true });
    expect(service.commands.isHeld()).toBe(true);
    expect((await world.command(waiting)).state).toBe('CANCELLED');
    for (const submission of [restart, wake]) {
      expect(await service.commands.submit(submission)).toMatchObject({
        ok: false,
        refusal: { status: 409, code: 'KR_HOLD' },
      });
    }
    await world.clock.advance(60_000);
    expect((await world.command(going)).state).toBe('SUCCEEDED');
    await service.commands.setHold({ ...order, hold: false });
    expect(await service.commands.submit(restart)).toMatchObject({ ok: true });
    const said = world.retained.map(
      (text) =>
        JSON.parse((JSON.parse(text) as { signed: string }).signed) as {
          version: number;
          hold: { all: boolean };
        },
    );
    const versions = said.map(({ version }) => version);
    expect(versions).toEqual(versions.toSorted((a, b) => a - b));
    expect(said.map(({ hold }) => hold.all)).toContain(true);
    await checkInvariants(world);
  });

  it('hold one cluster and leave the others alone', async () => {
    const { world, service } = await running({
      layout: {
        clusters: { home: ['n1'], work: ['n1'] },
        guests: { 'home/100': 'n1', 'work/100': 'n1' },
      },
    });
    await service.commands.setHold({
      cluster: 'home',
      hold: true,
      reason: null,
      actor: 'account:anna',
    });
    expect(await service.commands.submit(restart)).toMatchObject({ ok: false });
    const id = await accepted(service, { ...restart, cluster: 'work' });
    await world.clock.advance(60_000);
    expect((await world.command(id)).state).toBe('SUCCEEDED');
  });

  it('say how an uncertain command ended, once', async () => {
    const { world, service } = await running();
    const id = await accepted(service, restart);
    await world.clock.advance(600);
    world.twin('n1').crash();
    await world.clock.advance(60_000);
    expect((await world.command(id)).state).toBe('INDETERMINATE');
    const barred = await accepted(service, { ...restart, kind: 'guest.stop' });
    expect((await world.command(barred)).state).toBe('REJECTED');
    const statement = {
      outcome: 'succeeded',
      note: 'it runs, I looked',
      actor: 'account:root',
    } as const;
    expect(await service.commands.resolve(id, { ...statement, note: ' ' })).toMatchObject({
      ok: false,
      refusal: { field: 'note' },
    });
    expect(await service.commands.resolve(id, statement)).toEqual({ ok: true, state: 'SUCCEEDED' });
    expect(await service.commands.resolve(id, statement)).toMatchObject({ ok: false });
    expect((await world.target('guest', '100'))?.active_command).toBeNull();
    await checkInvariants(world);
  });
});

describe('a node with a new journal', () => {
  it('does nothing destructive after losing open commands, until a person confirms', async () => {
    const { world, service } = await running();
    const lost = await accepted(service, restart);
    await world.clock.advance(600);
    world.twin('n1').crash();
    world.twin('n1').loseJournal();
    world.twin('n1').start();
    await world.clock.advance(60_000);
    expect((await world.command(lost)).state).toBe('INDETERMINATE');
    await service.commands.resolve(lost, {
      outcome: 'failed',
      note: 'seen',
      actor: 'account:root',
    });
    const barred = await accepted(service, restart);
    expect((await world.command(barred)).state_reason).toMatch(/^KR_NEW_JOURNAL/);
    expect(await accepted(service, { ...restart, kind: 'guest.start' })).toBeTruthy();
    await service.commands.confirmJournal({ cluster: 'home', node: 'n1' }, 'account:root');
    await world.clock.advance(60_000);
    const id = await accepted(service, restart);
    await world.clock.advance(60_000);
    expect((await world.command(id)).state).toBe('SUCCEEDED');
  });
});
