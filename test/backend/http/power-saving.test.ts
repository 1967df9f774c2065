import { afterEach, beforeEach, expect, it } from 'vitest';
import type { PowerSaving } from '../../../backend/http/routes/power-saving.ts';
import { controlRows } from '../../../backend/store/sql/control-rows.ts';
import { commandRow } from '../../support/command-row.ts';
import { guestSample } from '../../support/messages.ts';
import { addCluster, addNode, bearer, type Harness, signInAll, startHarness } from './harness.ts';

const at = { cluster: 'home', node: 'n1' };
const hourMs = 3_600_000;
let h: Harness;
let viewer: string | null;
beforeEach(async () => {
  h = await startHarness();
  ({ viewer } = await signInAll(h));
  await addCluster(h.database, h.fleet, 'home');
});
afterEach(() => h.stop());

const answer = async (): Promise<PowerSaving> => {
  const url = '/api/v1/clusters/home/nodes/n1/power-saving';
  const got = await h.app.inject({ method: 'GET', url, headers: bearer(viewer) });
  expect(got.statusCode).toBe(200);
  return got.json();
};

let count = 0;
/** A power command that has succeeded so long ago. */
async function did(kind: 'node.shutdown' | 'node.wake', agoMs: number): Promise<void> {
  count += 1;
  const atMs = h.clock.wallMs() - agoMs;
  await h.database.db
    .insertInto('commands')
    .values({
      ...commandRow({
        id: `01890000-0000-7000-a000-${String(count).padStart(12, '0')}`,
        cluster: 'home',
        kind,
        target_id: 'n1',
        executor: 'n1',
        generation: count,
        planned_at_ms: atMs,
        expires_at_ms: atMs,
      }),
      state: 'SUCCEEDED',
      finished_at_ms: atMs,
    })
    .execute();
}

it('says of each guest whether it moves, is parked, or stays and why', async () => {
  addNode(h.fleet, at, {
    guests: [
      guestSample('web'),
      { ...guestSample('dns'), tags: ['kr_park'] },
      { ...guestSample('nas'), tags: ['kr_pin_n1'] },
      { ...guestSample('db'), lock: 'backup' },
      { ...guestSample('mail'), haState: 'started' },
      { ...guestSample('old'), state: 'stopped' },
    ],
  });
  const { residents, policy, saved } = await answer();
  expect(residents?.map(({ id, way, why }) => [id, way, why])).toEqual([
    ['web', 'moves', null],
    ['dns', 'parks', null],
    ['nas', 'stays', 'is tagged to stay'],
    ['db', 'stays', 'is locked (backup)'],
    ['mail', 'moves', 'HA moves it'],
  ]);
  expect(policy).toEqual({ name: 'balance', saves: false, moves: 'recommend' });
  expect(saved).toBeNull();
});

it('tells of each proof what it took, and of the draw only what was measured', async () => {
  addNode(h.fleet, at);
  const row = { ...at, waker: 'wol', binding_hash: 'a'.repeat(64), binding: '{}' };
  await h.database.transaction(async (trx) => {
    for (const [place, succeeded] of [0, 1].entries()) {
      await controlRows(trx).insertWakeProof({
        ...row,
        id: `01890000-0000-7000-b000-00000000000${place}`,
        off_at_ms: 1_000 + place,
        woken_at_ms: null,
        boot_ms: succeeded === 1 ? 68_000 : null,
        succeeded: succeeded as 0 | 1,
        command_id: null,
        created_at_ms: 2_000 + place,
      });
    }
  });
  const { cycles } = await answer();
  expect(cycles).toMatchObject([
    { succeeded: true, bootMs: 68_000, watts: null },
    { succeeded: false, bootMs: null, watts: null },
  ]);
});

it('says until when the moves of a day keep the engine from emptying it', async () => {
  addNode(h.fleet, at);
  expect((await answer()).rest).toBeNull();
  const found = { guests: [], wakes: [], inTheWay: [], isProven: true };
  h.emptyings.set('n1', { ...found, rest: { movesPerDay: 2, forMs: 5 * hourMs } });
  const until = new Date(h.clock.wallMs() + 5 * hourMs).toISOString();
  expect((await answer()).rest).toEqual({ movesPerDay: 2, until });
  h.emptyings.set('n1', { ...found, rest: { movesPerDay: 1, forMs: Infinity } });
  expect((await answer()).rest).toEqual({ movesPerDay: 1, until: null });
});

it('counts what its sleep has saved, up to the moment a hand switched it on', async () => {
  h.deps.metrics.range = async (query) => [
    { metric: 'powerWatts', node: 'n1', points: [[query.fromMs, 40]] },
  ];
  addNode(h.fleet, at, { online: false });
  await did('node.shutdown', 10 * hourMs);
  await did('node.wake', 6 * hourMs);
  await did('node.shutdown', 3 * hourMs);
  const { saved } = await answer();
  expect(saved).toMatchObject({ sleeps: 2, sleptMs: 7 * hourMs, isAsleep: true, watts: 40 });
  expect(saved?.kwh).toBeCloseTo(0.28, 6);
  expect(saved?.money).toBeNull();
  const woken = addNode(h.fleet, at, { sampleAtMs: h.clock.monotonicMs() });
  if (woken.values) woken.values.uptimeMs = hourMs;
  expect((await answer()).saved).toMatchObject({ sleptMs: 6 * hourMs, isAsleep: false });
});
