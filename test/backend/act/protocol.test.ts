import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GrantContent } from '../../../broker/contract/command.ts';
import type { Signed, SyncContent } from '../../../broker/contract/server.ts';
import { StoreUnavailable } from '../../../backend/store/sql/database.ts';
import { ensureCluster, ensureNodes } from '../../../backend/store/sql/clusters.ts';
import { helloBody, message } from '../../support/messages.ts';
import { createWorld, noFaults, type Service, type World } from './twin.ts';
import { restart } from './wishes.ts';

let folder: string;
let world: World;
let service: Service;
let id: string;

const deaf = { loss: 1, duplicate: 0, delayMs: 0 };
/** A command is offered to n1, which does not hear it: this test speaks for n1. */
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-act-'));
  world = await createWorld({ folder });
  service = world.createService();
  await service.commands.start();
  await world.boot();
  world.setFaults(deaf);
  const answer = await service.commands.submit(restart);
  if (!answer.ok) throw new Error(answer.refusal.detail);
  id = answer.id;
  await world.clock.advance(300);
  world.sent.length = 0;
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** The embedded store answers within the turn; what follows from a message is done by then. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
const nonceOf = (digit: string) => digit.repeat(32);

async function claim(
  nonce: string,
  change: { journalId?: string; node?: string; maxEpoch?: number; incarnation?: number } = {},
) {
  const { node = 'n1', journalId = world.twin('n1').journalId } = change;
  const { maxEpoch = 0, incarnation = 1 } = change;
  const body = { commandId: id, nonce, journalId, incarnation, bootId: null, maxEpoch };
  service.commands.onMessage(message('claim', body, { node }));
  await settle();
}

let count = 0;
async function report(body: object, change: { journalId?: string; node?: string } = {}) {
  const { node = 'n1', journalId = world.twin('n1').journalId } = change;
  count += 1;
  const common = { commandId: id, n: count, journalId, incarnation: 1 };
  service.commands.onMessage(message('report', { ...common, ...body } as never, { node }));
  await settle();
}

const sent = (name: string) =>
  world.sent.filter((one) => one.name === name).map(({ body }) => body);
const state = async () => (await world.command(id)).state;
const grants = () =>
  sent('grant').map((body) => JSON.parse((body as Signed).signed) as GrantContent);
const started = { step: 'started', handle: null };
const finished = (postcondition: boolean | null) => ({
  step: 'finished',
  exitCode: 0,
  postcondition,
  detail: 'seen',
  output: '',
});

