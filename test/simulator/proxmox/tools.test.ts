import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  ClusterStatus,
  GuestList,
  NodeStatus,
  Pending,
  Resources,
  TaskList,
} from '../../../daemon/hypervisor/proxmox/answers.ts';
import { HaCurrent, ManagerStatus } from '../../../daemon/hypervisor/proxmox/ha.ts';
import { MigrateCheck } from '../../../daemon/hypervisor/proxmox/migrate-check.ts';
import { parsePvecmStatus } from '../../../daemon/hypervisor/proxmox/quorum.ts';
import { parseActiveTasks } from '../../../daemon/hypervisor/proxmox/tasks.ts';
import { crash } from '../../../simulator/world/node-effects.ts';
import { runTool } from '../../../daemon/command/sandbox.ts';
import { until } from '../../support/servers.ts';
import { proxmoxRig, type Rig } from './rig.ts';

let rig: Rig | undefined;
afterEach(async () => {
  await rig?.close();
  rig = undefined;
});
const start = async (options = {}): Promise<Rig> => {
  rig = await proxmoxRig(options);
  return rig;
};

const get = async (at: Rig, path: string, ...argv: string[]): Promise<unknown> => {
  const { stdout, stderr, exitCode } = await at.run('alpha', 'pvesh', 'get', path, ...argv);
  expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 });
  return JSON.parse(stdout);
};

const placeOf = ({ live }: Rig, id: string) => live.world.guests.get(`lab/${id}`)?.node.spec.node;

describe('the fake pvesh', () => {
  it('answers every path in the shape that the parsers of the driver read', async () => {
    const at = await start();
    at.pve.ha.set('100', { autoRebalance: 0 });
    expect(Resources.parse(await get(at, '/cluster/resources')).guests).toHaveLength(3);
    const status = ClusterStatus.parse(await get(at, '/cluster/status'));
    expect(status.cluster?.quorate).toBe(true);
    expect(NodeStatus.parse(await get(at, '/nodes/alpha/status')).cpuinfo.cpus).toBe(8);
    const containers = GuestList.parse(await get(at, '/nodes/alpha/lxc'));
    expect(containers).toMatchObject([{ vmid: '101', pressurecpusome: 0 }]);
    const pending = Pending.parse(await get(at, '/nodes/alpha/qemu/100/pending'));
    expect(pending).toContainEqual({ key: 'cores', value: '4', pending: null, delete: false });
    const check = MigrateCheck.parse(await get(at, '/nodes/alpha/lxc/101/migrate'));
    expect(check.allowed).toEqual(['beta', 'gamma']);
    const manager = ManagerStatus.parse(await get(at, '/cluster/ha/status/manager_status'));
    expect(manager.lrm_status['beta']?.mode).toBe('active');
    const services = HaCurrent.parse(await get(at, '/cluster/ha/status/current'));
    expect(services).toMatchObject([{ sid: 'vm:100', 'auto-rebalance': false }]);
  });

  it('fails with the exit code of the real one: unknown path 1, missing guest 2', async () => {
    const at = await start();
    const unknown = await at.run('alpha', 'pvesh', 'get', '/nope');
    expect(unknown).toMatchObject({ exitCode: 1, stdout: '' });
    const missing = await at.run('alpha', 'pvesh', 'get', '/nodes/alpha/qemu/999/pending');
    expect(missing.exitCode).toBe(2);
    expect(missing.stderr).toContain('does not exist');
  });

  it('cannot reach a node that sleeps', async () => {
    const at = await start();
    const beta = at.live.world.nodes.get('lab/beta');
    at.live.change((world) => beta && crash(world, beta));
    const { exitCode, stderr } = await at.run('alpha', 'pvesh', 'get', '/nodes/beta/status');
    expect(exitCode).toBe(255);
    expect(stderr).toContain('No route to host');
  });

  it('is a single node without cluster and votes where the world gives it none', async () => {
    const at = await start({ votes: 0 });
    expect(ClusterStatus.parse(await get(at, '/cluster/status')).cluster).toBeNull();
    const { exitCode, stdout, stderr } = await at.run('alpha', 'pvecm', 'status');
    expect({ exitCode, votes: parsePvecmStatus(stdout) }).toEqual({ exitCode: 2, votes: null });
    expect(stderr).toContain('is this node part of a cluster?');
  });
});

describe('the fake pvecm', () => {
  it('counts the vote of a quorum device and blocks without quorum', async () => {
    const at = await start();
    at.pve.qdevice = { votes: 1, flags: 'A,V,NMW' };
    const status = parsePvecmStatus((await at.run('alpha', 'pvecm', 'status')).stdout);
    expect(status).toMatchObject({ expectedVotes: 4, totalVotes: 4, qdeviceVotes: 1 });
    at.pve.qdevice = null;
    at.live.change((world) => {
      for (const name of ['beta', 'gamma']) {
        const node = world.nodes.get(`lab/${name}`);
        if (node) crash(world, node);
      }
    });
    const alone = parsePvecmStatus((await at.run('alpha', 'pvecm', 'status')).stdout);
    expect(alone).toMatchObject({ isQuorate: false, totalVotes: 1, quorumVotes: 2 });
    const start100 = await at.run('alpha', 'qm', 'start', '102');
    expect(start100).toMatchObject({ exitCode: 255 });
    expect(start100.stderr).toContain('no quorum');
    expect(await at.effects()).toEqual([]);
  });
});

