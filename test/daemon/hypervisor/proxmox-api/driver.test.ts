import { afterEach, describe, expect, it } from 'vitest';
import type { ApiEndpoint } from '../../../../daemon/hypervisor/proxmox-api/client.ts';
import {
  createProxmoxApiHypervisor,
  type ProxmoxApiHypervisor,
  type ProxmoxApiOptions,
} from '../../../../daemon/hypervisor/proxmox-api/driver.ts';
import type { Work } from '../../../../daemon/hypervisor/port.ts';
import { queuedForGood } from '../../../../daemon/hypervisor/proxmox/tasks.ts';
import type { FakeApi } from '../../../../simulator/proxmox/api/server.ts';
import { crash } from '../../../../simulator/world/node-effects.ts';
import { realClock } from '../../../broker/wire.ts';
import { placeOf, workContext, workOf } from '../work.ts';
import { apiOf, proxmoxRig, type Rig } from '../../../simulator/proxmox/rig.ts';
import { idsOf, seededRandom } from '../../../support/clock.ts';
import { memoryLog } from '../../../support/log.ts';
import { until } from '../../../support/servers.ts';

const newId = idsOf(realClock, seededRandom(5));
const nodes = ['alpha', 'beta', 'gamma'];
const open: { rig: Rig; api: FakeApi; drivers: ProxmoxApiHypervisor[] }[] = [];
afterEach(async () => {
  for (const { rig, api, drivers } of open.splice(0)) {
    for (const driver of drivers) await driver.close();
    await api.close();
    await rig.close();
  }
});

async function bench(options: Parameters<typeof proxmoxRig>[0] = {}) {
  const rig = await proxmoxRig(options);
  const { api, endpoint } = await apiOf(rig);
  const drivers: ProxmoxApiHypervisor[] = [];
  open.push({ rig, api, drivers });
  const log = memoryLog();
  const driverWith = (
    more: Partial<ProxmoxApiOptions> = {},
    reach: Partial<ApiEndpoint> = {},
  ): ProxmoxApiHypervisor => {
    const driver = createProxmoxApiHypervisor({
      nodes,
      endpoint: { ...endpoint, ...reach },
      daemonVersion: '1',
      clock: realClock,
      log,
      simulated: true,
      hasNoQdevice: true,
      ...more,
    });
    drivers.push(driver);
    return driver;
  };
  return { rig, api, endpoint, log, driverWith, driver: driverWith() };
}

const work = workOf(newId);
const cut = (rig: Rig, node: string): void =>
  rig.live.change((world) => {
    const found = world.nodes.get(`lab/${node}`);
    if (found) crash(world, found);
  });
const empty = (rig: Rig): void =>
  rig.live.change((world) => {
    for (const guest of world.guests.values()) guest.state = 'stopped';
  });
const idle = { roles: [], wakeOnMagic: true, nothingElseAtWork: true };

