/** The LXD driver against a real LXD: the contract of all drivers, and what is LXD's alone. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureTls } from '../../broker/tls.ts';
import { createLxdApi } from '../../daemon/hypervisor/lxd/api.ts';
import { createLxdHypervisor } from '../../daemon/hypervisor/lxd/driver.ts';
import type { Hypervisor, Work } from '../../daemon/hypervisor/port.ts';
import { createSampler } from '../../daemon/sample/sampler.ts';
import { realClock } from '../broker/wire.ts';
import { hypervisorContract } from '../daemon/hypervisor/contract.ts';
import { idsOf, seededRandom } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { noLxd, type RealLxd, startLxd, startLxdCluster } from '../support/lxd.ts';
import { freePort } from '../support/servers.ts';

const newId = idsOf(realClock, seededRandom(5));

describe.skipIf(noLxd !== '')(`a real LXD${noLxd}`, () => {
  let lxd: RealLxd;
  beforeAll(async () => {
    lxd = await startLxd();
  }, 300_000);
  afterAll(() => lxd.stop(), 60_000);

  const driverOf = () =>
    createLxdHypervisor({
      node: 'box',
      api: createLxdApi({ socket: lxd.socket }),
      sampler: createSampler({ clock: realClock, addresses: () => ({}) }),
      daemonVersion: '1',
      clock: realClock,
      log: memoryLog(),
    });

  hypervisorContract('the driver of LXD', async () => {
    await lxd.lxc('launch', lxd.image, 'web');
    await lxd.lxc('init', lxd.image, 'db');
    const before = (await lxd.begun()).length;
    return {
      driver: driverOf(),
      node: 'box',
      running: 'box.web',
      stopped: 'box.db',
      begun: async () => (await lxd.begun()).length - before,
      close: async () => {
        await lxd.lxc('delete', '--force', 'web', 'db');
      },
    };
  });

  it('is asked from afar with a certificate it trusts, and only as the one that was pinned', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'kr-lxd-tls-'));
    const port = await freePort();
    const client = await ensureTls({ folder, names: ['client'], nowMs: realClock.wallMs() });
    const [certificateFile, keyFile] = [join(folder, 'client.crt'), join(folder, 'client.key')];
    await writeFile(certificateFile, client.cert);
    await writeFile(keyFile, client.key);
    await lxd.lxc('config', 'set', `core.https_address=127.0.0.1:${port}`);
    const { environment } = JSON.parse(await lxd.lxc('query', '/1.0')) as {
      environment: { certificate_fingerprint: string };
    };
    const fingerprint = environment.certificate_fingerprint;
    const url = `https://127.0.0.1:${port}`;
    const driver = (endpoint: object) =>
      createLxdHypervisor({
        node: 'box',
        api: createLxdApi({ url, certificateFile, keyFile, ...endpoint }),
        sampler: null,
        daemonVersion: '1',
        clock: realClock,
        log: memoryLog(),
      });
    const stranger = driver({ fingerprint });
    const trusted = driver({ fingerprint });
    const unpinned = driver({ fingerprint: 'ab'.repeat(32) });
    try {
      await lxd.lxc('launch', lxd.image, 'afar');
      await expect(stranger.describe('box')).rejects.toThrow('lxc config trust add');
      await lxd.lxc('config', 'trust', 'add', certificateFile);
      const { facts, guests } = await trusted.describe('box');
      expect(facts).toMatchObject({ runningGuests: 1, cpuCount: availableParallelism() });
      expect(guests?.map(({ id }) => id)).toEqual(['box.afar']);
      const sample = await trusted.sample('box');
      expect(sample.node.memoryTotalBytes).toBeGreaterThan(2 ** 20);
      expect(sample.guests?.[0]).toMatchObject({
        state: 'running',
        memoryUsedBytes: expect.any(Number) as number,
      });
      await expect(unpinned.describe('box')).rejects.toThrow('another is pinned');
    } finally {
      for (const one of [stranger, trusted, unpinned]) await one.close();
      await lxd.lxc('delete', '--force', 'afar');
      await rm(folder, { recursive: true });
    }
  });
});

describe.skipIf(noLxd !== '')(`a cluster of real LXD members${noLxd}`, () => {
  let cluster: Awaited<ReturnType<typeof startLxdCluster>>;
  const drivers: Hypervisor[] = [];
  beforeAll(async () => {
    cluster = await startLxdCluster();
  }, 300_000);
  afterAll(async () => {
    for (const driver of drivers) await driver.close();
    await cluster.stop();
  }, 60_000);

  it('moves what is stopped to another member, and no running container', async () => {
    const [a, b] = (['a', 'b'] as const).map((node) =>
      createLxdHypervisor({
        node,
        api: createLxdApi({ socket: cluster[node].socket }),
        sampler: null,
        daemonVersion: '1',
        clock: realClock,
        log: memoryLog(),
      }),
    ) as [Hypervisor, Hypervisor];
    drivers.push(a, b);
    expect((await a.describe('a')).driver.capabilities).toContain('guest.migrate');
    await cluster.a.lxc('init', cluster.image, 'web', '--target', 'a');
    await cluster.a.lxc('launch', cluster.image, 'busy', '--target', 'a');
    const idsOn = async (driver: Hypervisor, node: string): Promise<string[]> =>
      (await driver.sample(node)).guests?.map(({ id }) => id).sort() ?? [];
    expect(await idsOn(a, 'a')).toEqual(['busy', 'web']);
    expect(await idsOn(b, 'b')).toEqual([]);

    const move = (guest: string): Work => ({
      commandId: newId(),
      node: 'a',
      target: { kind: 'guest', id: guest },
      action: {
        kind: 'guest.migrate',
        args: { targetNode: 'b', online: true, withLocalDisks: true },
      },
      timeScale: 1,
    });
    const context = { signal: new AbortController().signal, onHandle: async () => undefined };
    const moving = move('web');
    expect(await a.perform(moving, context)).toMatchObject({ exitCode: 0 });
    expect((await a.observe(moving)).postcondition).toBe(true);
    const refused = move('busy');
    expect((await a.perform(refused, context)).detail).toContain('no running container');
    expect((await a.observe(refused)).postcondition).toBe(false);
    expect(await idsOn(a, 'a')).toEqual(['busy']);
    expect(await idsOn(b, 'b')).toEqual(['web']);
  }, 120_000);
});