describe('a claim', () => {
  it('is granted once, for what the row says, under the current epoch', async () => {
    await claim(nonceOf('a'));
    expect(await state()).toBe('GRANTED');
    expect(grants()).toMatchObject([
      {
        type: 'grant',
        node: 'n1',
        commandId: id,
        kind: 'guest.restart',
        target: { kind: 'guest', id: '100' },
        nonce: nonceOf('a'),
        epoch: service.commands.lease.epochOf('home'),
        simulated: true,
        timeScale: 1,
      },
    ]);
    expect((await world.target('guest', '100'))?.active_command).toBe(id);
  });

  it('repeated by the same journal is answered for its newest nonce, without more time', async () => {
    await claim(nonceOf('a'));
    const { deadline_at_ms } = await world.command(id);
    await world.clock.advance(5_000);
    await claim(nonceOf('a'));
    await claim(nonceOf('b'));
    expect(grants().map(({ nonce }) => nonce)).toEqual(['a', 'a', 'b'].map(nonceOf));
    expect(await world.history(id)).toEqual(['PLANNED', 'QUEUED', 'OFFERED', 'GRANTED', 'GRANTED']);
    expect((await world.command(id)).deadline_at_ms).toBe(deadline_at_ms);
  });

  it('by another journal is refused and changes nothing', async () => {
    await claim(nonceOf('a'));
    const before = await world.command(id);
    await claim(nonceOf('b'), { journalId: world.newId() });
    expect(await world.command(id)).toEqual(before);
    expect(grants()).toHaveLength(1);
    expect(sent('verdict')).toMatchObject([{ state: 'REJECTED' }]);
  });

  it('by another node, or of an unknown command, is refused', async () => {
    await claim(nonceOf('a'), { node: 'n2' });
    expect(sent('verdict')).toMatchObject([{ commandId: id, state: 'REJECTED' }]);
    expect(await state()).toBe('OFFERED');
  });

  it('of a second command on a busy target is met with silence until the first has ended', async () => {
    const first = id;
    await claim(nonceOf('a'));
    const answer = await service.commands.submit(restart);
    id = answer.ok ? answer.id : '';
    await claim(nonceOf('b'));
    expect(await state()).toBe('QUEUED');
    expect(grants().map(({ commandId }) => commandId)).toEqual([first]);
    const second = id;
    id = first;
    await report(finished(true));
    id = second;
    await claim(nonceOf('c'));
    expect(await state()).toBe('GRANTED');
  });

  it('after the expiry is too late, even before the sweep has noticed', async () => {
    await world.database.db.updateTable('commands').set({ expires_at_ms: 1 }).execute();
    await claim(nonceOf('a'));
    expect(await state()).toBe('EXPIRED');
    expect(grants()).toEqual([]);
    expect(sent('verdict')).toMatchObject([{ state: 'EXPIRED' }]);
  });

  it('under a HOLD that another backend has just set ends the command', async () => {
    await world.database.db.updateTable('clusters').set({ hold: 1 }).execute();
    await claim(nonceOf('a'));
    expect(await state()).toBe('CANCELLED');
    expect(grants()).toEqual([]);
  });

  it('of an executor that left meanwhile is met with silence, not with a final refusal', async () => {
    const presence = { online: false, reason: 'will', load: null } as const;
    const session = world.twin('n1').session ?? '';
    service.commands.onMessage(message('presence', presence, { session }));
    await claim(nonceOf('a'));
    expect(await state()).toBe('OFFERED');
    expect(grants()).toEqual([]);
  });

  it('by a journal no hello has named is met with silence', async () => {
    await claim(nonceOf('a'), { journalId: world.newId() });
    expect(world.sent).toEqual([]);
    expect(service.commands.counters.silentClaims).toBe(1);
  });

  it('of a start no hello has told of is met with silence, since its boot is unknown', async () => {
    await claim(nonceOf('a'), { incarnation: 2 });
    expect(await state()).toBe('OFFERED');
    expect(service.commands.counters.silentClaims).toBe(1);
    await claim(nonceOf('a'));
    expect(await state()).toBe('GRANTED');
  });

  it('of an executor that has seen a higher epoch is refused', async () => {
    await claim(nonceOf('a'), { maxEpoch: 99 });
    expect(await world.command(id)).toMatchObject({ state: 'REJECTED' });
    expect((await world.command(id)).state_reason).toMatch(/^KR_EPOCH_BEHIND/);
  });

  it('is not answered again once HOLD is set', async () => {
    await claim(nonceOf('a'));
    const order = { cluster: 'home', hold: true, reason: null, actor: 'account:root' };
    await service.commands.setHold(order);
    await claim(nonceOf('b'));
    expect(grants()).toHaveLength(1);
  });

  it('finds its guards asked again: a guest that moved meanwhile is left alone', async () => {
    const guest = world.fleet.guests.get('home/100');
    if (guest) guest.node = 'n2';
    await claim(nonceOf('a'));
    expect((await world.command(id)).state_reason).toMatch(/^KR_GUEST_ELSEWHERE/);
    expect(grants()).toEqual([]);
  });
});

