import { describe, expect, it } from 'vitest';
import type { SyncContent } from '../../../broker/contract/server.ts';
import type { Waker } from '../../../daemon/waker/port.ts';
import { createRig, node, type Rig } from './rig.ts';

const minute = 60_000;
const macOf = (index: number): string => `02:00:00:00:00:0${index}`;
const tableOf = (version: number, nodes: readonly string[]): SyncContent['wakeTable'] => ({
  version,
  wakeAfterMs: 10 * minute,
  entries: nodes.map((id, index) => ({ node: id, macs: [macOf(index)], broadcasts: [] })),
});
const sleepers = ['s1', 's2', 's3'];
const table = tableOf(1, sleepers);

function houseOf(deps: Parameters<typeof createRig>[0] = {}, isUnanswered = false) {
  const woken: { node: string; atMs: number }[] = [];
  const broken = new Set<string>();
  const waker: Waker = {
    name: 'wol',
    isUnanswered,
    async wake(request) {
      if (broken.has(request.node)) throw new Error('no link');
      woken.push({ node: request.node, atMs: rig.clock.monotonicMs() });
      return { packets: 1, detail: 'sent' };
    },
  };
  const rig: Rig = createRig({ ...deps, deps: { wakers: [waker], ...deps.deps } });
  const names = (): string[] => woken.map(({ node: id }) => id);
  return { rig, woken, names, broken };
}

async function live({ clock, flush }: Rig, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 5_000) {
    await clock.advance(5_000);
    await flush();
  }
}

const lose = ({ executor }: Rig): void => executor().connected(node, false);

async function told(rig: Rig, more: Partial<SyncContent> = {}): Promise<void> {
  await rig.connect();
  await rig.sync({ wakeTable: table, ...more });
}

