import { describe, expect, it } from 'vitest';
import { type Action, commandArgs } from '../../../../broker/contract/command.ts';
import {
  planGuest,
  planNode,
  type PlannedGuest,
} from '../../../../daemon/hypervisor/proxmox/plan.ts';
import { parseConfig } from '../../../../daemon/hypervisor/proxmox/pmxcfs.ts';

const guest = (type: 'qemu' | 'lxc', config = '', isRunning = true): PlannedGuest => ({
  vmid: '100',
  type,
  config: parseConfig(config),
  isRunning,
});
const action = (kind: Action['kind'], args: object = {}): Action =>
  ({ kind, args: commandArgs[kind].parse(args) }) as Action;
const gibibyte = 2 ** 30;
const live = 'sockets: 2\ncores: 2\nhotplug: cpu,memory\nnuma: 1';

const terms = { targetName: 'Beta', migrationBytesPerSecond: null };

describe('the tool call of a command', () => {
  const move = (args: object = {}) => action('guest.migrate', { targetNode: 'beta', ...args });
  const cases: [string, PlannedGuest, Action, string][] = [
    ['start', guest('qemu'), action('guest.start'), 'qm start 100 [qmstart,hastart]'],
    [
      'stop',
      guest('lxc'),
      action('guest.stop', { timeoutMs: 30_500 }),
      'pct shutdown 100 --timeout 31 [vzshutdown,hastop]',
    ],
    [
      'forced stop',
      guest('qemu'),
      action('guest.stop', { force: true }),
      'qm stop 100 [qmstop,hastop]',
    ],
    ['restart', guest('lxc'), action('guest.restart'), 'pct reboot 100 [vzreboot]'],
    [
      'live migration with disks and a limit',
      guest('qemu'),
      move({ withLocalDisks: true, bandwidthBytesPerSecond: 10_240 }),
      'qm migrate 100 Beta --online 1 --with-local-disks 1 --bwlimit 10 [qmigrate,hamigrate]',
    ],
    [
      'migration of a stopped VM',
      guest('qemu', '', false),
      move(),
      'qm migrate 100 Beta [qmigrate,hamigrate]',
    ],
    [
      'migration of a stopped container',
      guest('lxc', '', false),
      move(),
      'pct migrate 100 Beta [vzmigrate,hamigrate]',
    ],
    [
      'migration of a running container with consent',
      guest('lxc', 'tags: kr_restart'),
      move({ online: false }),
      'pct migrate 100 Beta --restart 1 --timeout 180 [vzmigrate,hamigrate]',
    ],
    [
      'all that is live',
      guest('qemu', live),
      action('guest.scale', {
        cpuCount: 4,
        memoryBytes: 2 * gibibyte,
        cpuLimit: 0,
        cpuUnits: 100,
      }),
      'qm set 100 --vcpus 4 --memory 2048 --cpulimit 0 --cpuunits 100 []',
    ],
    [
      'limits of a VM without hotplug',
      guest('qemu', 'hotplug: 0'),
      action('guest.scale', { cpuLimit: 1.5 }),
      'qm set 100 --cpulimit 1.5 []',
    ],
    [
      'cores of a container',
      guest('lxc'),
      action('guest.scale', { cpuCount: 3, memoryBytes: gibibyte / 2 }),
      'pct set 100 --cores 3 --memory 512 []',
    ],
  ];
  it.each(cases)('%s', (_, subject, wanted, expected) => {
    const plan = planGuest(subject, wanted, terms);
    const spelled = plan.ok
      ? `${[plan.call.tool, ...plan.call.argv].join(' ')} [${plan.call.taskTypes.join(',')}]`
      : plan.why;
    expect(spelled).toBe(expected);
  });
});

describe('what is not tried', () => {
  const scale = (args: object) => action('guest.scale', args);
  const cases: [string, PlannedGuest, Action, string][] = [
    ['cpus above sockets * cores', guest('qemu', live), scale({ cpuCount: 5 }), 'exceed its 4'],
    ['cpus without hotplug', guest('qemu', 'cores: 4'), scale({ cpuCount: 2 }), 'no cpu'],
    [
      'memory without NUMA',
      guest('qemu', 'hotplug: memory'),
      scale({ memoryBytes: gibibyte }),
      'numa 1',
    ],
    ['less than 1 GiB', guest('qemu', live), scale({ memoryBytes: gibibyte / 2 }), '1024 MiB'],
    ['parts of a MiB', guest('lxc'), scale({ memoryBytes: 1_000_000 }), 'whole MiB'],
    [
      'memory with virtiofs',
      guest('qemu', `${live}\nvirtiofs0: share`),
      scale({ memoryBytes: gibibyte }),
      'virtiofs',
    ],
    [
      'a part of a wish of which another part is not live',
      guest('qemu', 'hotplug: 0'),
      scale({ cpuLimit: 1, cpuCount: 1 }),
      'not live',
    ],
    ['balloons', guest('qemu', live), scale({ balloonBytes: gibibyte }), 'pvestatd'],
    [
      'a restart of a guest that is down',
      { ...guest('qemu'), isRunning: false },
      action('guest.restart'),
      'does not run',
    ],
    ['a snapshot', guest('qemu'), action('guest.snapshot', { name: 'a' }), 'does not perform'],
  ];
  it.each(cases)('%s', (_, subject, wanted, why) => {
    expect(planGuest(subject, wanted, terms)).toEqual({
      ok: false,
      why: expect.stringContaining(why),
    });
  });

  it('leaves a node on for everything but a power-off', () => {
    expect(planNode(action('node.reboot'), 'Alpha').ok).toBe(false);
    expect(planNode(action('node.shutdown', { mode: 'suspend' }), 'Alpha').ok).toBe(false);
    expect(planNode(action('node.shutdown'), 'Alpha')).toMatchObject({
      call: { tool: 'pvesh', argv: ['create', '/nodes/Alpha/status', '--command', 'shutdown'] },
    });
  });
});

it('limits the bandwidth of a migration by the command, else by the setting', () => {
  const limitOf = (args: object, migrationBytesPerSecond: number | null): string => {
    const wish = action('guest.migrate', { targetNode: 'beta', ...args });
    const plan = planGuest(guest('qemu'), wish, { targetName: 'Beta', migrationBytesPerSecond });
    return plan.ok ? plan.call.argv.join(' ') : plan.why;
  };
  expect(limitOf({ bandwidthBytesPerSecond: 2 ** 20 }, 2 ** 30)).toContain('--bwlimit 1024');
  expect(limitOf({}, 50 * 2 ** 20)).toContain('--bwlimit 51200');
  expect(limitOf({}, null)).not.toContain('bwlimit');
});
