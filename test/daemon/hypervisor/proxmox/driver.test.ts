import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createProxmoxHypervisor } from '../../../../daemon/hypervisor/proxmox/driver.ts';
import { queuedForGood } from '../../../../daemon/hypervisor/proxmox/tasks.ts';
import type { Hypervisor, Work } from '../../../../daemon/hypervisor/port.ts';
import { createSampler } from '../../../../daemon/sample/sampler.ts';
import { cgroupOf } from '../../../../simulator/proxmox/gauges.ts';
import { crash } from '../../../../simulator/world/node-effects.ts';
import { realClock } from '../../../broker/wire.ts';
import { placeOf, workContext, workOf } from '../work.ts';
import { proxmoxRig, type Rig } from '../../../simulator/proxmox/rig.ts';
import { idsOf, seededRandom } from '../../../support/clock.ts';
import { memoryLog } from '../../../support/log.ts';
import { until } from '../../../support/servers.ts';

const newId = idsOf(realClock, seededRandom(3));
const open: { rig: Rig; drivers: Hypervisor[] }[] = [];
afterEach(async () => {
  for (const { rig, drivers } of open.splice(0)) {
    for (const driver of drivers) await driver.close();
    await rig.close();
  }
});

async function bench(options: Parameters<typeof proxmoxRig>[0] = {}) {
  const rig = await proxmoxRig(options);
  const drivers: Hypervisor[] = [];
  open.push({ rig, drivers });
  const log = memoryLog();
  const driverOn = (node: string, more: object = {}): Hypervisor => {
    const root = rig.trees[node]?.root ?? '';
    const sampler = createSampler({ clock: realClock, addresses: () => ({}), root });
    const tools = rig.tools[node];
    if (tools === undefined) throw new Error(`no tools for ${node}`);
    const driver = createProxmoxHypervisor({
      node,
      sampler,
      daemonVersion: '1',
      clock: realClock,
      log,
      tools,
      simulated: true,
      root,
      outputFolder: join(rig.folder, 'output'),
      ...more,
    });
    drivers.push(driver);
    return driver;
  };
  const driverWith = (more: object): Hypervisor => driverOn('alpha', more);
  return { rig, log, driverOn, driverWith, driver: driverOn('alpha') };
}

const work = workOf(newId);
const asked = (rig: Rig) => rig.server.calls.filter(({ tool }) => tool === 'pvesh').length;

describe('draining a node', () => {
  const canDrain = async (driver: Hypervisor) =>
    (await driver.describe('alpha')).driver.capabilities.includes('node.drain');

  it('is offered only where HA manages guests, and moves those until none is left', async () => {
    const { rig, driver } = await bench();
    expect(await canDrain(driver)).toBe(false);
    const off = await driver.perform(work('node.drain', 'alpha'), workContext());
    expect(off.detail).toContain('move the guests one by one');
    rig.pve.ha.set('100', { autoRebalance: null });
    rig.pve.onChange();
    expect(await canDrain(driver)).toBe(true);
    const [drain, ctx] = [work('node.drain', 'alpha'), workContext()];
    expect(await driver.observe(drain)).toMatchObject({ postcondition: null });
    expect(await driver.perform(drain, ctx)).toMatchObject({ exitCode: 0 });
    expect(ctx.handles).toEqual(['maintenance:alpha']);
    expect(placeOf(rig, '100')).not.toBe('alpha');
    expect(placeOf(rig, '101')).toBe('alpha');
    expect(await driver.observe(drain)).toMatchObject({ postcondition: true });
    expect((await driver.describe('alpha')).facts.maintenance).toBe(true);
  });

  it('is joined again after a restart without asking HA twice, and undone by restoring', async () => {
    const { rig, driver, driverOn } = await bench();
    rig.pve.ha.set('100', { autoRebalance: null });
    rig.pve.onChange();
    const drain = work('node.drain', 'alpha');
    await driver.perform(drain, workContext());
    const again = driverOn('alpha');
    expect(await again.attach?.(drain, 'maintenance:alpha', workContext())).toMatchObject({
      exitCode: 0,
    });
    const restore = work('node.restore', 'alpha');
    expect(await again.observe(restore)).toMatchObject({ postcondition: null });
    expect(await again.perform(restore, workContext())).toMatchObject({ exitCode: 0 });
    expect(await again.observe(restore)).toMatchObject({ postcondition: true });
    expect((await rig.effects()).map(({ kind }) => kind)).toEqual([
      'maintenance-enable',
      'maintenance-disable',
    ]);
    expect(rig.pve.maintenance.has('alpha')).toBe(false);
  });

  it('says why when HA refuses, and is then seen not to have happened', async () => {
    const { rig, driver } = await bench();
    rig.pve.ha.set('100', { autoRebalance: null });
    rig.pve.onChange();
    rig.pve.faultOf = ({ tool }) =>
      tool === 'ha-manager' ? { kind: 'fail', exitCode: 255, stderr: 'no quorum?' } : undefined;
    const drain = work('node.drain', 'alpha');
    const refused = await driver.perform(drain, workContext());
    expect(refused).toMatchObject({ exitCode: 1, detail: expect.stringContaining('no quorum?') });
    expect(await driver.observe(drain)).toMatchObject({ postcondition: false });
  });
});