describe('when backend and broker are gone', () => {
  it('wakes the sleeping nodes after the time the table says, 10 s apart, once', async () => {
    const { rig, woken, names } = houseOf();
    await told(rig);
    expect((await rig.executor().introduce(node)).wakeTableVersion).toBe(1);
    const confirmed = () => rig.sent.filter(({ name }) => name === 'changed');
    expect(confirmed()).toEqual([{ name: 'changed', node }]);
    await rig.sync({ wakeTable: tableOf(1, sleepers) });
    expect(confirmed()).toHaveLength(1);
    await live(rig, 60 * minute);
    expect(woken).toEqual([]);
    lose(rig);
    await live(rig, 9 * minute);
    expect(woken).toEqual([]);
    await live(rig, 2 * minute);
    expect(names()).toEqual(sleepers);
    for (const [index, { atMs }] of woken.slice(1).entries()) {
      expect(atMs - (woken[index]?.atMs ?? 0)).toBeGreaterThanOrEqual(10_000);
    }
    await live(rig, 180 * minute);
    expect(names()).toEqual(sleepers);
    expect(rig.world.effects).toEqual([]);
  });

  it('sends what nobody answers in three bursts, until the server is back', async () => {
    const { rig, woken, names } = houseOf({}, true);
    await told(rig);
    lose(rig);
    await live(rig, 15 * minute);
    for (const sleeper of sleepers) {
      const at = woken.filter((one) => one.node === sleeper).map(({ atMs }) => atMs);
      expect(at.map((atMs) => atMs - (at[0] ?? 0))).toEqual([0, minute, 2 * minute]);
    }
    await told(rig);
    woken.length = 0;
    lose(rig);
    await live(rig, 10 * minute + 25_000);
    await told(rig);
    await live(rig, 15 * minute);
    expect(names()).toEqual(sleepers);
  });

  it('sends no second burst once somebody holds', async () => {
    const { rig, names } = houseOf({}, true);
    await told(rig);
    lose(rig);
    await live(rig, 10 * minute + 25_000);
    rig.hold(true);
    await live(rig, 15 * minute);
    expect(names()).toEqual(sleepers);
  });

  it('stays silent when the server is back in time, and begins anew with the next outage', async () => {
    const { rig, names } = houseOf();
    await told(rig);
    lose(rig);
    await live(rig, 9 * minute);
    await told(rig);
    await live(rig, 60 * minute);
    expect(names()).toEqual([]);
    lose(rig);
    await live(rig, 12 * minute);
    expect(names()).toEqual(sleepers);
    await told(rig);
    lose(rig);
    await live(rig, 12 * minute);
    expect(names()).toEqual([...sleepers, ...sleepers]);
  });

  it('goes on where a restart of the daemon interrupted it, and wakes nobody twice', async () => {
    const { rig, names } = houseOf();
    await told(rig);
    lose(rig);
    await live(rig, 10 * minute + 5_000);
    expect(names()).toEqual(['s1']);
    rig.crash();
    await rig.executor().introduce(node);
    await live(rig, 30 * minute);
    expect(names()).toEqual(sleepers);
    rig.crash();
    await rig.executor().introduce(node);
    await live(rig, 60 * minute);
    expect(names()).toEqual(sleepers);
  });

  it('wakes after a power cut and a cold start without a server, by the table on its disk', async () => {
    const { rig, names } = houseOf();
    await told(rig);
    lose(rig);
    await live(rig, 12 * minute);
    expect(names()).toEqual(sleepers);
    const bootId = '00000000-0000-4000-8000-000000000002';
    rig.world.description = { ...rig.world.description, bootId };
    rig.crash();
    const { wakeTableVersion } = await rig.executor().introduce(node);
    expect(wakeTableVersion).toBe(1);
    await live(rig, 9 * minute);
    expect(names()).toEqual(sleepers);
    await live(rig, 2 * minute);
    expect(names()).toEqual([...sleepers, ...sleepers]);
    expect(rig.world.effects).toEqual([]);
  });

  it('survives a power cut at every byte of what it writes, without ever waking early', async () => {
    for (let cut = 0; cut < 2_400; cut += 61) {
      const { rig, names } = houseOf();
      await rig.connect();
      rig.disk.loseAfter(cut);
      void rig.sync({ wakeTable: table });
      await rig.flush();
      const wasHeld = !rig.disk.isDead();
      rig.crash();
      await rig.executor().introduce(node);
      await live(rig, 5 * minute);
      expect(names()).toEqual([]);
      await live(rig, 7 * minute);
      expect(names()).toEqual(wasHeld ? sleepers : []);
    }
  });

  it('tries again what could not be sent', async () => {
    const { rig, names, broken } = houseOf();
    broken.add('s2');
    await told(rig);
    lose(rig);
    await live(rig, 12 * minute);
    expect(names()).toEqual(['s1', 's3']);
    broken.clear();
    await live(rig, 12 * minute);
    expect(names()).toEqual(['s1', 's3', 's2']);
  });

  it('leaves members of the running cluster alone', async () => {
    const { rig, names } = houseOf();
    rig.world.sample = async () => ({
      node: {} as never,
      guests: [],
      membersOnline: [node, 's2'],
      versions: { daemon: 'test', hypervisor: null, kernel: null },
    });
    await told(rig);
    lose(rig);
    await live(rig, 12 * minute);
    expect(names()).toEqual(['s1', 's3']);
  });

  it.each([
    ['the HOLD file stands', async (rig: Rig) => rig.hold(true), {}],
    ['the server held the cluster', async () => undefined, { hold: true }],
    [
      'the local policy allows no wake',
      async (rig: Rig) => rig.policy({ allow: ['guest.start'] }),
      {},
    ],
    [
      'the table says never',
      async () => undefined,
      { wakeTable: { ...tableOf(1, sleepers), wakeAfterMs: null } },
    ],
    ['the table is of a simulated cluster', async () => undefined, { simulated: true }],
    ['no table was ever given', async () => undefined, { wakeTable: null }],
  ])('wakes nobody while %s', async (_what, forbid, more) => {
    const { rig, names } = houseOf();
    await told(rig, more as Partial<SyncContent>);
    await forbid(rig);
    lose(rig);
    await live(rig, 60 * minute);
    expect(names()).toEqual([]);
  });

  it('wakes nobody as a daemon that only observes', async () => {
    const { rig, names } = houseOf({ deps: { observeOnly: true } });
    await told(rig);
    lose(rig);
    await live(rig, 60 * minute);
    expect(names()).toEqual([]);
  });

  it('believes no table that no known key has signed, not even on its own disk', async () => {
    const { rig, names } = houseOf();
    await told(rig);
    const kept = rig.disk.content('wake-table')?.toString() ?? '';
    const forged = kept.replace(/s1/g, 's9');
    expect(forged).not.toBe(kept);
    rig.crash();
    rig.disk.write('wake-table', Buffer.from(forged));
    expect((await rig.executor().introduce(node)).wakeTableVersion).toBeNull();
    await live(rig, 60 * minute);
    expect(names()).toEqual([]);
  });

  it('takes a newer table in the place of the older', async () => {
    const { rig, names } = houseOf();
    await told(rig);
    await rig.sync({ wakeTable: tableOf(2, ['s3']) });
    lose(rig);
    await live(rig, 12 * minute);
    expect(names()).toEqual(['s3']);
  });
});
