import { readdir, readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodeMetrics } from '../../../broker/contract/metrics.ts';
import type { Space } from '../../../daemon/sample/disks.ts';
import type { Addresses } from '../../../daemon/sample/links.ts';
import { createSampler } from '../../../daemon/sample/sampler.ts';
import { virtualClock } from '../../support/clock.ts';
import { makeTree, server, type Tree } from './tree.ts';

let tree: Tree;
beforeEach(async () => {
  tree = await makeTree();
});
afterEach(() => tree.cleanUp());

const bridge: Addresses = {
  vmbr0: [
    {
      address: '10.1.2.3',
      netmask: '255.255.254.0',
      family: 'IPv4',
      mac: '0c:c4:7a:00:00:01',
      internal: false,
      cidr: '10.1.2.3/23',
    },
  ],
};

const spaces: Record<string, Space> = {
  '/': { usedBytes: 10, totalBytes: 100 },
  '/data disk': { usedBytes: 1, totalBytes: 20 },
};

function samplerOfTree(clock = virtualClock()) {
  const asked: string[] = [];
  const statSpace = async (path: string) => {
    asked.push(path);
    return spaces[path] ?? null;
  };
  const options = { clock, root: tree.root, addresses: () => bridge, statSpace };
  return { clock, asked, sampler: createSampler(options) };
}