describe('describing by the API', () => {
  it('tells votes, HA, storages, guests and the boot of a node', async () => {
    const { rig, driver } = await bench();
    rig.pve.ha.set('100', { autoRebalance: null });
    rig.pve.options = { crs: { 'ha-auto-rebalance': 1 }, ha: 'shutdown_policy=migrate' };
    const { driver: own, bootId, facts, guests } = await driver.describe('alpha');
    expect(own).toMatchObject({ name: 'proxmox-api', simulated: true });
    expect(bootId).toBe(rig.live.world.nodes.get('lab/alpha')?.bootId);
    expect(facts).toMatchObject({
      cpuVendor: 'GenuineIntel',
      hypervisorVersion: 'pve-manager/9.2.2',
      runningGuests: 2,
      quorum: { quorate: true, expectedVotes: 3, totalVotes: 3, quorumVotes: 2, qdevice: null },
      ha: { managed: true, watchdogOpen: true, shutdownPolicy: 'migrate' },
      storages: [{ id: 'shared', shared: true, active: true }],
    });
    expect(guests?.map(({ id, ownedByHypervisorBalancer: owned }) => [id, owned])).toEqual([
      ['100', true],
      ['102', false],
      ['101', false],
    ]);
    expect(guests?.[0]).toMatchObject({ allowedNodes: ['beta', 'gamma'], haState: 'started' });
  });

  it('leaves what only a host could tell unknown, unless its administrator declares it', async () => {
    const { driver, driverWith } = await bench();
    const plain = await driver.describe('beta');
    expect(plain.facts).toMatchObject({ roles: null, busy: null, upsOnBattery: null });
    expect(plain.facts.links).toMatchObject([{ wakeOnMagic: null }]);
    expect(plain.driver.capabilities).not.toContain('node.shutdown');
    const declared = await driverWith({ declared: { beta: idle } }).describe('beta');
    expect(declared.facts).toMatchObject({ roles: [], busy: [], links: [{ wakeOnMagic: true }] });
    expect(declared.driver.capabilities).toContain('node.shutdown');
  });

  it('cannot switch a node off with one URL, or where HA is in use', async () => {
    const { rig, endpoint, driverWith } = await bench();
    const declared = { beta: idle };
    const [url = ''] = endpoint.urls;
    const single = driverWith({ declared }, { urls: [url] });
    expect((await single.describe('beta')).driver.capabilities).not.toContain('node.shutdown');
    rig.pve.ha.set('100', { autoRebalance: null });
    const managed = await driverWith({ declared }).describe('beta');
    expect(managed.driver.capabilities).not.toContain('node.shutdown');
  });

  it.each(['/cluster/status', '/cluster/config/nodes', '/cluster/config/qdevice'])(
    'throws rather than look like a single host when %s cannot be read',
    async (path) => {
      const { rig, driver } = await bench();
      rig.pve.apiFaultOf = ({ line }) =>
        line === `GET ${path}` ? { kind: 'fail', exitCode: 500, stderr: 'no' } : undefined;
      await expect(driver.describe('alpha')).rejects.toMatchObject({ code: 'KR_QUORUM_UNKNOWN' });
    },
  );

  it('has no quorum on a single node, and counts the device of a cluster', async () => {
    const single = await bench({ votes: 0 });
    expect((await single.driver.describe('alpha')).facts.quorum).toBeNull();
    const { rig, driver } = await bench();
    rig.pve.qdevice = { votes: 2, flags: 'A,V,NMW' };
    expect((await driver.describe('alpha')).facts.quorum).toMatchObject({
      expectedVotes: 5,
      qdevice: { votes: 2, alive: true, voting: true },
    });
  });

  it('takes no member for a witness that no device is there, unless its absence is declared', async () => {
    const { rig, driverWith } = await bench();
    const declared = { beta: idle };
    const unsure = driverWith({ declared, hasNoQdevice: false });
    const { facts, driver: own } = await unsure.describe('beta');
    expect(facts.quorum).toMatchObject({
      expectedVotes: 5,
      totalVotes: 3,
      quorumVotes: 3,
      qdevice: { votes: 2, alive: false, voting: false },
    });
    expect(own.capabilities).not.toContain('node.shutdown');
    expect(await unsure.deviceVote?.('beta')).not.toBeNull();
    rig.pve.qdevice = { votes: 2, flags: 'A,V,NMW' };
    const wronglyDeclared = await driverWith({ declared }).describe('beta');
    expect(wronglyDeclared.facts.quorum?.qdevice).toMatchObject({ votes: 2, voting: true });
  });

  it('counts the device for a node only where the daemon of that very node speaks with it', async () => {
    const { rig, endpoint, driver, driverWith } = await bench();
    rig.pve.qdevice = { votes: 2, flags: 'A,V,NMW' };
    rig.pve.qdeviceDown.add('alpha');
    const deviceOf = async (from: typeof driver, node: string) =>
      (await from.describe(node)).facts.quorum?.qdevice;
    expect(await deviceOf(driver, 'alpha')).toMatchObject({ votes: 2, alive: false });
    expect(await deviceOf(driver, 'beta')).toMatchObject({ votes: 2, alive: true, voting: true });
    const [alpha = '', beta = ''] = endpoint.urls;
    const [first = '', second = ''] = endpoint.fingerprints;
    const some = driverWith({}, { urls: [alpha, beta], fingerprints: [first, second] });
    expect(await deviceOf(some, 'gamma')).toMatchObject({ votes: 2, alive: false });
  });

  it('knows no boot without the right to read the journal', async () => {
    const { api, driver, log } = await bench();
    api.tokens[0]?.rights.set('/', new Set(['Sys.Audit', 'VM.Audit', 'Datastore.Audit']));
    expect((await driver.describe('alpha')).bootId).toBeNull();
    expect(JSON.stringify(log.lines)).toContain('Sys.Syslog');
  });

  it('skips a sleeping node and goes on with the others', async () => {
    const { rig, driver } = await bench();
    cut(rig, 'gamma');
    for (const look of [driver.describe('gamma'), driver.sample('gamma')]) {
      await expect(look).rejects.toMatchObject({ code: 'KR_NODE_ASLEEP' });
    }
    const { facts } = await driver.describe('alpha');
    expect(facts.quorum).toMatchObject({ totalVotes: 2, quorate: true });
    expect((await driver.sample('beta')).membersOnline).toEqual(['alpha', 'beta']);
  });
});

