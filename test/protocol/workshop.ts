/** What a process needs for any number of seeds: keys that are the same everywhere, and a store. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSigner, type Signer } from '../../backend/act/signer.ts';
import { idsOf, seededRandom } from '../support/clock.ts';
import { heapClock } from './heap-clock.ts';
import type { Tier, Workshop } from './house.ts';
import { standInForEd25519 } from './keyed-hash.ts';
import { openPlainStore } from './plain-store.ts';
import { openSqlStore } from './sql-store.ts';

async function signerOf(seed: number): Promise<Signer> {
  const folder = await mkdtemp(join(tmpdir(), 'kr-sim-'));
  try {
    const random = seededRandom(seed);
    return await openSigner({ folder, random, newId: idsOf(heapClock(), random) });
  } finally {
    await rm(folder, { recursive: true });
  }
}

export async function openWorkshop(tier: Tier): Promise<Workshop> {
  if (tier === 'core') standInForEd25519();
  const [signer, stranger] = [await signerOf(1), await signerOf(2)];
  const store = tier === 'core' ? openPlainStore() : await openSqlStore();
  return { tier, signer, stranger, store };
}