describe('describing a node', () => {
  it('tells votes, HA, storages and what runs', async () => {
    const { rig, driver } = await bench();
    rig.pve.ha.set('100', { autoRebalance: null });
    rig.pve.options = { crs: 'ha=static,ha-auto-rebalance=1', ha: { shutdown_policy: 'migrate' } };
    rig.pve.qdevice = { votes: 1, flags: 'A,V,NMW' };
    const { driver: own, facts, guests } = await driver.describe('alpha');
    expect(own).toMatchObject({ name: 'proxmox', simulated: true });
    expect(own.capabilities).toContain('guest.migrate');
    expect(facts).toMatchObject({
      hypervisorVersion: 'pve-manager/9.2.2',
      runningGuests: 2,
      maintenance: false,
      roles: [],
      busy: [],
      protected: false,
      links: [{ name: 'eno1', wakeOnMagic: true }],
      quorum: {
        quorate: true,
        expectedVotes: 4,
        qdevice: { votes: 1, alive: true, voting: true },
      },
      ha: { managed: true, shutdownPolicy: 'migrate', services: [{ sid: 'vm:100' }] },
      storages: [{ id: 'shared', shared: true, active: true }],
    });
    expect(guests?.map(({ id, ownedByHypervisorBalancer: owned }) => [id, owned])).toEqual([
      ['100', true],
      ['101', false],
      ['102', false],
    ]);
    expect(guests?.[0]).toMatchObject({
      haState: 'started',
      disks: [{ shared: true }],
      allowedNodes: ['beta', 'gamma'],
    });
  });

  it('sees that a member is away and that its vote is missing', async () => {
    const { rig, driver } = await bench();
    rig.live.change((world) => {
      const beta = world.nodes.get('lab/beta');
      if (beta) crash(world, beta);
    });
    const { facts } = await driver.describe('alpha');
    expect(facts.quorum).toMatchObject({ totalVotes: 2, quorate: true });
    expect(facts.quorum?.members.find(({ node }) => node === 'beta')?.online).toBe(false);
    expect((await driver.sample('alpha')).membersOnline).toEqual(['alpha', 'gamma']);
  });

  it('has a word for the quorum device that changes with its vote, and none without one', async () => {
    const { rig, driver } = await bench();
    expect(await driver.deviceVote?.('alpha')).toBeNull();
    rig.pve.qdevice = { votes: 1, flags: 'A,V,NMW' };
    rig.pve.onChange();
    const voting = await driver.deviceVote?.('alpha');
    expect(await driver.deviceVote?.('alpha')).toBe(voting);
    rig.pve.qdevice = { votes: 0, flags: 'A,NV,NMW' };
    expect(await driver.deviceVote?.('alpha')).not.toBe(voting);
  });

  it('has neither quorum nor members on a single node', async () => {
    const { driver } = await bench({ votes: 0 });
    expect((await driver.describe('alpha')).facts.quorum).toBeNull();
    const sample = await driver.sample('alpha');
    expect(sample.membersOnline).toBeNull();
    expect(sample.node.votes).toBe(0);
  });

  it('counts a guest that is still on its way in, and does not guess at one it cannot see', async () => {
    const { rig, driver } = await bench();
    const scope = join(rig.trees['alpha']?.root ?? '', 'sys/fs/cgroup/qemu.slice/777.scope');
    await mkdir(scope);
    expect((await driver.describe('alpha')).facts.runningGuests).toBe(2);
    await writeFile(join(scope, 'cgroup.events'), 'populated 1\nfrozen 0\n');
    expect((await driver.describe('alpha')).facts.runningGuests).toBe(3);
  });

  it('lists no guests at all when one configuration cannot be read', async () => {
    const { rig, driver } = await bench();
    await rm(join(rig.trees['alpha']?.root ?? '', 'etc/pve/qemu-server/100.conf'));
    expect((await driver.sample('alpha')).guests).toBeNull();
    expect((await driver.describe('alpha')).facts.runningGuests).toBeNull();
  });

  it('takes no answer for "unknown", never for "none"', async () => {
    const { rig, driver, log } = await bench();
    rig.pve.faultOf = () => ({ kind: 'fail', exitCode: 255, stderr: 'ipcc_send_rec failed' });
    await writeFile(join(rig.trees['alpha']?.root ?? '', 'etc/pve/.vmlist'), '{"ids"');
    // Votes that cannot be read must not look like those of a host without a cluster.
    await expect(driver.describe('alpha')).rejects.toMatchObject({ code: 'KR_QUORUM_UNKNOWN' });
    rig.pve.faultOf = ({ tool }) =>
      tool === 'pvesh'
        ? { kind: 'fail', exitCode: 255, stderr: 'ipcc_send_rec failed' }
        : undefined;
    await mkdir(join(rig.trees['alpha']?.root ?? '', 'etc/pve/ha'), { recursive: true });
    await writeFile(join(rig.trees['alpha']?.root ?? '', 'etc/pve/ha/manager_status'), '{"node');
    const { facts, guests } = await driver.describe('alpha');
    expect(facts).toMatchObject({
      quorum: { quorate: true },
      ha: null,
      maintenance: null,
      storages: null,
      runningGuests: null,
    });
    expect(guests).toBeNull();
    expect((await driver.sample('alpha')).guests).toBeNull();
    expect(log.lines.some(({ message }) => message.includes('no usable answer'))).toBe(true);
  });
});