describe('sampling by the API', () => {
  it('takes the values of all nodes from one look', async () => {
    const { api, driver } = await bench();
    const samples = await Promise.all(nodes.map((node) => driver.sample(node)));
    await Promise.all(nodes.map((node) => driver.sample(node)));
    const asked = api.requests.map(({ line }) => line);
    expect(asked.filter((line) => line === 'GET /cluster/resources')).toHaveLength(1);
    expect(asked.filter((line) => line === 'GET /cluster/metrics/export')).toHaveLength(1);
    expect(asked.some((line) => line.startsWith('GET /nodes/'))).toBe(false);
    expect(samples[0]?.node).toMatchObject({ cpuCount: 8, votes: 1 });
    expect(samples[0]?.node.cpuRatio).toBeGreaterThanOrEqual(0);
    expect(samples[0]?.node.loadAverage1).not.toBeNull();
    expect(samples[0]?.node.cpuPressureSomeAvg10Ratio).toBeNull();
    const guests = samples[0]?.guests ?? [];
    expect(guests.map(({ id, state }) => [id, state])).toEqual([
      ['100', 'running'],
      ['101', 'running'],
      ['102', 'stopped'],
    ]);
    expect(guests[0]).toMatchObject({ kind: 'vm', tags: ['lab'], memoryTotalBytes: 2 ** 31 });
    expect(guests[0]?.uptimeMs).toBeGreaterThan(0);
  });
});

