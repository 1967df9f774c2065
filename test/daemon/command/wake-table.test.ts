import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SyncContent } from '../../../broker/contract/server.ts';
import { nodeFiles } from '../../../daemon/command/files.ts';
import { openWakeTable } from '../../../daemon/command/wake-table.ts';
import { memoryLog } from '../../support/log.ts';
import { cluster, createSigner, syncOf } from './rig.ts';

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'kr-wake-table-'))));
afterEach(() => rm(folder, { recursive: true, force: true }));

const signer = createSigner();
const members = ['alpha', 'beta', 'gamma'];

/** As the server tells each member of a cluster that one daemon speaks for. */
const syncFor = (member: string, version: number): SyncContent =>
  syncOf({
    node: member,
    session: '0192f0c1-2a3b-7c4d-8e5f-000000000001',
    wakeTable: {
      version,
      wakeAfterMs: 600_000,
      entries: [{ node: 'tower', macs: ['02:00:00:00:00:01'], broadcasts: [] }],
    },
  });

async function openIn(path: string) {
  const log = memoryLog();
  const files = nodeFiles(path);
  const store = await openWakeTable({ files, cluster, serverKeys: () => [signer.key], log });
  return { store, files, log };
}

describe('the kept wake table', () => {
  it('is whole after all members of one daemon were told another one at once', async () => {
    const { store, files } = await openIn(folder);
    for (let version = 1; version <= 10; version += 1) {
      await Promise.all(
        members.map((node) => {
          const content = syncFor(node, version);
          return store.keep(node, signer.sign(content), content);
        }),
      );
      await files.close();
      const again = await openIn(folder);
      expect(again.log.lines).toEqual([]);
      expect(again.store.current()?.table.version).toBe(version);
    }
  });

  it('remembers whom it woke beside a table that comes at the same time', async () => {
    const { store } = await openIn(folder);
    const first = syncFor('alpha', 1);
    await store.keep('alpha', signer.sign(first), first);
    await Promise.all([store.note('tower', null, true), store.note('shed', null, true)]);
    expect((await openIn(folder)).store.hasWoken('tower', null)).toBe(true);
    expect((await openIn(folder)).store.hasWoken('shed', null)).toBe(true);
  });
});
