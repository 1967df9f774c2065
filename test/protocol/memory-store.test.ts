import { describe, expect, it } from 'vitest';
import { type Bench, commandStoreContract } from '../store/command-store.contract.ts';
import { controlRowsContract } from '../store/control-rows.contract.ts';
import { createMemoryStore } from './memory-store.ts';

describe('the command store in memory', () => {
  const open = async (): Promise<Bench> => {
    const store = createMemoryStore(() => Date.now());
    return {
      store,
      other: store,
      addCluster: async (row) => store.tables.clusters.insert(row),
      verifyChain: (chain) => store.verifyChain(chain),
      close: async () => undefined,
    };
  };
  commandStoreContract(open);
  controlRowsContract(open);

  it('says what a transaction wrote, and forgets what it took back', async () => {
    const store = createMemoryStore(() => 1);
    const key = { cluster: 'home', kind: 'guest', id: '100' } as const;
    const written = await store.transaction(async (rows) => {
      await rows.nextGeneration(key);
      await rows.nextGeneration(key);
      return store.written().map(({ table, row, was }) => ({ table, row, was }));
    });
    expect(written).toMatchObject([
      { table: 'targets', was: null, row: { generation: 1, ver: 1 } },
      { table: 'targets', was: { ver: 1 }, row: { generation: 2, ver: 2 } },
    ]);
    const failing = store.transaction(async (rows) => {
      await rows.nextGeneration(key);
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(store.tables.targets.get('home guest 100')).toMatchObject({ generation: 2, ver: 2 });
    expect(store.written()).toEqual([]);
  });
});