describe('effects by the API', () => {
  it('migrate a VM, with the name of its worker at once', async () => {
    const { rig, driver } = await bench({ timeScale: 4 });
    const deed = work('guest.migrate', '100', {
      targetNode: 'beta',
      bandwidthBytesPerSecond: 2 ** 30,
    });
    const ctx = workContext();
    const running = driver.perform(deed, ctx);
    await until(() => ctx.handles.length === 1);
    expect(placeOf(rig, '100')).toBe('alpha');
    expect((await driver.observe(deed)).postcondition).toBeNull();
    expect(await running).toMatchObject({ exitCode: 0, detail: 'qmigrate: OK' });
    expect((await driver.observe(deed)).postcondition).toBe(true);
    expect(await rig.effects()).toMatchObject([{ kind: 'qmigrate', upid: ctx.handles[0] }]);
  });

  it('follow a queued HA request to the real task, and join it again after a restart', async () => {
    const { rig, driver, driverWith } = await bench({ timeScale: 4 });
    rig.pve.ha.set('100', { autoRebalance: 0 });
    const deed = work('guest.migrate', '100', { targetNode: 'gamma' });
    const ctx = workContext();
    const lost = driver.perform(deed, ctx);
    await until(() => ctx.handles.length > 0);
    const again = workContext();
    const joined = await driverWith().attach?.(deed, ctx.handles[0] ?? '', again);
    expect(joined).toMatchObject({ exitCode: 0, detail: 'qmigrate: OK' });
    expect(await lost).toMatchObject({ exitCode: 0 });
    expect(ctx.handles.map((handle) => handle.split(':')[5])).toEqual(['hamigrate', 'qmigrate']);
    expect((await rig.effects()).map(({ kind }) => kind)).toEqual(['hamigrate']);
  });

  it('call a migration back that runs, by this process or an earlier one', async () => {
    for (const isJoined of [false, true]) {
      const { rig, api, driver, driverWith } = await bench({ timeScale: 1 });
      const deed = work('guest.migrate', '100', { targetNode: 'beta' });
      const ctx = workContext();
      const running = driver.perform(deed, ctx);
      await until(() => ctx.handles.length === 1);
      const [upid = ''] = ctx.handles;
      expect(upid.split(':')[7]).toBe('kr@pve!kernreaktor');
      const again = workContext();
      const after = driverWith();
      const joined = isJoined ? after.attach?.(deed, upid, again) : running;
      (isJoined ? again : ctx).abort.abort();
      const { exitCode, detail } = (await joined) ?? {};
      expect({ exitCode, detail }).toEqual({
        exitCode: 1,
        detail: 'asked to end in time; qmigrate: migration aborted',
      });
      await running;
      const watcher = isJoined ? after : driver;
      expect(await watcher.observe(deed)).toMatchObject({ postcondition: false });
      expect(placeOf(rig, '100')).toBe('alpha');
      const told = api.requests.filter(({ line }) => line.startsWith('DELETE '));
      expect(told).toMatchObject([{ line: `DELETE /nodes/alpha/tasks/${upid}` }]);
    }
  });

  it('call back what HA carries out only with the right to, and never what it has queued', async () => {
    const { rig, api, driver } = await bench({ timeScale: 1 });
    rig.pve.ha.set('100', { autoRebalance: 0 });
    const queued = workContext();
    const first = driver.perform(work('guest.migrate', '100', { targetNode: 'beta' }), queued);
    rig.pve.haQueueMs = 2_000;
    await until(() => queued.handles.length === 1);
    queued.abort.abort();
    expect(await first).toMatchObject({ exitCode: null, detail: queuedForGood });
    expect(api.requests.some(({ line }) => line.startsWith('DELETE '))).toBe(false);
    await until(() => rig.pve.tasks.some(({ type }) => type === 'qmigrate'));
    const [real] = rig.pve.tasks.filter(({ type }) => type === 'qmigrate');
    const handle = rig.pve.tasks[0]?.upid ?? '';
    const join = async () => {
      const ctx = workContext();
      const joined = driver.attach?.(
        work('guest.migrate', '100', { targetNode: 'beta' }),
        handle,
        ctx,
      );
      await until(() => ctx.handles.length === 1);
      ctx.abort.abort();
      return joined;
    };
    const refused = await join();
    expect(refused).toMatchObject({ exitCode: null });
    expect(refused?.detail).toContain('(/nodes/alpha, Sys.Modify)');
    expect(real?.exitStatus).toBeNull();
    const all = api.tokens[0]?.rights.get('/') ?? new Set<string>();
    api.tokens[0]?.rights.set('/', new Set([...all, 'Sys.Modify']));
    expect(await join()).toMatchObject({ exitCode: 1 });
    expect(real?.exitStatus).toBe('migration aborted');
    expect(placeOf(rig, '100')).toBe('alpha');
  });

  it('find the worker of a daemon that ended before it heard its name, and no other', async () => {
    const { rig, driver, driverWith } = await bench({ timeScale: 20 });
    const startedAtWallMs = realClock.wallMs();
    const deed = work('guest.restart', '100');
    const ctx = workContext();
    const running = driver.perform(deed, ctx);
    await until(() => ctx.handles.length === 1);
    const [upid = ''] = ctx.handles;
    const after = driverWith();
    const trace = { startedAtWallMs, otherHandles: new Set<string>() };
    expect(await after.find?.(deed, trace, ctx.signal)).toBe(upid);
    await running;
    const given = new AbortController();
    given.abort();
    const seek = (wanted: Work, change: Partial<typeof trace> = {}, by = after) =>
      by.find?.(wanted, { ...trace, ...change }, given.signal);
    expect(await seek(deed)).toBe(upid);
    expect(await seek(deed, { otherHandles: new Set([upid]) })).toBeNull();
    expect(await seek(deed, { startedAtWallMs: startedAtWallMs + 90_000 })).toBeNull();
    expect(await seek(work('guest.restart', '101'))).toBeNull();
    expect(await seek(work('guest.stop', '100'))).toBeNull();
    expect(await rig.effects()).toHaveLength(1);
    // Somebody else's restart of the same guest, at the same time.
    await rig.run('alpha', 'qm', 'reboot', '100');
    expect(rig.pve.tasks.map(({ user }) => user)).toEqual(['kr@pve!kernreaktor', 'root@pam']);
    expect(await seek(deed, { otherHandles: new Set([upid]) })).toBeNull();
  });

  it('refuse what the tools on the host refuse, before anything begins', async () => {
    const { rig, driver } = await bench();
    const refusal = async (deed: Work): Promise<string> =>
      (await driver.perform(deed, workContext())).detail;
    const move = (id: string, args = {}) =>
      work('guest.migrate', id, { targetNode: 'beta', ...args });
    expect(await refusal(move('101'))).toContain('cannot move live');
    expect(await refusal(move('101', { online: false }))).toContain('kr_restart');
    rig.pve.extra.set('100', { hostpci0: '0000:01:00' });
    expect(await refusal(move('100'))).toContain('hostpci0');
    rig.pve.extra.set('100', { memory: '30000' });
    expect(await refusal(move('100'))).toContain('are in use there');
    rig.pve.extra.set('100', { lock: 'backup' });
    expect(await refusal(work('guest.stop', '100'))).toContain('locked (backup)');
    expect(await refusal(work('guest.start', '999'))).toContain('not on this node');
    rig.pve.extra.clear();
    rig.pve.ha.set('100', { autoRebalance: null });
    rig.pve.options = { crs: 'ha-auto-rebalance=1' };
    expect(await refusal(move('100'))).toContain('balancer of the HA scheduler');
    expect(await rig.effects()).toEqual([]);
  });

  it('scale what is live, and see by /pending that a value only waits', async () => {
    const { rig, driver } = await bench();
    const args = { cpuCount: 4, cpuLimit: 2, memoryBytes: 4 * 2 ** 30 };
    const deed = work('guest.scale', '100', args);
    expect(await driver.perform(deed, workContext())).toMatchObject({ exitCode: 0 });
    expect(await driver.observe(deed)).toMatchObject({ postcondition: true });
    expect(rig.live.world.guests.get('lab/100')).toMatchObject(args);
    const more = work('guest.scale', '100', { memoryBytes: 6 * 2 ** 30 });
    // The configuration changes between the plan and the request: what was live no longer is.
    rig.pve.apiFaultOf = ({ line }) => {
      if (line.startsWith('PUT ')) rig.pve.extra.set('100', { hotplug: 'disk' });
      return undefined;
    };
    expect(await driver.perform(more, workContext())).toMatchObject({ exitCode: 0 });
    expect(await driver.observe(more)).toEqual({
      postcondition: false,
      detail: 'memory waits for the next start of the guest',
    });
  });

  it('name the missing privilege in the words of Proxmox', async () => {
    const { rig, api, driver } = await bench();
    const rights = new Set(['Sys.Audit', 'VM.Audit', 'Datastore.Audit', 'VM.Migrate']);
    api.tokens[0]?.rights.set('/', rights);
    const result = await driver.perform(work('guest.start', '102'), workContext());
    expect(result).toMatchObject({ exitCode: 1 });
    expect(result.detail).toContain('Permission check failed (/vms/102, VM.PowerMgmt)');
    expect(await rig.effects()).toEqual([]);
  });

  it('move a container without a precheck where PVE 8 has none, and a VM never', async () => {
    const { rig, driver } = await bench();
    rig.pve.extra.set('101', { tags: 'kr_restart' });
    rig.pve.onChange();
    rig.pve.apiFaultOf = ({ line }) =>
      line.startsWith('GET ') && line.endsWith('/migrate')
        ? { kind: 'fail', exitCode: 501, stderr: 'not implemented' }
        : undefined;
    const vm = work('guest.migrate', '100', { targetNode: 'beta' });
    expect((await driver.perform(vm, workContext())).detail).toContain('501');
    const container = work('guest.migrate', '101', { targetNode: 'beta', online: false });
    expect(await driver.perform(container, workContext())).toMatchObject({ exitCode: 0 });
    expect(placeOf(rig, '101')).toBe('beta');
  });

  it('never send a start twice: one without an answer is unclear, and stays so', async () => {
    const { rig, api, driver } = await bench();
    rig.pve.apiFaultOf = ({ line }) => (line.startsWith('POST ') ? { kind: 'hang' } : undefined);
    const deed = work('guest.start', '102');
    const ctx = workContext();
    const running = driver.perform(deed, ctx);
    await until(() => api.requests.some(({ line }) => line.startsWith('POST ')));
    ctx.abort.abort();
    expect(await running).toMatchObject({ exitCode: null });
    expect((await driver.observe(deed)).postcondition).toBeNull();
    expect(api.requests.filter(({ line }) => line.startsWith('POST '))).toHaveLength(1);
  });
});