describe('sampler', () => {
  it('reads a whole host; a first sample has no rates, and zero stays zero', async () => {
    await tree.write(server);
    const { sampler } = samplerOfTree();
    const values = await sampler.sample();
    expect(values).toMatchObject({
      cpuRatio: null,
      ioWaitRatio: null,
      cpuCount: 2,
      loadAverage1: 0,
      loadAverage5: 0.5,
      loadAverage15: 1.25,
      memoryTotalBytes: 1_024_000,
      memoryUsedBytes: 614_400,
      swapTotalBytes: 0,
      swapUsedBytes: 0,
      diskReadBytesPerSecond: null,
      networkInBytesPerSecond: null,
      powerWatts: null,
      cpuPressureSomeAvg10Ratio: 0.015,
      cpuPressureSomeAvg60Ratio: 0,
      cpuPressureFullAvg10Ratio: null,
      ioPressureSomeAvg10Ratio: 1,
      ioPressureFullAvg60Ratio: 0.01,
      memoryPressureSomeAvg10Ratio: null,
      temperatureCelsius: 51.5,
      uptimeMs: 3_600_500,
      votes: null,
    });
    expect(Object.keys(values).sort()).toEqual(nodeMetrics.map(({ name }) => name).sort());
  });

  it('turns counters of physical devices alone into rates, over a RAPL wrap too', async () => {
    await tree.write(server);
    const { sampler, clock } = samplerOfTree();
    await sampler.sample();
    await clock.advance(5_000);
    await tree.write({
      'proc/stat': 'cpu  130 0 60 840 70 0 0 0 0 0\ncpu0 1 0 0 0 0\ncpu1 1 0 0 0 0\n',
      'proc/diskstats':
        '8 0 sda 1 0 110 0 1 0 200 0 0 0 0\n8 1 sda1 1 0 110 0 1 0 200 0 0 0 0\n' +
        '7 0 loop0 9 0 9999 0 9 0 9999 0 0 0 0\n259 0 nvme0n1 1 0 20 0 1 0 40 0 0 0 0\n',
      'proc/net/dev':
        'Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n' +
        '    lo: 99500 1 0 0 0 0 0 0 99500 1 0 0 0 0 0 0\n' +
        '  eno1: 6000 1 0 0 0 0 0 0 2000 1 0 0 0 0 0 0\n' +
        ' vmbr0: 90000 1 0 0 0 0 0 0 9000 1 0 0 0 0 0 0\n',
      'sys/class/powercap/intel-rapl:0/energy_uj': '49999150\n',
    });
    expect(await sampler.sample()).toMatchObject({
      cpuRatio: 0.4,
      ioWaitRatio: 0.2,
      diskReadBytesPerSecond: 2_048,
      diskWriteBytesPerSecond: 2_048,
      networkInBytesPerSecond: 1_000,
      networkOutBytesPerSecond: 0,
      powerWatts: 10,
    });
  });

  it('counts every local file system once and never asks a network one', async () => {
    await tree.write(server);
    const { sampler, asked } = samplerOfTree();
    const values = await sampler.sample();
    expect(values).toMatchObject({ diskUsedBytes: 11, diskTotalBytes: 120 });
    expect(asked).toEqual(['/', '/data disk']);
  });

  it('counts the free space of a ZFS pool once for all its data sets', async () => {
    await tree.write({ 'proc/self/mounts': 'rpool/a / zfs rw 0 0\nrpool/b /b zfs rw 0 0\n' });
    const space: Record<string, Space> = {
      '/': { usedBytes: 30, totalBytes: 130 },
      '/b': { usedBytes: 20, totalBytes: 120 },
    };
    const statSpace = async (path: string) => space[path] ?? null;
    const options = { clock: virtualClock(), root: tree.root, addresses: () => ({}), statSpace };
    const values = await createSampler(options).sample();
    expect(values).toMatchObject({ diskUsedBytes: 50, diskTotalBytes: 150 });
  });

  it('answers null for everything a host does not show', async () => {
    const { sampler } = samplerOfTree();
    const values = await sampler.sample();
    expect(Object.values(values).every((value) => value === null)).toBe(true);
    const { facts, bootId } = await sampler.facts();
    expect(bootId).toBeNull();
    expect(facts).toMatchObject({ cpuModel: null, kernel: null, memoryBytes: null });
  });

  it('makes an implausible value unknown instead of spoiling the sample', async () => {
    await tree.write({ 'proc/loadavg': '99999999.0 1.0 1.0 1/1 1\n', 'proc/uptime': 'x y\n' });
    const { sampler } = samplerOfTree();
    expect(await sampler.sample()).toMatchObject({
      loadAverage1: null,
      loadAverage5: 1,
      uptimeMs: null,
    });
  });

  it('takes links that do not look virtual where a container hides the hardware', async () => {
    await tree.write({ 'proc/net/dev': server['proc/net/dev']?.replace('eno1', 'eth0') ?? '' });
    const { sampler, clock } = samplerOfTree();
    await sampler.sample();
    await clock.advance(1_000);
    await tree.write({
      'proc/net/dev': '  eth0: 3000 1 0 0 0 0 0 0 2000 1\n vmbr0: 1 1 0 0 0 0 0 0 99999 1\n',
    });
    // The set of links changed, so eth0 is chosen anew and goes on from its known counter.
    expect(await sampler.sample()).toMatchObject({ networkInBytesPerSecond: 2_000 });
  });

  it('uses board sensors where no cpu sensor speaks, without their unconnected inputs', async () => {
    await tree.write({
      'sys/class/hwmon/hwmon0/name': 'nct6775\n',
      'sys/class/hwmon/hwmon0/temp1_input': '127000\n',
      'sys/class/hwmon/hwmon0/temp2_input': '38000\n',
      'sys/class/thermal/thermal_zone0/type': 'acpitz\n',
      'sys/class/thermal/thermal_zone0/temp': '27800\n',
    });
    const { sampler } = samplerOfTree();
    expect(await sampler.sample()).toMatchObject({ temperatureCelsius: 38 });
  });

  it('describes the host; a bridged card answers with the address of its bridge', async () => {
    await tree.write(server);
    await tree.link('sys/class/net/eno1/master', '../vmbr0');
    await tree.link('sys/class/net/eno1/device/driver', '../../../bus/pci/drivers/igb');
    const { facts, bootId } = await samplerOfTree().sampler.facts();
    expect(bootId).toBe('0b3f6c1e-5b51-4b0c-9a1e-2f4d5a6b7c8d');
    expect(facts).toMatchObject({
      cpuVendor: 'GenuineIntel',
      cpuModel: 'Intel(R) N100',
      microcode: '0x17',
      cpuCount: 2,
      memoryBytes: 1_024_000,
      biosVersion: 'F12',
      kernel: '6.8.12-4-pve',
      links: [
        {
          name: 'eno1',
          mac: '0c:c4:7a:00:00:01',
          driver: 'igb',
          address: '10.1.2.3/23',
          broadcast: '10.1.3.255',
          wakeOnMagic: null,
        },
      ],
    });
  });

  it('measures the machine the tests run on', async () => {
    const clock = { ...virtualClock(), monotonicMs: () => performance.now() };
    const sampler = createSampler({ clock, addresses: networkInterfaces });
    await sampler.sample();
    const values = await sampler.sample();
    expect(values.cpuCount).toBeGreaterThan(0);
    expect(values.memoryUsedBytes).toBeGreaterThan(0);
    expect(values.uptimeMs).toBeGreaterThan(0);
    expect(values.diskTotalBytes).toBeGreaterThan(0);
  });

  it('starts no process: nothing below daemon/sample can', async () => {
    const folder = new URL('../../../daemon/sample/', import.meta.url);
    const names = await readdir(folder);
    expect(names).toContain('sampler.ts');
    const texts = await Promise.all(names.map((name) => readFile(new URL(name, folder), 'utf8')));
    expect(texts.join('\n')).not.toMatch(/child_process|command\/|worker_threads|cluster'/);
  });
});