describe('sampling', () => {
  it('reads cgroups and taps, and asks pvesh for one round only', async () => {
    const { rig, driver } = await bench();
    const root = rig.trees['alpha']?.root ?? '';
    await driver.describe('alpha');
    const before = asked(rig);
    const first = await driver.sample('alpha');
    expect(first.guests?.map(({ id, state, cpuRatio }) => [id, state, cpuRatio])).toEqual([
      ['100', 'running', null],
      ['101', 'running', null],
      ['102', 'stopped', null],
    ]);
    const folder = join(root, 'sys/fs/cgroup/qemu.slice/100.scope');
    const usage = /usage_usec (\d+)/.exec(await readFile(join(folder, 'cpu.stat'), 'utf8'))?.[1];
    await writeFile(join(folder, 'cpu.stat'), `usage_usec ${Number(usage) + 10}\n`);
    await writeFile(join(folder, 'cpu.pressure'), 'some avg10=25.00 avg60=1.00 total=1\n');
    await writeFile(join(folder, 'memory.pressure'), 'some avg10=3.00 avg60=1.00 total=1\n');
    const second = await driver.sample('alpha');
    const guest = second.guests?.find(({ id }) => id === '100');
    expect(guest).toMatchObject({
      kind: 'vm',
      name: 'guest-100',
      tags: ['lab'],
      cpuCount: 2,
      memoryUsedBytes: 2 ** 30,
      cpuPressureRatio: 0.25,
      memoryPressureRatio: 0.03,
      lock: null,
    });
    expect(guest?.cpuRatio).toBeGreaterThanOrEqual(0);
    expect(guest?.uptimeMs).toBeGreaterThan(0);
    expect(second.versions.hypervisor).toBe('pve-manager/9.2.2');
    expect(asked(rig)).toBe(before);
  });

  it('knows no rate and no uptime of a guest whose counters began anew', async () => {
    const { rig, driver } = await bench();
    await driver.describe('alpha');
    await driver.sample('alpha');
    const stat = join(rig.trees['alpha']?.root ?? '', 'sys/fs/cgroup/lxc/101/cpu.stat');
    await writeFile(stat, 'usage_usec 0\n');
    await driver.sample('alpha');
    const after = (await driver.sample('alpha')).guests?.find(({ id }) => id === '101');
    expect(after).toMatchObject({ state: 'running', uptimeMs: null });
    const world = rig.live.world.guests.get('lab/101');
    expect(world && cgroupOf(world)).toBe('sys/fs/cgroup/lxc/101');
  });

  it('does not wait for a pvesh that hangs', async () => {
    const { rig, driver } = await bench();
    rig.pve.faultOf = ({ tool }) => (tool === 'pvesh' ? { kind: 'hang' } : undefined);
    const { guests } = await driver.sample('alpha');
    expect(guests?.map(({ state }) => state)).toEqual(['running', 'running', 'stopped']);
  });
});

