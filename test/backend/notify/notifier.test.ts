/**
 * The notifier on a real store and a real receiver, on one virtual clock: what is told, how often,
 * when, and what happens when nobody answers.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChannelTarget, parted } from '../../../backend/notify/channels.ts';
import { retryDelaysMs } from '../../../backend/notify/deliver.ts';
import { createNotifier } from '../../../backend/notify/notifier.ts';
import { NotifySettings } from '../../../backend/notify/settings.ts';
import { createSecrets } from '../../../backend/store/sql/secrets.ts';
import { addCluster, addNode, type Harness, startHarness } from '../http/harness.ts';
import { commandRow } from '../../support/command-row.ts';
import { type Receiver, startReceiver } from '../../support/receiver.ts';
import { until } from '../../support/servers.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
let h: Harness;
let receiver: Receiver;
let stopping: (() => Promise<void>)[];

beforeEach(async () => {
  h = await startHarness();
  receiver = await startReceiver();
  stopping = [];
  await addCluster(h.database, h.fleet, 'home');
  await h.database.db.updateTable('clusters').set({ simulated: 0 }).execute();
  const home = h.fleet.clusters.get('home');
  if (home) home.simulated = false;
});
afterEach(async () => {
  for (const stop of stopping) await stop();
  await receiver.stop();
  await h.stop();
});

const masterKey = new Uint8Array(32).fill(7);

function notifier(more: Partial<Parameters<typeof createNotifier>[0]> = {}) {
  const { database, fleet, clock, random, newId, log } = h;
  const made = createNotifier({
    database,
    fleet: () => fleet,
    metrics: { range: async () => [] },
    secrets: createSecrets(masterKey, random),
    certificateEndsAtMs: () => null,
    backupProblem: () => null,
    publicUrl: null,
    pricePerKwh: null,
    isWell: async () => true,
    clock,
    random,
    newId,
    log,
    ...more,
  });
  made.start();
  stopping.push(() => made.stop());
  return made;
}
type Made = ReturnType<typeof notifier>;

async function addChannel(
  made: Made,
  name: string,
  more: { url?: string; fallback?: string } = {},
) {
  const id = h.newId();
  const { url = receiver.url, fallback = null } = more;
  const target = ChannelTarget.parse({ kind: 'ntfy', url, topic: name, token: 'tk_1' });
  const { shown, secret } = parted(target);
  const row = { id, name, kind: 'ntfy', target: JSON.stringify(shown), is_enabled: 1 } as const;
  await made.store.putChannel(
    { ...row, fallback_id: fallback, created_at_ms: 0, ver: 1 },
    made.seal(made.store.nameOfSecret(id), secret ?? ''),
    { actor: 'test', nowMs: 0 },
  );
  return id;
}

const set = (made: Made, settings: object) =>
  made.store.putSettings(JSON.stringify(NotifySettings.parse(settings)), {
    actor: 'test',
    nowMs: 0,
  });

/** Rounds are virtual; what they send over a real socket is not, and is waited for. */
async function pass(ms: number): Promise<void> {
  await h.clock.advance(ms);
}
const titles = (): string[] =>
  receiver.received.map((_one, at) => String(receiver.json(at)['title']));

const lose = () => addNode(h.fleet, { cluster: 'home', node: 'pve1' }, { sampleAtMs: 0 });
const comeBack = (): void => {
  const [record] = h.fleet.nodes.values();
  if (record) record.sampleAtMs = h.clock.monotonicMs();
};
const states = async (): Promise<string[]> => {
  const rows = await h.database.db.selectFrom('notice_deliveries').select('state').execute();
  return rows.map(({ state }) => state);
};

describe('a lost node', () => {
  it('is told once, also by a server that was restarted, and once more when it is back', async () => {
    const first = notifier();
    await addChannel(first, 'phone');
    lose();
    await pass(4 * minuteMs);
    expect(titles()).toEqual(['pve1 of home is lost']);
    expect(receiver.received[0]?.headers['authorization']).toBe('Bearer tk_1');
    await first.stop();
    notifier();
    await pass(10 * minuteMs);
    expect(titles()).toHaveLength(1);
    comeBack();
    await pass(20_000);
    expect(titles()).toEqual(['pve1 of home is lost', 'Over: pve1 of home is lost']);
    expect(await states()).toEqual(['delivered', 'delivered']);
  });

  it('is told to nobody where its rule is switched off', async () => {
    const made = notifier();
    await addChannel(made, 'phone');
    await set(made, { rules: { 'node-lost': false } });
    lose();
    await pass(10 * minuteMs);
    expect(receiver.received).toEqual([]);
  });
});