describe('a report', () => {
  it('of the end is enough, although the start was never heard', async () => {
    await claim(nonceOf('a'));
    await report(finished(true));
    expect(await state()).toBe('SUCCEEDED');
    expect((await world.history(id)).slice(-3)).toEqual(['RUNNING', 'VERIFYING', 'SUCCEEDED']);
  });

  it('of a post-condition seen not to hold fails the command and frees the target', async () => {
    await claim(nonceOf('a'));
    await report(started);
    await report(finished(false));
    expect(await state()).toBe('FAILED');
    expect((await world.target('guest', '100'))?.active_command).toBeNull();
  });

  it.each([
    ['after the command was over', true],
    ['with its end', false],
  ])('of what is left to a person calls one once, %s', async (_, isLate) => {
    const events: object[] = [];
    service.commands.onEvent((event) => void events.push(event));
    const owed = { ...finished(true), left: ['parked guest 101 could not be started again: no'] };
    await claim(nonceOf('a'));
    if (isLate) await report(finished(true));
    await report(owed);
    await report(owed);
    await report({ ...owed, left: ['forged'] }, { node: 'n2' });
    const row = await world.command(id);
    expect(row.state).toBe('SUCCEEDED');
    expect(row.alarmed_at_ms).not.toBeNull();
    expect(JSON.parse(row.result ?? '')).toMatchObject({ detail: 'seen', left: owed.left });
    const { db } = world.database;
    const audited = await db.selectFrom('audit').selectAll().execute();
    const told = audited.filter(({ action }) => action === 'command.left-undone');
    expect(told).toHaveLength(1);
    expect(told[0]?.detail).toContain('guest 101');
    expect(events).toContainEqual(expect.objectContaining({ id, reason: owed.left[0] }));
  });

  it('without anything left calls nobody', async () => {
    await claim(nonceOf('a'));
    await report(finished(true));
    expect(await world.command(id)).toMatchObject({ state: 'SUCCEEDED', alarmed_at_ms: null });
  });

  it('of an end nobody has looked at is no proof, nor the word of a node that nobody asked', async () => {
    await claim(nonceOf('a'));
    await report(finished(null));
    expect(await state()).toBe('VERIFYING');
    const probed = { step: 'probed', role: 'witness', started: null, detail: '' };
    await report({ ...probed, postcondition: false }, { node: 'n2' });
    expect(await state()).toBe('VERIFYING');
    await report({ ...probed, postcondition: true }, { node: 'n2' });
    expect(await state()).toBe('VERIFYING');
    expect(service.commands.counters.unaskedAnswers).toBe(1);
  });

  it('of a refusal with its tombstone ends a grant without effect', async () => {
    await claim(nonceOf('a'));
    await report({ step: 'refused', code: 'KR_LOCAL_HOLD', reason: 'held', wayOut: 'rm HOLD' });
    expect(await world.command(id)).toMatchObject({
      state: 'REJECTED',
      state_reason: 'KR_LOCAL_HOLD: held; rm HOLD',
    });
  });

  it('of a refusal by a guard of the node keeps its rule and facts beside our own', async () => {
    await claim(nonceOf('a'));
    const says = { code: 'KR_LOCKED', reason: 'guest 100 is locked: backup', wayOut: 'wait' };
    const inputs = [{ name: 'lockedGuests', value: 1 }];
    const guard = { id: 'busy', rule: 'V2', facts: inputs };
    await report({ step: 'refused', ...says, guard });
    const row = await world.command(id);
    expect(row?.state).toBe('REJECTED');
    expect(JSON.parse(row?.guards ?? '[]')).toMatchObject([
      { phase: 'PLANNED' },
      { phase: 'GRANT' },
      {
        phase: 'NODE',
        verdicts: [{ id: 'busy', facts: inputs, denial: { rule: 'V2', ...says } }],
      },
    ]);
  });

  it('from another journal or node proves neither start nor its absence', async () => {
    await claim(nonceOf('a'));
    const refused = { step: 'refused', code: 'KR_NEVER_SEEN', reason: 'no', wayOut: '' };
    await report(refused, { journalId: world.newId() });
    await report(started, { node: 'n2' });
    expect(await state()).toBe('GRANTED');
    expect(sent('verdict')).toHaveLength(2);
  });

  it('that contradicts itself is kept out: what started was not refused', async () => {
    await claim(nonceOf('a'));
    await report(started);
    await report({ step: 'refused', code: 'KR_NEVER_SEEN', reason: 'no', wayOut: '' });
    expect(await state()).toBe('RUNNING');
    expect(service.commands.counters.contradictions).toBe(1);
  });

  it('of a heartbeat keeps the command running, and an old repeated one does not', async () => {
    await claim(nonceOf('a'));
    await report(started);
    const heartbeat = { step: 'heartbeat', handle: 'UPID', progressRatio: null };
    await world.clock.advance(20_000);
    await report(heartbeat);
    const old = count;
    await world.clock.advance(20_000);
    expect(await world.command(id)).toMatchObject({ state: 'RUNNING', handle: 'UPID' });
    count = old - 1;
    await report(heartbeat);
    await world.clock.advance(12_000);
    expect(await state()).toBe('INDETERMINATE');
  });

  it('after the end is answered with the end, and changes nothing', async () => {
    await claim(nonceOf('a'));
    await report(finished(true));
    const before = await world.command(id);
    for (const body of [started, finished(false)]) await report(body);
    expect(await world.command(id)).toEqual(before);
    expect(sent('verdict').at(-1)).toMatchObject({ n: count, state: 'SUCCEEDED' });
  });

  it('of an unknown command is answered, or it would never end', async () => {
    id = world.newId();
    await report(started);
    expect(sent('verdict')).toMatchObject([{ commandId: id, n: count, state: 'REJECTED' }]);
  });

  it('without a grant is logged and obeyed by nobody', async () => {
    await report(started);
    expect(await state()).toBe('OFFERED');
    expect(service.log.lines.some(({ level }) => level === 'error')).toBe(true);
  });
});