describe('effects', () => {
  it('migrate a VM live, with the name of the task before it has ended', async () => {
    const { rig, driver } = await bench({ timeScale: 4 });
    const deed = work('guest.migrate', '100', { targetNode: 'beta' });
    const ctx = workContext();
    const running = driver.perform(deed, ctx);
    await until(() => ctx.handles.length === 1);
    expect(placeOf(rig, '100')).toBe('alpha');
    expect((await driver.observe(deed)).postcondition).toBeNull();
    expect(await running).toMatchObject({ exitCode: 0 });
    expect(ctx.handles[0]).toContain(':qmigrate:100:');
    expect(await driver.observe(deed)).toMatchObject({ postcondition: true });
    expect(await rig.effects()).toMatchObject([{ kind: 'qmigrate', upid: ctx.handles[0] }]);
  });

  it('move a container only with consent, and only when a restart was asked for', async () => {
    const { rig, driver } = await bench();
    const live = work('guest.migrate', '101', { targetNode: 'beta' });
    expect((await driver.perform(live, workContext())).detail).toContain('cannot move live');
    const offline = work('guest.migrate', '101', { targetNode: 'beta', online: false });
    expect((await driver.perform(offline, workContext())).detail).toContain('kr_restart');
    expect((await driver.observe(offline)).postcondition).toBe(false);
    expect(await rig.effects()).toEqual([]);
    rig.pve.extra.set('101', { tags: 'lab;kr_restart' });
    rig.pve.onChange();
    const again = { ...offline, commandId: newId() };
    expect(await driver.perform(again, workContext())).toMatchObject({ exitCode: 0 });
    expect(placeOf(rig, '101')).toBe('beta');
  });

  it('follow an HA guest from the queued request to the real task', async () => {
    const { rig, driver } = await bench();
    rig.pve.ha.set('100', { autoRebalance: 0 });
    const deed = work('guest.migrate', '100', { targetNode: 'gamma' });
    const ctx = workContext();
    const result = await driver.perform(deed, ctx);
    expect(result).toEqual({ exitCode: 0, detail: 'qmigrate: OK', output: expect.any(String) });
    expect(ctx.handles.map((handle) => handle.split(':')[5])).toEqual(['hamigrate', 'qmigrate']);
    expect((await driver.observe(deed)).postcondition).toBe(true);
  });

  it('join a task again after a restart, queued or real, without starting anything', async () => {
    const { rig, driver, driverOn } = await bench({ timeScale: 4 });
    rig.pve.ha.set('100', { autoRebalance: 0 });
    const deed = work('guest.migrate', '100', { targetNode: 'gamma' });
    const ctx = workContext();
    const lost = driver.perform(deed, ctx);
    await until(() => ctx.handles.length > 0);
    const restarted = driverOn('alpha');
    const again = workContext();
    const joined = await restarted.attach?.(deed, ctx.handles[0] ?? '', again);
    expect(joined).toMatchObject({ exitCode: 0, detail: 'qmigrate: OK' });
    expect(await lost).toMatchObject({ exitCode: 0 });
    expect((await restarted.observe(deed)).postcondition).toBe(true);
    expect((await rig.effects()).map(({ kind }) => kind)).toEqual(['hamigrate']);
    const nonsense = await restarted.attach?.(deed, 'pid:7', again);
    expect(nonsense).toMatchObject({ exitCode: null });
  });

  it('refuse a migration that the precheck refuses or does not answer', async () => {
    const { rig, driver } = await bench();
    rig.pve.extra.set('100', { hostpci0: '0000:01:00' });
    const deed = work('guest.migrate', '100', { targetNode: 'beta' });
    expect((await driver.perform(deed, workContext())).detail).toContain('hostpci0');
    rig.pve.faultOf = ({ argv }) =>
      argv[1]?.endsWith('/migrate') ? { kind: 'fail', exitCode: 255, stderr: 'x' } : undefined;
    expect((await driver.perform(deed, workContext())).detail).toContain('no usable answer');
    expect(await rig.effects()).toEqual([]);
  });

  it('move a container without a precheck where PVE 8 has none, and a VM never', async () => {
    const { rig, driver } = await bench();
    rig.pve.extra.set('101', { tags: 'kr_restart' });
    rig.pve.onChange();
    rig.pve.faultOf = ({ argv }) =>
      argv[1]?.endsWith('/migrate')
        ? { kind: 'fail', exitCode: 1, stderr: `No 'get' handler defined for '${argv[1]}'` }
        : undefined;
    const vm = work('guest.migrate', '100', { targetNode: 'beta' });
    expect((await driver.perform(vm, workContext())).detail).toContain('no usable answer');
    const container = work('guest.migrate', '101', { targetNode: 'beta', online: false });
    expect(await driver.perform(container, workContext())).toMatchObject({ exitCode: 0 });
    expect(placeOf(rig, '101')).toBe('beta');
  });

  it('leave a guest alone that the scheduler balances by itself, or might', async () => {
    const { rig, driver, driverOn } = await bench();
    rig.pve.ha.set('100', { autoRebalance: null });
    rig.pve.options = { crs: 'ha=static,ha-auto-rebalance=1' };
    const owned = work('guest.migrate', '100', { targetNode: 'beta' });
    const { detail } = await driver.perform(owned, workContext());
    expect(detail).toContain('the balancer of the HA scheduler itself moves this guest');
    const root = rig.trees['alpha']?.root ?? '';
    await writeFile(join(root, 'etc/pve/ha/manager_status'), '{"node_status":');
    const deed = work('guest.migrate', '100', { targetNode: 'beta' });
    const blind = await driverOn('alpha').perform(deed, workContext());
    expect(blind.detail).toContain('nobody can tell who moves');
    expect(await rig.effects()).toEqual([]);
  });

  it('leave a guest where it is when its target cannot take it at this moment', async () => {
    const { rig, driver } = await bench();
    rig.pve.extra.set('100', { memory: '30000' });
    rig.pve.onChange();
    const deed = work('guest.migrate', '100', { targetNode: 'beta' });
    expect((await driver.perform(deed, workContext())).detail).toContain('are in use there');
    expect(await driver.observe(deed)).toMatchObject({ postcondition: false });
    expect(await rig.effects()).toEqual([]);
  });

  it('find the task of a daemon that ended before it could name it, and no other', async () => {
    const { rig, driver, driverOn } = await bench({ timeScale: 4 });
    const startedAtWallMs = realClock.wallMs();
    const deed = work('guest.restart', '100');
    const ctx = workContext();
    const running = driver.perform(deed, ctx);
    await until(() => ctx.handles.length === 1);
    const [upid = ''] = ctx.handles;
    const after = driverOn('alpha');
    const { signal } = ctx;
    const trace = { startedAtWallMs, otherHandles: new Set<string>() };
    expect(await after.find?.(deed, trace, signal)).toBe(upid);
    await running;
    expect(await after.find?.(deed, trace, signal)).toBe(upid);
    const given = new AbortController();
    given.abort();
    const seek = (wanted: Work, change: Partial<typeof trace> = {}) =>
      after.find?.(wanted, { ...trace, ...change }, given.signal);
    expect(await seek(deed, { otherHandles: new Set([upid]) })).toBeNull();
    expect(await seek(deed, { startedAtWallMs: startedAtWallMs + 60_000 })).toBeNull();
    expect(await seek(work('guest.restart', '101'))).toBeNull();
    expect(await seek(work('guest.stop', '100'))).toBeNull();
    expect(await seek(work('guest.scale', '100', { cpuCount: 1 }))).toBeNull();
    expect(await rig.effects()).toHaveLength(1);
  });

  it('start, stop and restart, each seen in the world', async () => {
    const { rig, driver } = await bench();
    const start = work('guest.start', '102');
    const ctx = workContext();
    expect(await driver.perform(start, ctx)).toMatchObject({ exitCode: 0 });
    expect(ctx.handles[0]).toContain(':qmstart:102:');
    expect((await driver.observe(start)).postcondition).toBe(true);
    const stop = work('guest.stop', '101', { force: true });
    expect(await driver.perform(stop, workContext())).toMatchObject({ exitCode: 0 });
    expect((await driver.observe(stop)).postcondition).toBe(true);
    const restart = work('guest.restart', '100');
    expect(await driver.perform(restart, workContext())).toMatchObject({ exitCode: 0 });
    expect((await driver.observe(restart)).postcondition).toBe(true);
    expect((await rig.effects()).map(({ kind }) => kind)).toEqual([
      'qmstart',
      'vzstop',
      'qmreboot',
    ]);
  });

  it('report a tool that fails, and what the world then shows', async () => {
    const { rig, driver } = await bench();
    rig.pve.faultOf = ({ tool }) =>
      tool === 'qm' ? { kind: 'fail', exitCode: 255, stderr: 'start failed: QEMU' } : undefined;
    const deed = work('guest.start', '102');
    expect((await driver.observe(deed)).postcondition).toBeNull();
    const result = await driver.perform(deed, workContext());
    expect(result).toMatchObject({ exitCode: 255 });
    expect(result.detail).toContain('start failed');
    expect((await driver.observe(deed)).postcondition).toBe(false);
  });

  it('give a hanging tool up when told to, and claim nothing of its outcome', async () => {
    const { rig, driver } = await bench();
    rig.pve.faultOf = ({ tool }) => (tool === 'qm' ? { kind: 'hang' } : undefined);
    const deed = work('guest.start', '102');
    const ctx = workContext();
    const running = driver.perform(deed, ctx);
    await until(() => rig.server.calls.some(({ tool }) => tool === 'qm'));
    ctx.abort.abort();
    expect(await running).toMatchObject({ exitCode: null });
    expect((await driver.observe(deed)).postcondition).toBeNull();
  });

  it('do not call a guest moved that ran before and is down at its target', async () => {
    const { rig, driver } = await bench();
    const deed = work('guest.migrate', '100', { targetNode: 'beta' });
    expect(await driver.perform(deed, workContext())).toMatchObject({ exitCode: 0 });
    const guest = rig.live.world.guests.get('lab/100');
    if (guest) guest.state = 'stopped';
    rig.pve.onChange();
    const down = { postcondition: null, detail: 'guest 100 is stopped on beta, and ran before' };
    expect(await driver.observe(deed)).toEqual(down);
    if (guest) guest.state = 'running';
    rig.pve.onChange();
    expect((await driver.observe(deed)).postcondition).toBe(true);
    const moved = work('guest.migrate', '102', { targetNode: 'beta' });
    expect(await driver.perform(moved, workContext())).toMatchObject({ exitCode: 0 });
    expect((await driver.observe(moved)).postcondition).toBe(true);
  });

  it('ask a migration that takes too long to end, and tell what its task says of that', async () => {
    const { rig, driver } = await bench({ timeScale: 1 });
    const deed = work('guest.migrate', '100', { targetNode: 'beta' });
    const ctx = workContext();
    const running = driver.perform(deed, ctx);
    await until(() => ctx.handles.length === 1);
    ctx.abort.abort();
    const { exitCode, detail } = await running;
    expect({ exitCode, detail }).toEqual({
      exitCode: 1,
      detail: 'asked to end in time; qmigrate: migration aborted',
    });
    expect(await driver.observe(deed)).toMatchObject({ postcondition: false });
    expect(rig.live.world.guests.get('lab/100')?.node.spec.node).toBe('alpha');
  });

  it('call a migration back that an earlier process began, and one that HA carries out', async () => {
    for (const isOfHa of [false, true]) {
      const { rig, driver, driverOn } = await bench({ timeScale: 1 });
      if (isOfHa) rig.pve.ha.set('100', { autoRebalance: 0 });
      const deed = work('guest.migrate', '100', { targetNode: 'beta' });
      const ctx = workContext();
      const lost = driver.perform(deed, ctx);
      const isAtWork = (): boolean => ctx.handles.at(-1)?.includes(':qmigrate:') ?? false;
      await until(isAtWork);
      const again = workContext();
      const after = driverOn('alpha');
      const joined = after.attach?.(deed, ctx.handles.at(-1) ?? '', again);
      again.abort.abort();
      const { exitCode, detail } = (await joined) ?? {};
      expect({ exitCode, detail }).toEqual({
        exitCode: 1,
        detail: 'asked to end in time; qmigrate: migration aborted',
      });
      expect(await after.observe(deed)).toMatchObject({ postcondition: false });
      expect(await lost).toMatchObject({ exitCode: isOfHa ? 1 : 255 });
      expect(rig.live.world.guests.get('lab/100')?.node.spec.node).toBe('alpha');
    }
  });

  it('cannot take a request back that HA has only queued, and says so', async () => {
    const { rig, driver } = await bench({ timeScale: 4 });
    rig.pve.ha.set('100', { autoRebalance: 0 });
    rig.pve.haQueueMs = 1_000;
    const deed = work('guest.migrate', '100', { targetNode: 'beta' });
    const ctx = workContext();
    const running = driver.perform(deed, ctx);
    await until(() => rig.pve.tasks.some(({ exitStatus }) => exitStatus === 'OK'));
    await until(() => ctx.handles.length === 1);
    ctx.abort.abort();
    const { exitCode, detail } = await running;
    expect({ exitCode, detail }).toEqual({ exitCode: null, detail: queuedForGood });
    expect((await driver.observe(deed)).postcondition).not.toBe(false);
    await until(() => rig.live.world.guests.get('lab/100')?.node.spec.node === 'beta');
  });

  it('refuse a locked guest, a guest of another node and one that is not there', async () => {
    const { rig, driver } = await bench();
    rig.pve.extra.set('100', { lock: 'backup' });
    rig.pve.onChange();
    const locked = await driver.perform(work('guest.stop', '100'), workContext());
    expect(locked.detail).toContain('locked (backup)');
    expect((await driver.observe(work('guest.stop', '100'))).postcondition).toBeNull();
    const missing = await driver.perform(work('guest.stop', '999'), workContext());
    expect(missing.detail).toContain('not on this node');
    expect(await rig.effects()).toEqual([]);
  });
});