describe('a request that pveproxy passed on to another member', () => {
  const failing = (rig: Rig, status: number): void => {
    rig.pve.apiFaultOf = ({ line }) =>
      line.startsWith('POST ')
        ? { kind: 'fail', exitCode: status, stderr: 'Connection timed out' }
        : undefined;
  };

  it.each([596, 597, 598, 599])('may have begun its work when it fails with %i', async (status) => {
    const { rig, driver, driverWith } = await bench();
    failing(rig, status);
    const stop = work('guest.stop', '100');
    expect(await driver.perform(stop, workContext())).toMatchObject({ exitCode: null });
    expect((await driver.observe(stop)).postcondition).toBeNull();
    for (const guest of rig.live.world.guests.values()) guest.state = 'stopped';
    const off = driverWith({ declared: { alpha: idle } });
    const told = await off.perform(work('node.shutdown', 'alpha'), workContext());
    expect(told.exitCode).toBeNull();
    expect(told.detail).toContain(`${status}`);
    expect(told.detail).not.toContain('not started');
  });

  it('never left for it when that failed with 595', async () => {
    const { rig, driver } = await bench();
    failing(rig, 595);
    const stop = work('guest.stop', '100');
    expect(await driver.perform(stop, workContext())).toMatchObject({ exitCode: 1 });
    expect((await driver.observe(stop)).postcondition).toBe(false);
  });
});

