import { describe, expect, it } from 'vitest';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { GuestSample } from '../../../broker/contract/telemetry.ts';
import { emptyState, fold, magic, scan, snapshot } from '../../../daemon/command/journal-format.ts';
import { encodeFrame, type Entry } from '../../../daemon/command/journal-format.ts';
import { nodeValues } from '../../support/messages.ts';
import { createRig, kinds, node, type Rig } from './rig.ts';

type Guest = {
  state: 'running' | 'stopped';
  tags: string[];
  lock: string | null;
  ha: string | null;
};
const parked = (more: Partial<Guest> = {}): Guest => ({
  state: 'running',
  tags: ['kr_park'],
  lock: null,
  ha: null,
  ...more,
});

const boot = (count: number): string =>
  `00000000-0000-4000-8000-${String(count).padStart(12, '0')}`;

/** A host with guests: it is on or off, and what its tools do is counted. */
function houseOf(rig: Rig, guests: Record<string, Guest>) {
  const house = {
    guests,
    isOn: true,
    boots: 1,
    log: [] as string[],
    refuses: new Set<string>(),
    /** Those whose task this process of the driver has seen: of others it denies nothing. */
    ended: new Set<string>(),
  };
  const { world } = rig;
  const facts = NodeFacts.parse({ ...world.description.facts, runningGuests: null });
  const describeNow = () => {
    world.description = { ...world.description, facts, bootId: boot(house.boots) };
  };
  describeNow();
  world.description.driver.capabilities = [...kinds];
  world.sample = async () => ({
    node: nodeValues({ uptimeMs: 3_600_000 }),
    guests: Object.entries(house.guests).map(
      ([id, { state, tags, lock, ha }]) =>
        GuestSample.parse({ id, kind: 'vm', name: id, state, tags, lock, haState: ha }) as never,
    ),
    membersOnline: null,
    versions: { daemon: 'test', hypervisor: null, kernel: null },
  });
  world.perform = async ({ action, target }) => {
    const done = { exitCode: 0, detail: 'done', output: '' };
    if (action.kind === 'node.shutdown') {
      house.isOn = false;
      house.log.push('off');
      rig.crash();
      return new Promise(() => undefined);
    }
    const guest = house.guests[target.id];
    const wanted = action.kind === 'guest.start' ? 'running' : 'stopped';
    house.ended.add(target.id);
    if (!guest || house.refuses.has(`${action.kind} ${target.id}`) || guest.state === wanted) {
      house.log.push(`refused ${action.kind} ${target.id}`);
      return { ...done, exitCode: 1, detail: 'no' };
    }
    guest.state = wanted;
    house.log.push(`${action.kind} ${target.id}`);
    return done;
  };
  world.observe = async ({ action, target }) => {
    if (target.kind === 'node') return { postcondition: !house.isOn, detail: 'looked' };
    const wanted = action.kind === 'guest.start' ? 'running' : 'stopped';
    const isSo = house.guests[target.id]?.state === wanted;
    return { postcondition: isSo || (house.ended.has(target.id) ? false : null), detail: 'looked' };
  };
  return {
    ...house,
    house,
    count: (what: string) => house.log.filter((line) => line === what).length,
    /** The power comes back: another boot, and a new start of the daemon. */
    async boot(bytesLeft = Number.POSITIVE_INFINITY) {
      house.isOn = true;
      house.boots += 1;
      house.ended.clear();
      describeNow();
      rig.crash();
      rig.disk.loseAfter(bytesLeft);
      await rig.connect();
    },
  };
}

const off = { kind: 'node.shutdown', target: { kind: 'node', id: node }, args: {} } as const;

/** Long enough for all attempts, in steps that let the disk and the driver answer. */
async function pass(rig: Rig, ms = 400_000): Promise<void> {
  for (let passed = 0; passed < ms; passed += 2_000) {
    const state = { hasPassed: false };
    void rig.clock.advance(2_000).then(() => (state.hasPassed = true));
    // What waits for a dead disk waits for ever.
    while (!state.hasPassed && !rig.disk.isDead()) await rig.flush();
    if (rig.disk.isDead()) return;
    await rig.flush();
  }
}

const endOf = (rig: Rig, id: string) => rig.reports(id).findLast(({ step }) => step === 'finished');