describe('scaling', () => {
  it('sets what is live and verifies it', async () => {
    const { rig, driver } = await bench();
    const args = { cpuCount: 4, cpuLimit: 2, cpuUnits: 200, memoryBytes: 4 * 2 ** 30 };
    const deed = work('guest.scale', '100', args);
    expect(await driver.perform(deed, workContext())).toMatchObject({ exitCode: 0 });
    expect(await driver.observe(deed)).toMatchObject({ postcondition: true });
    expect(rig.live.world.guests.get('lab/100')).toMatchObject(args);
    const smaller = work('guest.scale', '101', { cpuCount: 1 });
    expect(await driver.perform(smaller, workContext())).toMatchObject({ exitCode: 0 });
    expect((await driver.observe(smaller)).postcondition).toBe(true);
  });

  it('sees that a value only waits for the next start', async () => {
    const { rig, driver } = await bench();
    const deed = work('guest.scale', '100', { memoryBytes: 4 * 2 ** 30 });
    // The configuration changes between the plan and the tool: what was live no longer is.
    rig.pve.faultOf = ({ tool }) => {
      if (tool === 'qm') rig.pve.extra.set('100', { hotplug: 'disk' });
      return undefined;
    };
    expect(await driver.perform(deed, workContext())).toMatchObject({ exitCode: 0 });
    expect(await driver.observe(deed)).toEqual({
      postcondition: false,
      detail: 'memory waits for the next start of the guest',
    });
  });
});