describe('reaching the cluster', () => {
  it('asks the next member when one is off, for changes too', async () => {
    const { rig, driver } = await bench();
    rig.live.change((world) => {
      const [guest, beta] = [world.guests.get('lab/102'), world.nodes.get('lab/beta')];
      if (!guest || !beta) throw new Error('the rig lacks its guest or node');
      guest.node.guests = guest.node.guests.filter((other) => other !== guest);
      guest.node = beta;
      beta.guests.push(guest);
    });
    cut(rig, 'alpha');
    const start = work('guest.start', '102', {}, 'beta');
    expect(await driver.perform(start, workContext())).toMatchObject({ exitCode: 0 });
    expect((await rig.effects()).map(({ kind }) => kind)).toEqual(['qmstart']);
  });

  it('shows its token to nobody whose certificate is not the pinned one', async () => {
    const { api, driverWith } = await bench();
    const stranger = driverWith({}, { fingerprints: nodes.map(() => 'ab'.repeat(32)) });
    await expect(stranger.sample('alpha')).rejects.toMatchObject({ code: 'KR_PVE_CERTIFICATE' });
    expect(api.requests).toEqual([]);
  });

  it('believes an authority instead of a pin', async () => {
    const { api, endpoint, driverWith } = await bench();
    const ca = api.certificates['alpha']?.cert ?? '';
    const [url = ''] = endpoint.urls;
    const driver = driverWith({}, { urls: [url], fingerprints: [], ca });
    expect((await driver.sample('alpha')).guests).toHaveLength(3);
    const other = driverWith({}, { urls: [url], fingerprints: [], ca: null });
    await expect(other.sample('alpha')).rejects.toMatchObject({ code: 'KR_PVE_CERTIFICATE' });
  });

  it('says that a wrong token is a wrong token', async () => {
    const { driverWith } = await bench();
    const driver = driverWith({}, { tokenSecret: 'wrong' });
    await expect(driver.sample('alpha')).rejects.toMatchObject({
      code: 'KR_PVE_TOKEN',
      message: '401 invalid token value!',
    });
  });
});

