import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { createPveApi, type PveApi } from '../../../../daemon/hypervisor/proxmox-api/client.ts';
import { record, type Recording } from '../../../../daemon/hypervisor/proxmox-api/record.ts';
import { recordTo } from '../../../../daemon/hypervisor/proxmox-api/record-file.ts';
import {
  ClusterStatus,
  GuestList,
  NodeStatus,
  Resources,
} from '../../../../daemon/hypervisor/proxmox/answers.ts';
import { ConfigAnswer } from '../../../../daemon/hypervisor/proxmox/pmxcfs.ts';
import type { FakeApi } from '../../../../simulator/proxmox/api/server.ts';
import { apiOf, apiSecret, proxmoxRig, type Rig } from '../../../simulator/proxmox/rig.ts';
import { runProgram } from '../../../support/stack.ts';

/** Answers what is written here, as a real cluster does with words of its owner in them. */
const apiWith = (answers: Readonly<Record<string, unknown>>): PveApi => ({
  urls: ['https://tower.lan:8006'],
  tokenId: 'kr@pve!kernreaktor',
  get: async (schema, path) => schema.parse(answers[path] ?? null),
  send: async () => null,
  close: async () => undefined,
});

const owned = {
  '/cluster/status': [
    { type: 'cluster', name: 'castle', quorate: 1, id: 'cluster' },
    { type: 'node', name: 'tower', ip: '192.168.7.23', online: 1, id: 'node/tower' },
  ],
  '/cluster/ha/status/manager_status': {
    manager_status: { master_node: 'tower', node_status: { tower: 'online' } },
  },
  '/cluster/ha/status/current': [
    { id: 'master', node: 'tower', status: 'tower (active, Sat Nov 22)', type: 'master' },
  ],
  '/access/permissions': { '/storage/vault': { 'Datastore.Audit': 1 }, '/vms': { 'VM.Audit': 1 } },
  '/nodes/tower/qemu': [{ vmid: 100, name: 'diary', status: 'running' }],
  '/nodes/tower/qemu/100/config': {
    net0: 'virtio=BC:24:11:AA:BB:CC,bridge=vmbr0,firewall=1,tag=20',
    scsi0: 'vault:vm-100-disk-0,iothread=1,size=32G',
    description: 'Of Jürgen, call +49 170 1234567',
    tags: 'kr_park;private',
    smbios1: 'uuid=0d0c6f6e-9a6a-4f0e-9d6c-1f1c2b3a4d5e',
  },
  '/nodes/tower/journal': [
    's=abc;i=1f;b=1e2d3c4b5a69788796a5b4c3d2e1f001;m=2',
    'sshd: ada came in',
  ],
};

describe('what is recorded of an API', () => {
  it('keeps the words of Proxmox, and none of the owner', async () => {
    const recording = await record(apiWith(owned), '1.2.3');
    const text = JSON.stringify(recording);
    expect(text).not.toMatch(
      /castle|tower|vault|diary|private|J.rgen|192\.168|BC:24|0d0c6f6e|1e2d3c4b|ada|sshd/i,
    );
    const answer = (path: string) => recording.answers.find((one) => one.path === path)?.data;
    const listed = recording.answers.find(({ path }) => path.endsWith('/qemu'))?.path ?? '';
    const node = listed.split('/')[2] ?? '';
    expect(node).toMatch(/^name\d+$/);
    expect(answer(`${listed}/100/config`)).toMatchObject({
      net0: 'virtio=02:00:00:00:00:01,bridge=vmbr0,firewall=1,tag=20',
      tags: expect.stringMatching(/^kr_park;name\d+$/) as string,
    });
    expect(answer('/cluster/ha/status/manager_status')).toEqual({
      manager_status: { master_node: node, node_status: { [node]: 'online' } },
    });
    const journal = answer(`/nodes/${node}/journal`) as string[];
    expect(journal[0]).toMatch(/;b=0{31}\d;/);
    expect(Object.keys(answer('/access/permissions') as object)).toContain('/vms');
  });
});

describe('doctor pve --record', () => {
  let rig: Rig;
  let api: FakeApi;
  let folder: string;
  let endpoint: Awaited<ReturnType<typeof apiOf>>['endpoint'];
  beforeEach(async () => {
    rig = await proxmoxRig();
    ({ api, endpoint } = await apiOf(rig));
    folder = await mkdtemp(join(tmpdir(), 'kr-record-'));
  });
  afterEach(async () => {
    await api.close();
    await rig.close();
    await rm(folder, { recursive: true });
  });

  it('asks only, and writes answers that the daemon would still understand', async () => {
    const real = createPveApi(endpoint);
    const recording = await record(real, '1.2.3');
    await real.close();
    expect(api.requests.every(({ line }) => line.startsWith('GET '))).toBe(true);
    const dataOf = (pattern: RegExp): unknown[] =>
      recording.answers.flatMap(({ path, data }) => (pattern.test(path) ? [data] : []));
    const understood: readonly [RegExp, z.ZodType][] = [
      [/^\/cluster\/status$/, ClusterStatus],
      [/^\/cluster\/resources$/, Resources],
      [/^\/nodes\/\w+\/status$/, NodeStatus],
      [/^\/nodes\/\w+\/(qemu|lxc)$/, GuestList],
      [/\/config$/, ConfigAnswer],
    ];
    for (const [pattern, schema] of understood) {
      const found = dataOf(pattern).filter((data) => data !== undefined);
      expect({ pattern, isThere: found.length > 0 }).toEqual({ pattern, isThere: true });
      for (const data of found) expect(schema.safeParse(data).error).toBeUndefined();
    }
    expect(JSON.stringify(recording)).not.toMatch(/alpha|beta|gamma/);
  });

  it('writes a file for its owner alone, never over another, and shows no secret', async () => {
    const file = join(folder, 'answers.json');
    const settings = {
      KR_PVE_URLS: endpoint.urls.join(','),
      KR_PVE_FINGERPRINT: endpoint.fingerprints.join(','),
      KR_PVE_TOKEN_ID: 'kr@pve!kernreaktor',
      KR_PVE_TOKEN_SECRET: apiSecret,
    };
    const run = runProgram(['doctor', 'pve', '--record', file], settings);
    expect({ code: await run.exited, err: run.stderr() }).toEqual({ code: 0, err: '' });
    expect(run.stdout()).toContain('look through it');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const text = await readFile(file, 'utf8');
    expect((JSON.parse(text) as Recording).answers.length).toBeGreaterThan(15);
    expect(text).not.toContain(apiSecret);
    await expect(recordTo(file, '1', { ok: true, endpoint })).rejects.toThrow('name another');
    const problems = [{ field: 'KR_PVE_URLS', hint: 'is missing' }];
    const nothing = recordTo(join(folder, 'none'), '1', { ok: false, problems });
    await expect(nothing).rejects.toThrow('KR_PVE_URLS: is missing');
  });
});