describe('what the host does for others, and is busy with', () => {
  const put = async (rig: Rig, path: string, text: string): Promise<void> => {
    const target = join(rig.trees['alpha']?.root ?? '', path);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, text);
  };
  const roles: [path: string, text: string, role: string][] = [
    ['var/lib/ceph/osd/ceph-3', '', 'ceph-osd'],
    ['etc/exports', '# none\n/tank 10.0.0.0/8(rw)\n', 'nfs'],
    ['etc/exports.d/zfs.exports', '/tank *(ro)\n', 'nfs'],
    ['sys/kernel/config/target/iscsi/iqn.2026-01.lab:tank', '', 'iscsi-target'],
    ['etc/proxmox-backup/datastore.cfg', 'datastore: one\n', 'backup-server'],
    ['proc/77/comm', 'corosync-qnetd\n', 'qnetd'],
    ['etc/pve/replication.cfg', 'local: 100-0\n\ttarget alpha\n', 'replication-target'],
  ];
  it('tells what Ceph says of itself, and asks nobody where none of its services is', async () => {
    const { rig, driver, driverOn } = await bench();
    expect((await driver.describe('alpha')).facts.ceph).toBeNull();
    expect(rig.server.calls.some(({ argv }) => argv.join(' ').includes('ceph'))).toBe(false);
    rig.pve.ceph = {
      health: 'HEALTH_WARN',
      mons: ['alpha', 'beta', 'gamma'],
      inQuorum: ['alpha', 'gamma'],
      minSizes: [2, 1],
    };
    await put(rig, 'var/lib/ceph/osd/ceph-3', '');
    await put(rig, 'var/lib/ceph/mon/ceph-alpha', '');
    const { facts } = await driverOn('alpha').describe('alpha');
    expect(facts.roles).toEqual(['ceph-mon', 'ceph-osd']);
    expect(facts.ceph).toEqual({
      health: 'HEALTH_WARN',
      osdsOkToStop: null,
      monOkToStop: null,
      poolMinSize: 1,
      monsTotal: 3,
      monsInQuorum: 2,
      hasMon: true,
      noout: null,
    });
  });

  it('knows nothing of a Ceph that does not answer', async () => {
    const { rig, driver } = await bench();
    await put(rig, 'var/lib/ceph/osd/ceph-3', '');
    const { facts } = await driver.describe('alpha');
    expect(facts.ceph).toMatchObject({ health: null, monsTotal: null, hasMon: false });
    expect(facts.roles).toEqual(['ceph-osd']);
  });

  it.each(roles)('finds a role in %s', async (path, text, role) => {
    const { rig, driver } = await bench();
    await put(rig, path, text);
    expect((await driver.describe('alpha')).facts.roles).toEqual([role]);
  });

  const works: [path: string, text: string, what: string][] = [
    ['proc/78/comm', 'apt-get\n', 'apt'],
    ['proc/79/comm', 'dpkg\n', 'dpkg'],
    ['proc/mdstat', 'md0 : active raid1\n  [==>..]  recovery = 12.6% (1/8)\n', 'raid-recovery'],
    ['run/systemd/sessions/4', 'USER=root\nCLASS=user\nSTATE=active\nTTY=pts/0\n', 'session'],
  ];
  it.each(works)('sees by %s that a power-off would cut something', async (path, text, what) => {
    const { rig, driver } = await bench();
    await put(rig, path, text);
    expect((await driver.describe('alpha')).facts.busy).toMatchObject([{ what }]);
  });

  it('tells how the replication of its own guests stands', async () => {
    const { rig, driver } = await bench();
    const job = (id: string, target: string) => `local: ${id}-0\n\ttarget ${target}\n\n`;
    await put(
      rig,
      'etc/pve/replication.cfg',
      job('100', 'beta') + job('102', 'gamma') + job('900', 'beta'),
    );
    const state = { '100': { 'local/beta': { fail_count: 2, last_sync: 1 } } };
    await put(rig, 'var/lib/pve-manager/pve-replication-state.json', JSON.stringify(state));
    expect((await driver.describe('alpha')).facts.replication).toEqual([
      { guest: '100', target: 'beta', running: false, failed: true },
      { guest: '102', target: 'gamma', running: false, failed: false },
    ]);
  });

  it('knows neither roles nor work where no process can be seen', async () => {
    const { rig, driver } = await bench();
    await rm(join(rig.trees['alpha']?.root ?? '', 'proc/1'), { recursive: true });
    expect((await driver.describe('alpha')).facts).toMatchObject({ roles: null, busy: null });
  });

  it('asks zpool and upsc only where their files are, and takes no answer for unknown', async () => {
    const { rig, driverOn } = await bench();
    await put(rig, 'proc/spl/kstat/zfs/tank/state', 'ONLINE\n');
    await put(rig, 'etc/nut/upsmon.conf', 'MONITOR ups@localhost 1 kr secret primary\n');
    const { zpool = '', upsc = '' } = Object.fromEntries(
      ['zpool', 'upsc'].map((name) => [name, join(rig.folder, name)]),
    );
    Object.assign(rig.tools['alpha'] ?? {}, { zpool, upsc });
    const scan = 'scrub in progress since Sun Nov  1 00:24:01 2026';
    await writeFile(zpool, `#!/bin/sh\necho '  pool: tank'\necho '  scan: ${scan}'\n`);
    await writeFile(upsc, '#!/bin/sh\necho OB DISCHRG\n');
    await chmod(zpool, 0o755);
    await chmod(upsc, 0o755);
    expect((await driverOn('alpha').describe('alpha')).facts).toMatchObject({
      busy: [{ what: 'zfs-scrub', detail: 'tank' }],
      upsOnBattery: true,
    });
    const driver = driverOn('alpha');
    await driver.describe('alpha');
    await writeFile(upsc, '#!/bin/sh\necho Error: Data stale >&2\n');
    expect((await driver.describe('alpha')).facts.upsOnBattery).toBe(true);
    // Who judges a power-off is told nothing of a minute ago.
    expect((await driver.describe('alpha', { isFresh: true })).facts).toMatchObject({
      busy: [{ what: 'zfs-scrub' }, { what: 'ups-silent', detail: 'ups@localhost' }],
      upsOnBattery: null,
    });
    await writeFile(zpool, '#!/bin/sh\nexit 1\n');
    expect((await driverOn('alpha').describe('alpha')).facts.busy).toBeNull();
  });

  it('says whether a magic packet would wake it, and that a guest keeps it awake', async () => {
    const { rig, driver } = await bench();
    rig.pve.wakeOn = () => 'd';
    rig.pve.extra.set('101', { tags: 'kr_protected' });
    rig.pve.onChange();
    const { facts } = await driver.describe('alpha');
    expect(facts).toMatchObject({ links: [{ wakeOnMagic: false }], protected: true });
  });
});