describe('parking', () => {
  it('shuts guests down before the node, and starts each exactly once after the wake', async () => {
    const rig = createRig();
    const world = houseOf(rig, { 100: parked(), 101: parked() });
    await rig.connect();
    const { commandId } = await rig.run(off);
    await pass(rig, 10_000);
    expect(world.house.log).toEqual(['guest.stop 100', 'guest.stop 101', 'off']);
    await world.boot();
    await pass(rig);
    expect(world.count('guest.start 100')).toBe(1);
    expect(world.count('guest.start 101')).toBe(1);
    expect(endOf(rig, commandId)).toMatchObject({ postcondition: true });
    const again = world.house.log.length;
    await world.boot();
    await pass(rig);
    expect(world.house.log).toHaveLength(again);
  });

  it.each([
    ['one that may not be parked', { 100: parked(), 101: parked({ tags: [] }) }],
    ['a locked one', { 100: parked({ lock: 'backup' }) }],
    ['one that HA manages', { 100: parked({ ha: 'started' }) }],
  ])('is refused, and touches nothing, with %s', async (_what, guests) => {
    const rig = createRig();
    const world = houseOf(rig, guests);
    await rig.connect();
    const { commandId } = await rig.run(off);
    expect(rig.steps(commandId)).toContain('refused');
    expect(world.house.log).toEqual([]);
  });

  it('is nothing that a reboot does', async () => {
    const rig = createRig();
    const world = houseOf(rig, { 100: parked() });
    rig.world.description.driver.capabilities = [...kinds, 'node.reboot'];
    await rig.connect();
    const { commandId } = await rig.run({ ...off, kind: 'node.reboot' });
    expect(rig.steps(commandId)).toContain('refused');
    expect(world.house.log).toEqual([]);
  });

  it('leaves the node on when a guest does not shut down, and starts the others again', async () => {
    const rig = createRig();
    const world = houseOf(rig, { 100: parked(), 101: parked() });
    world.house.refuses.add('guest.stop 101');
    await rig.connect();
    const { commandId } = await rig.run(off);
    await pass(rig);
    expect(world.count('off')).toBe(0);
    expect(world.count('guest.start 100')).toBe(1);
    expect(world.house.guests[101]?.state).toBe('running');
    expect(endOf(rig, commandId)).toMatchObject({ postcondition: false });
    expect(JSON.stringify(endOf(rig, commandId))).toContain('guest 101 did not shut down');
  });

  it('leaves the node on, and starts all again, when its cluster lost votes meanwhile', async () => {
    const rig = createRig();
    const world = houseOf(rig, { 100: parked() });
    const member = (index: number) => ({ node: `n${index}`, votes: 1, online: true });
    const members = [1, 2, 3, 4, 5].map(member);
    const votes = { expectedVotes: 5, totalVotes: 5, quorumVotes: 3 };
    const ha = { managed: false, watchdogOpen: false, services: [] };
    const tell = () => {
      const quorum = { quorate: true, ...votes, members: structuredClone(members) };
      const facts = NodeFacts.parse({ ...rig.world.description.facts, quorum, ha });
      rig.world.description = { ...rig.world.description, facts };
    };
    tell();
    const { perform } = rig.world;
    rig.world.perform = async (work, context) => {
      if (work.action.kind === 'guest.stop') {
        for (const lost of members.slice(2)) lost.online = false;
        tell();
      }
      return perform(work, context);
    };
    await rig.connect();
    const { commandId } = await rig.run(off);
    await pass(rig, 60_000);
    expect(world.house.log).toEqual(['guest.stop 100', 'guest.start 100']);
    const end = endOf(rig, commandId);
    expect(end).toMatchObject({ postcondition: false });
    expect(end).toMatchObject({ detail: expect.stringContaining('not begun: KR_QUORUM: ') });
  });

  it('starts a guest that shuts down when nobody waits for it any more', async () => {
    const rig = createRig();
    const world = houseOf(rig, { 100: parked(), 101: parked() });
    world.house.refuses.add('guest.stop 101');
    await rig.connect();
    const { commandId } = await rig.run(off);
    await pass(rig, 200_000);
    expect(endOf(rig, commandId)).toBeUndefined();
    const late = world.house.guests[101];
    if (late) late.state = 'stopped';
    await pass(rig);
    expect(world.house.guests[101]?.state).toBe('running');
    expect(world.count('guest.start 101')).toBe(1);
    expect(world.count('off')).toBe(0);
    expect(endOf(rig, commandId)).toMatchObject({ postcondition: false });
  });

  it('waits for a host that cannot name its guests yet after the boot', async () => {
    const rig = createRig();
    const world = houseOf(rig, { 100: parked() });
    await rig.connect();
    const { commandId } = await rig.run(off);
    await pass(rig, 10_000);
    const { sample } = rig.world;
    rig.world.sample = async () => ({ ...(await sample()), guests: null });
    await world.boot();
    await pass(rig, 200_000);
    expect(world.count('guest.start 100')).toBe(0);
    rig.world.sample = sample;
    await pass(rig, 100_000);
    expect(world.count('guest.start 100')).toBe(1);
    expect(endOf(rig, commandId)).toMatchObject({ postcondition: true });
  });

  it('says which guest could not be started again', async () => {
    const rig = createRig();
    const world = houseOf(rig, { 100: parked() });
    await rig.connect();
    const { commandId } = await rig.run(off);
    await pass(rig, 10_000);
    world.house.refuses.add('guest.start 100');
    await world.boot();
    await pass(rig);
    expect(world.count('refused guest.start 100')).toBe(3);
    const end = endOf(rig, commandId);
    expect(JSON.stringify(end)).toContain('parked guest 100 could not be started');
    expect(end).toMatchObject({ left: [expect.stringContaining('parked guest 100')] });
    // The server has seen the boot and calls the command over, but has not heard of the guest.
    await rig.verdict(commandId, 1, 'SUCCEEDED');
    rig.sent.length = 0;
    await rig.connect();
    await rig.sync();
    expect(rig.reports(commandId)).toEqual([end]);
    await rig.verdict(commandId, end?.n ?? 0, 'SUCCEEDED');
    rig.sent.length = 0;
    await rig.connect();
    expect(rig.reports(commandId)).toEqual([]);
  });

  it('knows a power-off that never began, and does not wait for a host that stays on', async () => {
    const rig = createRig();
    const world = houseOf(rig, { 100: parked(), 101: parked() });
    const { perform } = rig.world;
    // The shutdown of the second guest takes for ever.
    rig.world.perform = (work, context) =>
      work.action.kind === 'guest.stop' && work.target.id === '101'
        ? new Promise(() => undefined)
        : perform(work, context);
    await rig.connect();
    const { commandId } = await rig.run(off, { timeoutMs: 3_600_000 });
    await pass(rig, 10_000);
    expect(world.house.guests[100]?.state).toBe('stopped');
    rig.crash();
    rig.world.perform = perform;
    world.house.ended.clear();
    await rig.connect();
    await pass(rig, 20_000);
    expect(world.house.guests[100]?.state).toBe('running');
    await pass(rig, 320_000);
    const detail = 'not begun: the executor ended while it parked guests';
    expect(endOf(rig, commandId)).toMatchObject({ postcondition: false, detail });
    expect(world.count('off')).toBe(0);
  });

  it('starts nothing that its host has started by itself', async () => {
    const rig = createRig();
    const world = houseOf(rig, { 100: parked() });
    await rig.connect();
    await rig.run(off);
    await pass(rig, 10_000);
    const guest = world.house.guests[100];
    if (guest) guest.state = 'running';
    await world.boot();
    await pass(rig);
    expect(world.count('guest.start 100')).toBe(0);
  });

  it.each([
    ['before the power goes', 'before', true],
    ['before the power goes, and the host stays on', 'before', false],
    ['after the wake, and the host boots once more', 'after', true],
    ['after the wake', 'after', false],
  ] as const)('forgets no guest when the executor dies %s', async (_when, phase, isNewBoot) => {
    let deaths = 0;
    for (let cut = 0; cut < 4_000; cut += 53) {
      const rig = createRig();
      const world = houseOf(rig, { 100: parked(), 101: parked() });
      await rig.connect();
      if (phase === 'before') rig.disk.loseAfter(cut);
      // On a dead disk nothing answers any more.
      void rig.run(off);
      await pass(rig, 4_000);
      if (!world.house.isOn) {
        void world.boot(phase === 'after' ? cut : undefined);
        await pass(rig, 16_000);
      }
      if (rig.disk.isDead()) {
        deaths += 1;
        rig.crash();
        world.house.ended.clear();
        if (isNewBoot || !world.house.isOn) await world.boot();
        else await rig.connect();
        await pass(rig, 16_000);
      }
      if (!world.house.isOn) await world.boot();
      await pass(rig, 16_000);
      for (const id of [100, 101]) {
        expect(world.house.guests[id]?.state, `guest ${id} after ${cut} bytes`).toBe('running');
        expect(world.count(`guest.start ${id}`)).toBe(world.count(`guest.stop ${id}`));
      }
      expect(world.count('off')).toBeLessThanOrEqual(1);
    }
    expect(deaths).toBeGreaterThan(10);
  });
});

describe('the journal of parked guests', () => {
  const record = (guests: string[]): Entry => ({
    type: 'parked',
    record: { commandId: boot(7), node, guests },
  });
  const header: Entry = {
    type: 'header',
    journalId: boot(1),
    createdAtMs: 0,
    quarantined: null,
  };

  it('keeps them over a compaction, until they are said to run', () => {
    const state = emptyState();
    for (const entry of [header, record(['100', '101'])]) fold(state, entry);
    const compacted = emptyState();
    for (const entry of snapshot(state)) fold(compacted, entry);
    expect([...compacted.parked.values()]).toMatchObject([{ guests: ['100', '101'] }]);
    fold(compacted, record([]));
    expect(compacted.parked.size).toBe(0);
  });

  it('reads a journal that was written before there was parking', () => {
    const frames = [
      encodeFrame([header]),
      encodeFrame([
        { type: 'opened', incarnation: 3, atMs: 1 },
        { type: 'epoch', epoch: 5 },
      ]),
    ];
    const found = scan(Buffer.concat([magic, ...frames]));
    expect(found.problem).toBeNull();
    expect(found.state).toMatchObject({ incarnation: 3, maxEpoch: 5 });
    expect(found.state.parked.size).toBe(0);
  });
});