describe('the fake qm and pct', () => {
  it('migrate as a task that stands in the list while it works', async () => {
    const at = await start({ timeScale: 5 });
    const migrating = at.run('alpha', 'qm', 'migrate', '100', 'beta', '--online', '1');
    const active = join(at.trees['alpha']?.root ?? '', 'var/log/pve/tasks/active');
    const listed = async () => parseActiveTasks(await readFile(active, 'utf8'));
    await until(async () => (await listed()).length === 1);
    const [task] = await listed();
    expect(task).toMatchObject({ type: 'qmigrate', id: '100', isRunning: true });
    const locked = await at.run('alpha', 'qm', 'stop', '100');
    expect(locked.stderr).toContain('VM is locked (migrate)');
    expect((await migrating).exitCode).toBe(0);
    expect(placeOf(at, '100')).toBe('beta');
    expect(await listed()).toMatchObject([{ isRunning: false, exitStatus: 'OK' }]);
    expect(await at.effects()).toMatchObject([
      { node: 'alpha', kind: 'qmigrate', id: '100', upid: task?.upid },
    ]);
  });

  it.each([
    ['a running VM without --online', ['qm', 'migrate', '100', 'beta'], '--online'],
    ['a container live', ['pct', 'migrate', '101', 'beta', '--online', '1'], 'not implemented'],
    ['a running container in place', ['pct', 'migrate', '101', 'beta'], '--restart'],
    ['the start of what runs', ['qm', 'start', '100'], 'already running'],
  ] as const)('refuse %s', async (_, [tool, ...argv], why) => {
    const at = await start();
    const { exitCode, stderr } = await at.run('alpha', tool, ...argv);
    expect(exitCode).toBe(255);
    expect(stderr).toContain(why);
    expect(placeOf(at, '100')).toBe('alpha');
  });

  it('only queue the migration of an HA guest, and start it later under another name', async () => {
    const at = await start();
    at.pve.ha.set('101', { autoRebalance: null });
    const { exitCode } = await at.run('alpha', 'pct', 'migrate', '101', 'beta', '--restart', '1');
    expect(exitCode).toBe(0);
    await until(() => placeOf(at, '101') === 'beta');
    await until(() => at.pve.tasks.every(({ exitStatus }) => exitStatus !== null));
    const tasks = TaskList.parse(await get(at, '/nodes/alpha/tasks', '--vmid', '101'));
    expect(tasks.map(({ type }) => type)).toEqual(['hamigrate', 'vzmigrate']);
    expect((await at.effects()).map(({ kind }) => kind)).toEqual(['hamigrate']);
  });

  it('set what is live at once and leave the rest pending', async () => {
    const at = await start();
    at.pve.extra.set('100', { hotplug: 'network,disk' });
    expect((await at.run('alpha', 'qm', 'set', '100', '--cpulimit', '1.5')).exitCode).toBe(0);
    expect((await at.run('alpha', 'qm', 'set', '100', '--memory', '4096')).exitCode).toBe(0);
    const guest = at.live.world.guests.get('lab/100');
    expect(guest).toMatchObject({ cpuLimit: 1.5, memoryBytes: 2 * 2 ** 30 });
    const pending = Pending.parse(await get(at, '/nodes/alpha/qemu/100/pending'));
    expect(pending.find(({ key }) => key === 'memory')).toMatchObject({
      value: '2048',
      pending: '4096',
    });
  });
});

describe('faults', () => {
  it('hang a tool until it is killed, delay it, or fail it as asked', async () => {
    const at = await start();
    at.pve.faultOf = ({ tool }) => (tool === 'qm' ? { kind: 'hang' } : undefined);
    const path = at.tools['alpha']?.qm ?? '';
    const stop = new AbortController();
    const hanging = runTool({
      path,
      argv: ['start', '102'],
      env: {},
      timeoutMs: 20_000,
      signal: stop.signal,
    });
    await until(() => at.server.calls.length === 1);
    stop.abort();
    expect(await hanging).toMatchObject({ killedBy: 'signal' });
    at.pve.faultOf = () => ({ kind: 'delay', delayMs: 5 });
    expect((await at.run('alpha', 'pvesh', 'get', '/cluster/options')).exitCode).toBe(0);
    at.pve.faultOf = () => ({ kind: 'fail', exitCode: 29, stderr: 'no route' });
    expect(await at.run('alpha', 'pct', 'start', '101')).toMatchObject({
      exitCode: 29,
      stderr: 'no route\n',
    });
    expect(await at.effects()).toEqual([]);
  });
});

describe('power', () => {
  it('goes by pvesh and comes back by pvenode of another node', async () => {
    const at = await start();
    const off = ['create', '/nodes/beta/status', '--command', 'shutdown'];
    expect((await at.run('alpha', 'pvesh', ...off)).exitCode).toBe(0);
    const power = () => at.live.world.nodes.get('lab/beta')?.power;
    await until(() => power() === 'off');
    const own = await at.run('alpha', 'pvenode', 'wakeonlan', 'alpha');
    expect(own.stderr).toContain('cannot wake my self');
    expect((await at.run('alpha', 'pvenode', 'wakeonlan', 'beta')).stdout).toContain(':');
    await until(() => power() === 'on');
    expect((await at.effects()).map(({ kind }) => kind)).toEqual(['shutdown', 'wakeonlan']);
  });

  it('can be kept away from by HA maintenance', async () => {
    const at = await start();
    const command = (what: string) =>
      at.run('alpha', 'ha-manager', 'crm-command', 'node-maintenance', what, 'beta');
    await command('enable');
    const manager = ManagerStatus.parse(await get(at, '/cluster/ha/status/manager_status'));
    expect(manager.manager_status.node_status['beta']).toBe('maintenance');
    await command('disable');
    expect(at.pve.maintenance.size).toBe(0);
  });
});