describe('in a container of the host', () => {
  it('starts every tool through nsenter, and nothing else', async () => {
    const { rig, driverWith } = await bench();
    const nsenter = join(rig.folder, 'nsenter');
    const calls = join(rig.folder, 'entered');
    const skip = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"';
    await writeFile(nsenter, `#!/bin/sh\necho "$@" >> '${calls}'\n${skip}\n`);
    await chmod(nsenter, 0o755);
    const driver = driverWith({ nsenter });
    expect((await driver.describe('alpha')).facts.quorum).toMatchObject({ quorate: true });
    expect(await driver.perform(work('guest.start', '102'), workContext())).toMatchObject({
      exitCode: 0,
    });
    const entered = (await readFile(calls, 'utf8')).trim().split('\n');
    expect(entered.length).toBe(rig.server.calls.length);
    for (const line of entered) expect(line).toMatch(/^--target 1 --mount .* -- \//);
  });
});

describe('power', () => {
  const emptied = async (rig: Rig): Promise<void> => {
    rig.live.change((world) => {
      for (const id of ['100', '101']) {
        const guest = world.guests.get(`lab/${id}`);
        if (guest) guest.state = 'stopped';
      }
    });
    rig.pve.onChange();
  };

  it('stays on while a guest runs, whatever was granted', async () => {
    const { rig, driver } = await bench();
    const off = await driver.perform(work('node.shutdown', 'alpha'), workContext());
    expect(off).toMatchObject({ exitCode: null, detail: 'not started: 2 guests run here' });
    expect(await rig.effects()).toEqual([]);
  });

  it('enters HA maintenance first, journals it before, and takes it back after the wake', async () => {
    const { rig, driver, driverOn } = await bench();
    await emptied(rig);
    rig.pve.ha.set('100', { autoRebalance: null });
    const off = work('node.shutdown', 'alpha');
    const ctx = workContext();
    expect(await driver.perform(off, ctx)).toMatchObject({ exitCode: 0 });
    expect(ctx.handles).toEqual(['maintenance:alpha']);
    expect((await rig.effects()).map(({ kind }) => kind)).toEqual([
      'maintenance-enable',
      'shutdown',
    ]);
    expect(rig.pve.maintenance.has('alpha')).toBe(true);
    await until(() => rig.live.world.nodes.get('lab/alpha')?.power === 'off');
    await rig.run('beta', 'pvenode', 'wakeonlan', 'alpha');
    await until(() => rig.live.world.nodes.get('lab/alpha')?.power === 'on');
    const woken = driverOn('alpha');
    expect(await woken.undo?.(off, 'maintenance:alpha', workContext())).toBeNull();
    expect(rig.pve.maintenance.has('alpha')).toBe(false);
  });

  it('takes the maintenance back and stays on when the power-off fails', async () => {
    const { rig, driver } = await bench();
    await emptied(rig);
    rig.pve.ha.set('100', { autoRebalance: null });
    rig.pve.faultOf = ({ argv }) =>
      argv[0] === 'create'
        ? { kind: 'fail', exitCode: 255, stderr: 'permission denied' }
        : undefined;
    const off = await driver.perform(work('node.shutdown', 'alpha'), workContext());
    expect(off).toMatchObject({ exitCode: 255 });
    expect(off.detail).toContain('its HA maintenance was taken back');
    expect(rig.pve.maintenance.has('alpha')).toBe(false);
  });

  it('leaves a maintenance that somebody else began', async () => {
    const { rig, driver, driverOn } = await bench();
    await emptied(rig);
    rig.pve.ha.set('100', { autoRebalance: null });
    rig.pve.maintenance.set('alpha', true);
    const ctx = workContext();
    expect(await driver.perform(work('node.shutdown', 'alpha'), ctx)).toMatchObject({
      exitCode: 0,
    });
    expect(ctx.handles).toEqual([]);
    expect(rig.pve.maintenance.has('alpha')).toBe(true);
    const woken = driverOn('alpha');
    const told = await woken.undo?.(work('node.shutdown', 'alpha'), null, workContext());
    expect(told).toContain('still in the HA maintenance that was begun before it slept');
    expect(rig.pve.maintenance.has('alpha')).toBe(true);
    rig.pve.maintenance.delete('alpha');
    expect(await woken.undo?.(work('node.shutdown', 'alpha'), null, workContext())).toBeNull();
  });

  it('says what is left by hand when the maintenance cannot be ended', async () => {
    const { rig, driver, log } = await bench();
    rig.pve.maintenance.set('alpha', true);
    rig.pve.faultOf = ({ tool }) =>
      tool === 'ha-manager' ? { kind: 'fail', exitCode: 255, stderr: 'no quorum?' } : undefined;
    const ctx = workContext();
    const undone = driver.undo?.(work('node.shutdown', 'alpha'), 'maintenance:alpha', ctx);
    await until(() => rig.server.calls.some(({ tool }) => tool === 'ha-manager'));
    ctx.abort.abort();
    expect(await undone).toContain('ha-manager crm-command node-maintenance disable alpha');
    expect(log.lines.some(({ message }) => message.includes('left in HA maintenance'))).toBe(true);
  });

  it('asks for HOLD once more when HA has moved everything', async () => {
    const { rig, driver } = await bench();
    await emptied(rig);
    rig.pve.ha.set('100', { autoRebalance: null });
    const held = { ...workContext(), heldBy: async () => 'somebody holds' };
    const off = await driver.perform(work('node.shutdown', 'alpha'), held);
    expect(off.detail).toBe('not started: somebody holds; its HA maintenance was taken back');
    expect((await rig.effects()).map(({ kind }) => kind)).not.toContain('shutdown');
  });

  it('switches its own node off by pvesh and never suspends it', async () => {
    const { rig, driver } = await bench();
    await emptied(rig);
    const suspend = work('node.shutdown', 'alpha', { mode: 'suspend' });
    expect((await driver.perform(suspend, workContext())).detail).toContain('only mode poweroff');
    const off = work('node.shutdown', 'alpha');
    expect(await driver.perform(off, workContext())).toMatchObject({ exitCode: 0 });
    expect((await driver.observe(off)).postcondition).toBeNull();
    await until(() => rig.live.world.nodes.get('lab/alpha')?.power === 'off');
    expect(await rig.effects()).toMatchObject([{ kind: 'shutdown', id: 'alpha' }]);
  });
});
