import { describe, expect, it } from 'vitest';
import { NodeStatus } from '../../../../daemon/hypervisor/proxmox/answers.ts';
import { type Moving, obstacleThere } from '../../../../daemon/hypervisor/proxmox/target-check.ts';

const gibibyte = 2 ** 30;
const xeon = 'Intel(R) Xeon(R) E-2236 CPU @ 3.40GHz';
const n100 = 'Intel(R) N100';
const epyc = 'AMD EPYC 7302P 16-Core Processor';

type Change = { model?: string | null; version?: string; used?: number };
const status = ({ model = xeon, version = '9.2.2', used = 8 * gibibyte }: Change = {}) =>
  NodeStatus.parse({
    pveversion: `pve-manager/${version}/0123456789abcdef`,
    uptime: 1,
    loadavg: ['0', '0', '0'],
    memory: { total: 32 * gibibyte, used },
    cpuinfo: { cpus: 4, model },
  });
const moving = (
  config: Record<string, string>,
  target: Change = {},
  more: Partial<Moving> = {},
): Moving => ({
  type: 'qemu',
  isRunning: true,
  config: new Map(Object.entries({ memory: '4096', cpu: 'x86-64-v2-AES', ...config })),
  source: status(),
  target: status(target),
  ...more,
});

describe('what the target of a migration says of itself', () => {
  it.each<[string, Moving, string]>([
    ['another vendor', moving({}, { model: epyc }), 'cannot move from'],
    ['a cpu that nobody can tell', moving({}, { model: null }), 'cannot be told'],
    ['host on another model', moving({ cpu: 'host' }, { model: n100 }), 'cpu type host'],
    ['host with flags', moving({ cpu: 'host,flags=+aes' }, { model: n100 }), 'cpu type host'],
    ['a custom type', moving({ cpu: 'cputype=custom-x' }, { model: n100 }), 'custom-x'],
    ['an older release', moving({}, { version: '9.1.10' }), 'the target runs pve-manager/9.1.10'],
    ['a shorter version', moving({}, { version: '9.2' }), 'the target runs'],
    ['a release that nobody can tell', moving({}, { version: '?' }), 'version of source or target'],
    [
      'a source of which nobody can tell it',
      moving({}, {}, { source: status({ version: '?' }) }),
      'version of source or target',
    ],
    ['no memory left', moving({}, { used: 28 * gibibyte + 1 }), 'are in use there'],
    [
      'no memory left for a container, whatever its cpu',
      moving({}, { used: 30 * gibibyte, model: epyc }, { type: 'lxc' }),
      'are in use there',
    ],
  ])('keeps a running guest at home: %s', (_, asked, why) => {
    expect(obstacleThere(asked)).toContain(why);
  });

  it.each<[string, Moving]>([
    ['to another model of the vendor', moving({}, { model: n100 })],
    ['as host between equals', moving({ cpu: 'host' })],
    [
      'between old Opterons',
      moving(
        {},
        { model: 'Quad-Core AMD Opteron(tm) Processor 2378' },
        { source: status({ model: 'AMD Opteron(tm) Processor 6128' }) },
      ),
    ],
    ['to a newer release', moving({}, { version: '9.10' })],
    ['to a later patch', moving({}, { version: '9.2.2.1' })],
    ['into the last byte', moving({}, { used: 28 * gibibyte })],
    ['as a container across vendors', moving({}, { model: epyc }, { type: 'lxc' })],
    ['while it is off', moving({}, { model: epyc, used: 32 * gibibyte }, { isRunning: false })],
  ])('lets a guest go %s', (_, asked) => {
    expect(obstacleThere(asked)).toBeUndefined();
  });
});