describe('quiet hours', () => {
  // The virtual clock begins at 2027-01-15 08:00 UTC.
  const quiet = { from: '08:00', to: '09:00', zone: 'UTC' };

  it('let a critical notice through and hold back its recovery until they are over', async () => {
    const made = notifier();
    await addChannel(made, 'phone');
    await set(made, { quiet });
    lose();
    await pass(5 * minuteMs);
    expect(titles()).toHaveLength(1);
    comeBack();
    await pass(20_000);
    await pass(2 * minuteMs);
    comeBack();
    expect(titles()).toHaveLength(1);
    for (let minute = 8; minute < 61; minute += 1) {
      comeBack();
      await pass(minuteMs);
    }
    expect(titles()).toEqual(['pve1 of home is lost', 'Over: pve1 of home is lost']);
  });

  it('forget what began and ended in them', async () => {
    const made = notifier();
    await addChannel(made, 'phone');
    await set(made, { quiet: { ...quiet, isStrict: true } });
    lose();
    await pass(5 * minuteMs);
    for (let minute = 5; minute < 70; minute += 1) {
      comeBack();
      await pass(minuteMs);
    }
    expect(receiver.received).toEqual([]);
    expect(await states()).toEqual(['dropped']);
  });
});

describe('a channel that does not answer', () => {
  it('is tried ten times over three days, then listed as dead, and told when it is revived', async () => {
    expect(retryDelaysMs).toHaveLength(9);
    expect(retryDelaysMs.reduce((sum, ms) => sum + ms, 0)).toBeGreaterThan(3 * 24 * hourMs);
    const made = notifier();
    await addChannel(made, 'phone');
    receiver.answer(500);
    lose();
    await pass(4 * minuteMs);
    expect(await states()).toEqual(['waiting']);
    await pass(6 * minuteMs);
    expect(receiver.received).toHaveLength(3);
    // The seven attempts of the days that follow.
    await h.database.db
      .updateTable('notice_deliveries')
      .set((eb) => ({ attempts: 9, due_at_ms: 0, ver: eb('ver', '+', 1) }))
      .execute();
    await pass(20_000);
    expect(await states()).toEqual(['dead']);
    const [dead] = await made.store.dead(10);
    expect(dead).toMatchObject({ attempts: 10, title: 'pve1 of home is lost' });
    expect(dead?.problem).toContain('answered 500');
    receiver.answer(200);
    expect(await made.store.revive(dead?.id ?? '', h.clock.wallMs())).toBe(true);
    await pass(20_000);
    expect(await states()).toEqual(['delivered']);
  });

  it('leaves it to its fallback after three failures', async () => {
    const other = await startReceiver();
    stopping.push(() => other.stop());
    const made = notifier();
    const fallback = await addChannel(made, 'mail', { url: other.url });
    await addChannel(made, 'phone', { fallback });
    receiver.answer(503);
    lose();
    await pass(4 * minuteMs);
    expect(other.received).toHaveLength(1);
    await pass(6 * minuteMs);
    expect(receiver.received.length).toBeGreaterThanOrEqual(3);
    await until(() => other.received.length === 2, { what: 'the fallback' });
  });
});

describe('a proposal of the engine', () => {
  it('is asked about with two buttons, each of which works once', async () => {
    const made = notifier({ publicUrl: 'https://kr.example/' });
    await addChannel(made, 'phone');
    const id = h.newId();
    const row = commandRow({
      id,
      cluster: 'home',
      kind: 'guest.migrate',
      target_id: '104',
      executor: 'pve1',
      generation: 1,
      planned_at_ms: h.clock.wallMs(),
      expires_at_ms: h.clock.wallMs() + hourMs,
    });
    await h.database.db
      .insertInto('commands')
      .values({ ...row, state: 'PLANNED', origin: 'engine' })
      .execute();
    await h.database.db
      .insertInto('command_history')
      .values({
        command_id: id,
        ver: 1,
        state: 'PLANNED',
        at_ms: 1,
        actor: 'engine',
        reason: null,
        epoch: 1,
        data: null,
      })
      .execute();
    await pass(20_000);
    expect(titles()).toEqual(['May I? guest.migrate 104 of home']);
    const actions = receiver.json(0)['actions'] as { label: string; url: string }[];
    expect(actions.map(({ label }) => label)).toEqual(['Approve', 'Reject']);
    const path = actions[1]?.url.replace('https://kr.example', '') ?? '';
    const url = path.replace(/^\/+/, '/');
    const pressed = await h.app.inject({ method: 'POST', url });
    expect(pressed.json()).toEqual({ id, state: 'CANCELLED' });
    expect((await h.app.inject({ method: 'POST', url })).statusCode).toBe(404);
    await h.database.db.updateTable('commands').set({ state: 'CANCELLED' }).execute();
    await pass(20_000);
    // Its end is no news.
    expect(titles()).toHaveLength(1);
  });
});

describe('the dead-man ping', () => {
  it('comes at its pace while all is well, and not while it is not', async () => {
    let isWell = true;
    const made = notifier({ isWell: async () => isWell });
    await set(made, { deadMan: { url: `${receiver.url}/ping`, everyMs: 300_000 } });
    await pass(11 * minuteMs);
    expect(receiver.received.map(({ method, path }) => `${method} ${path}`)).toEqual([
      'GET /ping',
      'GET /ping',
      'GET /ping',
    ]);
    isWell = false;
    await pass(11 * minuteMs);
    expect(receiver.received).toHaveLength(3);
  });
});