describe('power by the API', () => {
  it('goes by two other members, and off is what both see', async () => {
    const { rig, driverWith } = await bench();
    const driver = driverWith({ declared: { alpha: idle } });
    empty(rig);
    const off = work('node.shutdown', 'alpha');
    const result = await driver.perform(off, workContext());
    expect(result).toMatchObject({ exitCode: 0 });
    expect(result.detail).toBe('confirmed by beta and gamma, told to shut down');
    await until(() => rig.live.world.nodes.get('lab/alpha')?.power === 'off');
    expect(await driver.observe(off)).toMatchObject({ postcondition: true });
    const sent = await driver.waker.wake(
      { node: 'alpha', macs: [], broadcasts: [] },
      new AbortController().signal,
    );
    expect(sent.detail).toMatch(/^beta sent a magic packet to 02:/);
    await until(() => rig.live.world.nodes.get('lab/alpha')?.power === 'on');
    expect((await driver.observe(off)).postcondition).toBeNull();
    expect((await rig.effects()).map(({ kind, id }) => [kind, id])).toEqual([
      ['shutdown', 'alpha'],
      ['wakeonlan', 'alpha'],
    ]);
  });

  const refusals: [string, (rig: Rig) => void, string][] = [
    ['a guest runs there', () => undefined, 'beta sees 2 guests run on alpha'],
    [
      'a second member is missing',
      (rig) => {
        empty(rig);
        cut(rig, 'gamma');
      },
      'needs 2 other members that answer, 1 did',
    ],
    [
      'a guest is locked',
      (rig) => {
        empty(rig);
        rig.pve.extra.set('100', { lock: 'backup' });
      },
      'beta sees guest 100 locked (backup)',
    ],
    [
      'HA is in use',
      (rig) => {
        empty(rig);
        rig.pve.ha.set('100', { autoRebalance: null });
      },
      'only the daemon on the host can put its node into maintenance',
    ],
    [
      'the second member cannot tell its guests',
      (rig) => {
        empty(rig);
        rig.pve.apiFaultOf = ({ node, line }) =>
          node === 'gamma' && line.endsWith('/lxc')
            ? { kind: 'fail', exitCode: 500, stderr: 'lxc: no answer' }
            : undefined;
      },
      'lxc: no answer',
    ],
  ];
  it.each(refusals)('stays on when %s', async (_, arrange, why) => {
    const { rig, driverWith } = await bench();
    const driver = driverWith({ declared: { alpha: idle } });
    arrange(rig);
    const result = await driver.perform(work('node.shutdown', 'alpha'), workContext());
    expect(result).toMatchObject({ exitCode: null, detail: expect.stringContaining(why) });
    expect(await rig.effects()).toEqual([]);
    expect(rig.live.world.nodes.get('lab/alpha')?.power).toBe('on');
  });

  it('stays on when nobody has declared what the node does', async () => {
    const { rig, driver } = await bench();
    empty(rig);
    const result = await driver.perform(work('node.shutdown', 'alpha'), workContext());
    expect(result.detail).toContain('nobody has declared what alpha does');
    expect(await rig.effects()).toEqual([]);
  });

  it('does not believe one member alone that a node is off', async () => {
    const { rig, endpoint, driverWith } = await bench();
    cut(rig, 'alpha');
    const [, , third = ''] = endpoint.urls;
    const driver = driverWith({}, { urls: [third], fingerprints: endpoint.fingerprints.slice(2) });
    const off = work('node.shutdown', 'alpha');
    expect(await driver.observe(off)).toEqual({
      postcondition: null,
      detail: 'not online for gamma',
    });
  });
});
