import { describe, expect, it } from 'vitest';
import {
  bytesOf,
  cpuCountOf,
  cpuLimitOf,
  Instance,
} from '../../../../daemon/hypervisor/lxd/answers.ts';
import {
  factsOf,
  guestIdOf,
  type Host,
  instanceNameOf,
  noPressures,
  readingOf,
  sampleOf,
} from '../../../../daemon/hypervisor/lxd/guests.ts';

const alone: Host = { node: 'box', isClustered: false, cpuCount: 8, memoryBytes: 16e9 };
const clustered: Host = { ...alone, isClustered: true };

const instance = (given: object = {}): Instance =>
  Instance.parse({
    name: 'web',
    type: 'container',
    status: 'Running',
    last_used_at: '2026-01-01T00:00:00Z',
    expanded_config: { 'limits.cpu': '2', 'limits.memory': '1GiB', 'user.kr_tags': 'a, kr_park;b' },
    expanded_devices: { root: { type: 'disk', path: '/', pool: 'default', size: '10GiB' } },
    state: {
      status: 'Running',
      cpu: { usage: 5e9 },
      memory: { usage: 100 },
      network: {
        lo: { type: 'loopback', counters: { bytes_received: 9e9, bytes_sent: 9e9 } },
        eth0: { type: 'broadcast', counters: { bytes_received: 1_000, bytes_sent: 500 } },
      },
    },
    ...given,
  });

const sampled = (now: Instance, before?: Instance, elapsedMs = 10_000) =>
  sampleOf(now, {
    host: alone,
    wallMs: Date.parse('2026-01-01T00:01:00Z'),
    previous: before && readingOf(before, 0),
    now: readingOf(now, elapsedMs),
    pressures: noPressures,
  });

describe('a sample of an instance', () => {
  it('knows no rate at the first look', () => {
    expect(sampled(instance())).toMatchObject({ cpuRatio: null, networkInBytesPerSecond: null });
  });

  it('tells rates between two looks, of its own cpus and without the loopback', () => {
    const later = instance({
      state: {
        status: 'Running',
        cpu: { usage: 15e9 },
        memory: { usage: 2 ** 20, swap_usage: 7 },
        network: {
          lo: { type: 'loopback', counters: { bytes_received: 99e9, bytes_sent: 99e9 } },
          eth0: { type: 'broadcast', counters: { bytes_received: 11_000, bytes_sent: 1_500 } },
        },
      },
    });
    expect(sampled(later, instance())).toMatchObject({
      id: 'box.web',
      state: 'running',
      cpuRatio: 0.5,
      cpuCount: 2,
      memoryUsedBytes: 2 ** 20,
      memoryTotalBytes: 2 ** 30,
      swapUsedBytes: 7,
      networkInBytesPerSecond: 1_000,
      networkOutBytesPerSecond: 100,
      uptimeMs: 60_000,
      tags: ['a', 'kr_park', 'b'],
    });
  });

  it('measures against a hard allowance where it is tighter than the cpus', () => {
    const config = { 'limits.cpu': '4', 'limits.cpu.allowance': '50ms/100ms' };
    const later = instance({
      expanded_config: config,
      state: { status: 'Running', cpu: { usage: 7.5e9 } },
    });
    expect(sampled(later, instance())).toMatchObject({ cpuRatio: 0.5, cpuCount: 4 });
  });

  it('reads a usage below 0 and a counter that went back as unknown', () => {
    const unknown = instance({ state: { status: 'Running', cpu: { usage: -1 } } });
    expect(sampled(unknown, instance())).toMatchObject({ cpuRatio: null, memoryUsedBytes: null });
    const reset = instance({ state: { status: 'Running', cpu: { usage: 1 } } });
    expect(sampled(reset, instance()).cpuRatio).toBeNull();
  });

  it('measures nothing of one that is stopped, and does not guess at strange states', () => {
    const stopped = instance({
      status: 'Stopped',
      state: { status: 'Stopped', memory: { usage: 0 } },
    });
    expect(sampled(stopped, instance())).toMatchObject({
      state: 'stopped',
      cpuRatio: null,
      memoryUsedBytes: null,
      uptimeMs: null,
    });
    expect(sampled(instance({ status: 'Error' })).state).toBe('unknown');
    expect(sampled(instance({ status: 'Frozen' })).state).toBe('paused');
  });

  it('falls to the size of the host where no limit is set', () => {
    const free = instance({ expanded_config: {} });
    expect(sampled(free)).toMatchObject({ cpuCount: 8, memoryTotalBytes: 16e9 });
  });
});

describe('the id of an instance', () => {
  it.each([
    [alone, { name: 'web', project: 'default' }, 'box.web'],
    [alone, { name: 'web', project: 'lab' }, 'box.lab:web'],
    [clustered, { name: 'web', project: 'default' }, 'web'],
    [clustered, { name: 'web', project: 'lab' }, 'lab:web'],
  ])('leads back to it', (host, named, id) => {
    expect(guestIdOf(host, named)).toBe(id);
    expect(instanceNameOf(host, id)).toEqual({ ok: true, ...named });
  });

  it.each([
    'web',
    'other.web',
    'box.',
    'box.a.b',
    'box.-x',
    'box.x-',
    'box.a:b:',
    'box.:x',
    'box.1',
  ])('is refused when it names no instance of this host: %s', (id) => {
    expect(instanceNameOf(alone, id)).toMatchObject({ ok: false });
  });
});

describe('the facts of an instance', () => {
  const isShared = (pool: string): boolean => pool === 'ceph';

  it('say what binds it to its host', () => {
    const devices = {
      root: { type: 'disk', path: '/', pool: 'ceph' },
      data: { type: 'disk', path: '/data', source: '/srv/data' },
      card: { type: 'gpu' },
      eth0: { type: 'nic' },
    };
    const facts = factsOf(instance({ expanded_devices: devices }), { host: alone, isShared });
    expect(facts.localResources).toEqual(['data (disk)', 'card (gpu)']);
    expect(facts.disks).toEqual([
      { volume: 'root', storage: 'ceph', sizeBytes: null, shared: true },
      { volume: '/srv/data', storage: null, sizeBytes: null, shared: false },
    ]);
    expect(facts).toMatchObject({ cpuCount: 2, memoryMaxBytes: 2 ** 30, mayRestart: null });
    const types = ['container', 'virtual-machine'] as const;
    const cpuTypes = types.map(
      (type) => factsOf(instance({ type }), { host: alone, isShared }).cpuType,
    );
    expect(cpuTypes).toEqual([null, 'host']);
  });
});

describe("LXD's words", () => {
  it.each([
    ['512MiB', 512 * 2 ** 20],
    ['1GB', 1e9],
    ['1000', 1000],
    ['7B', 7],
    ['50%', 500],
    ['', null],
    ['much', null],
    ['5 XB', null],
    ['-5MB', null],
  ])('read %s as bytes', (text, bytes) => expect(bytesOf(text, 1_000)).toBe(bytes));

  it.each([
    ['4', 4],
    ['0-3', 4],
    ['1,3,5-6', 4],
    ['', null],
    ['3-1', null],
    ['a', null],
  ])('read %s as cpus', (text, cpus) => expect(cpuCountOf(text)).toBe(cpus));

  it.each([
    ['150ms/100ms', 1.5],
    ['50%', null],
    ['5ms/0ms', null],
    [undefined, null],
  ])('read %s as an allowance', (text, cpus) => expect(cpuLimitOf(text)).toBe(cpus));
});