describe('an uncertain command', () => {
  beforeEach(async () => {
    await claim(nonceOf('a'));
    await world.clock.advance(32_000);
  });

  it('is asked about again and again, ever more seldom', async () => {
    await world.clock.advance(10 * 60_000);
    const probes = sent('probe').length;
    expect(probes).toBeGreaterThan(8);
    expect(probes).toBeLessThan(60);
    expect(await state()).toBe('INDETERMINATE');
  });

  it('has failed when its journal proves that it never started', async () => {
    await report({ step: 'refused', code: 'KR_NEVER_SEEN', reason: 'no start', wayOut: '' });
    expect(await state()).toBe('FAILED');
  });

  it('that was late to start stays uncertain until its end is seen', async () => {
    await report(started);
    expect(await state()).toBe('INDETERMINATE');
    await report(finished(true));
    expect(await state()).toBe('SUCCEEDED');
  });
});

describe('a hello', () => {
  it('is answered by a signed sync of its own session with every open command', async () => {
    world.twin('n1').hello();
    world.setFaults(noFaults);
    world.twin('n1').hello();
    await world.clock.advance(20);
    await settle();
    const [sync] = sent('sync').map((body) => JSON.parse((body as Signed).signed) as SyncContent);
    expect(sync).toMatchObject({
      type: 'sync',
      node: 'n1',
      session: world.twin('n1').session,
      hold: false,
      simulated: true,
      commands: [{ commandId: id, kind: 'guest.restart' }],
    });
  });
});

describe('a hello of a cluster made a moment ago', () => {
  it('takes its free lease, so that commands know the driver at once', async () => {
    const { database, clock } = world;
    await database.transaction(async (trx) => {
      const nowMs = clock.wallMs();
      await ensureCluster(trx, { id: 'young', simulated: true, nowMs });
      await ensureNodes(trx, { cluster: 'young', nodes: ['n9'], nowMs });
    });
    service.commands.onMessage(message('hello', helloBody(), { cluster: 'young', node: 'n9' }));
    await clock.advance(20);
    await settle();
    const row = await database.db
      .selectFrom('nodes')
      .select('driver')
      .where('cluster', '=', 'young')
      .executeTakeFirstOrThrow();
    expect(JSON.parse(row.driver ?? 'null')).toMatchObject({ name: 'memory' });
  });
});

describe('a store that is away', () => {
  it('is said to people as 503, and the loops go on when it is back', async () => {
    const { database } = world;
    const transaction = database.transaction.bind(database);
    const away = () => Promise.reject(new StoreUnavailable('gone'));
    Object.assign(database, { transaction: away });
    expect(await service.commands.submit(restart)).toMatchObject({
      ok: false,
      refusal: { status: 503, code: 'KR_STORE_UNAVAILABLE' },
    });
    await world.clock.advance(60_000);
    Object.assign(database, { transaction });
    world.setFaults(noFaults);
    await world.clock.advance(60_000);
    expect(await state()).toBe('SUCCEEDED');
  });
});

describe('stop', () => {
  it('ends every loop and frees the lease for a successor at once', async () => {
    await service.commands.stop();
    service.kill();
    const successor = world.createService('backend-b');
    await successor.commands.start();
    expect(successor.commands.lease.epochOf('home')).toBe(2);
    await successor.commands.stop();
    const leases = await world.database.db.selectFrom('leases').selectAll().execute();
    expect(leases.every(({ expires_at_ms }) => expires_at_ms === 0)).toBe(true);
  });
});
