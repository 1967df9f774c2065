import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { judge } from '../../../daemon/command/guards.ts';
import { LocalPolicy } from '../../../daemon/command/local-policy.ts';
import { SandboxError, type ToolRun } from '../../../daemon/command/sandbox.ts';
import { createHostHypervisor } from '../../../daemon/hypervisor/host.ts';
import { createOwnFacts } from '../../../daemon/hypervisor/own-facts.ts';
import { createSampler } from '../../../daemon/sample/sampler.ts';
import { virtualClock } from '../../support/clock.ts';
import { makeTree, server, type Tree } from '../sample/tree.ts';

let tree: Tree;
beforeEach(async () => {
  tree = await makeTree();
  await tree.write(server);
});
afterEach(() => tree.cleanUp());

const armed = 'Settings for eno1:\n\tSupports Wake-on: pumbg\n\tWake-on: g\n';

/** Answers as the installed programs do; what is not named here is not installed. */
const toolsOf = (answers: Readonly<Record<string, string>>) => {
  const asked: string[] = [];
  const run = async ({ path, argv }: ToolRun) => {
    asked.push([path, ...argv].join(' '));
    const stdout = answers[path];
    if (stdout === undefined) {
      throw new SandboxError('KR_TOOL_MISSING', `${path} is missing`, { wayOut: 'install it' });
    }
    return { exitCode: 0, killedBy: null, stdout, stderr: '' };
  };
  return { asked, run };
};

const sampler = () =>
  createSampler({ clock: virtualClock(), addresses: () => ({}), root: tree.root });

const describeWith = async (answers: Readonly<Record<string, string>>) => {
  const tools = toolsOf(answers);
  const driver = createHostHypervisor({
    node: 'pve1',
    sampler: sampler(),
    daemonVersion: '1',
    root: tree.root,
    run: tools.run,
  });
  return { tools, driver, description: await driver.describe('pve1') };
};

const living = {
  'proc/1/comm': 'systemd\n',
  'run/systemd/sessions/.keep': '',
};

const wanted = {
  commandId: '00000000-0000-7000-8000-000000000001',
  kind: 'node.shutdown',
  target: { kind: 'node', id: 'pve1' },
  args: {},
  epoch: 1,
} as const;
const grant = {
  ...wanted,
  v: 1,
  type: 'grant',
  cluster: 'home',
  node: 'pve1',
  generation: 1,
  nonce: 'a'.repeat(32),
  simulated: false,
  timeoutMs: 1_000,
  timeScale: 1,
  policyHash: null,
} as const;
/** What the rows about this machine say of a power-off by these facts. */
const denialOf = (nodeFacts: NodeFacts) =>
  judge({
    node: 'pve1',
    wanted,
    grant,
    driver: { name: 'script', version: '1', simulated: false, capabilities: ['node.shutdown'] },
    nodeFacts,
    guests: [],
    runningGuests: 0,
    uptimeMs: 3_600_000,
    membersStableForMs: 3_600_000,
    guestSample: null,
    maxEpoch: 1,
    policy: { ok: true, policy: LocalPolicy.parse({}) },
    isHeldHere: false,
    isHeldByServer: false,
    isObserveOnly: false,
    wakers: 0,
    isTargetBusy: false,
    quarantined: null,
    hasReserve: true,
  });

describe('a host without Proxmox VE', () => {
  it('tells all that a power-off asks for, so that one can be granted', async () => {
    await tree.write(living);
    const { description } = await describeWith({ '/usr/sbin/ethtool': armed });
    const { facts } = description;
    expect(facts).toMatchObject({
      roles: [],
      busy: [],
      biosVersion: 'F12',
      kernel: '6.8.12-4-pve',
      systemUuid: '4c4c4544-0051-4210-8057-c4c04f4a4d32',
      links: [{ name: 'eno1', mac: '0c:c4:7a:00:00:01', wakeOnMagic: true }],
      runningGuests: 0,
    });
    expect(denialOf(facts)).toBeNull();
  });

  it.each([
    ['a server of NFS', { 'etc/exports': '/tank 10.0.0.0/8(rw)\n' }, 'KR_PROTECTED'],
    ['a resolver', { 'proc/77/comm': 'unbound\n' }, 'KR_PROTECTED'],
    ['an upgrade', { 'proc/77/comm': 'dpkg\n' }, 'KR_BUSY'],
    [
      'somebody at work',
      { 'run/systemd/sessions/c1': 'CLASS=user\nUSER=ada\nSTATE=active\n' },
      'KR_BUSY',
    ],
    ['the UPS on battery', { 'var/log/apcupsd.status': 'STATUS   : ONBATT\n' }, 'KR_ON_BATTERY'],
  ])('is kept on by %s', async (_what, files, code) => {
    await tree.write({ ...living, ...files });
    const { description } = await describeWith({ '/usr/sbin/ethtool': armed });
    expect(denialOf(description.facts)?.code).toBe(code);
  });

  it.each([
    ['no ethtool', {}],
    ['a card that answers no packet', { '/usr/sbin/ethtool': '\tWake-on: d\n' }],
  ])('has no way back with %s', async (_what, answers) => {
    await tree.write(living);
    const { description } = await describeWith(answers);
    expect(denialOf(description.facts)?.code).toBe('KR_WAKE_DISARMED');
  });

  it('leaves unknown what it cannot see: roles without /proc, work without sessions', async () => {
    const own = createOwnFacts({
      node: 'pve1',
      root: `${tree.root}/nowhere`,
      run: toolsOf({}).run,
    });
    const facts = await own(NodeFacts.parse({ links: [] }));
    expect(facts).toMatchObject({ roles: null, busy: null, upsOnBattery: null });
    expect(denialOf(facts)?.code).toBe('KR_ROLES_UNKNOWN');
  });

  it('starts no program for a sample', async () => {
    await tree.write(living);
    const { tools, driver } = await describeWith({ '/usr/sbin/ethtool': armed });
    const before = tools.asked.length;
    expect(before).toBe(1);
    await driver.sample('pve1');
    expect(tools.asked).toHaveLength(before);
  });
});
