import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { appendAudit, verifyChain } from '../../../backend/audit/chain.ts';
import { type Database, openDatabase } from '../../../backend/store/sql/database.ts';
import type { Audit } from '../../../backend/store/sql/schema.ts';
import { memoryLog } from '../../support/log.ts';

const folder = mkdtempSync(join(tmpdir(), 'kr-audit-'));
afterAll(() => rmSync(folder, { recursive: true }));

let count = 0;
let database: Database;
beforeEach(async () => {
  count += 1;
  const file = join(folder, `${count}.db`);
  database = await openDatabase({ file, nowMs: () => 1, log: memoryLog() });
});
afterEach(() => database.close());

const append = (chain: string, n: number) =>
  database.transaction((trx) =>
    appendAudit(trx, {
      chain,
      actor: 'ada',
      action: 'command.submit',
      subject: `guest:${n}`,
      phase: n % 2 === 0 ? 'opened' : 'closed',
      openedSeq: n % 2 === 0 ? null : n - 1,
      detail: { n, words: ['a', 'b'] },
      atMs: 1_000 + n,
    }),
  );

const rows = (chain = 'home'): Promise<Audit[]> =>
  database.db.selectFrom('audit').selectAll().where('chain', '=', chain).orderBy('seq').execute();

const write = async (changed: readonly Audit[], chain = 'home'): Promise<void> => {
  await database.db.deleteFrom('audit').where('chain', '=', chain).execute();
  if (changed.length > 0)
    await database.db
      .insertInto('audit')
      .values([...changed])
      .execute();
};

describe('an audit chain', () => {
  it('counts from 1, names the hash before, and stands apart from other chains', async () => {
    for (let n = 1; n <= 3; n += 1) await append('home', n);
    await append('system', 1);
    const home = await rows();
    expect(home.map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect(home[0]?.prev_hash).toBe('0'.repeat(64));
    expect(home[2]?.prev_hash).toBe(home[1]?.hash);
    expect(await verifyChain(database.db, 'home')).toEqual({ ok: true, entries: 3 });
    expect(await verifyChain(database.db, 'system')).toEqual({ ok: true, entries: 1 });
    expect(await verifyChain(database.db, 'nobody')).toEqual({ ok: true, entries: 0 });
  });

  it('gives equal entries of different chains different hashes', async () => {
    expect((await append('home', 1)).hash).not.toBe((await append('away', 1)).hash);
  });

  it('is verified across pages', async () => {
    await database.transaction(async (trx) => {
      for (let n = 1; n <= 1_201; n += 1) {
        const head = { chain: 'home', actor: 'a', action: 'x', subject: 's' };
        await appendAudit(trx, { ...head, phase: 'done', detail: { n }, atMs: n });
      }
    });
    expect(await verifyChain(database.db, 'home')).toEqual({ ok: true, entries: 1_201 });
    const all = await rows();
    await write(all.map((row) => (row.seq === 777 ? { ...row, actor: 'eve' } : row)));
    expect(await verifyChain(database.db, 'home')).toMatchObject({ ok: false, brokenAtSeq: 777 });
  });

  it('shows any changed character of any column of any entry', async () => {
    for (let n = 1; n <= 4; n += 1) await append('home', n);
    const good = await rows();
    const { chain: _, seq: __, ...rest } = good[0] as Audit;
    const columns = Object.keys(rest) as (keyof typeof rest)[];
    expect(columns).toHaveLength(9);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(1, 2, 3, 4),
        fc.constantFrom(...columns),
        fc.nat(),
        async (seq, column, at) => {
          const changed = good.map((row) => {
            if (row.seq !== seq) return row;
            const value = row[column];
            if (typeof value !== 'string') return { ...row, [column]: (value ?? 0) + 1 };
            const place = at % value.length;
            const other = value[place] === 'x' ? 'y' : 'x';
            const text = value.slice(0, place) + other + value.slice(place + 1);
            return { ...row, [column]: text };
          });
          await write(changed);
          const verified = await verifyChain(database.db, 'home');
          expect(verified).toMatchObject({ ok: false, brokenAtSeq: seq });
        },
      ),
      { numRuns: 150 },
    );
    await write(good);
    expect(await verifyChain(database.db, 'home')).toEqual({ ok: true, entries: 4 });
  });

  it('shows a deleted entry, wherever it stood', async () => {
    for (let n = 1; n <= 4; n += 1) await append('home', n);
    const good = await rows();
    for (const gone of [1, 2, 3, 4]) {
      await write(good.filter(({ seq }) => seq !== gone));
      expect(await verifyChain(database.db, 'home')).toEqual({
        ok: false,
        brokenAtSeq: gone,
        why: 'the entry is missing',
      });
    }
  });

  it('shows swapped entries', async () => {
    for (let n = 1; n <= 4; n += 1) await append('home', n);
    const good = await rows();
    const swapped = good.map((row) => ({
      ...row,
      seq: row.seq === 2 ? 3 : row.seq === 3 ? 2 : row.seq,
    }));
    await write(swapped);
    expect(await verifyChain(database.db, 'home')).toMatchObject({ ok: false, brokenAtSeq: 2 });
  });

  it('shows a last entry that its head does not name', async () => {
    for (let n = 1; n <= 2; n += 1) await append('home', n);
    await database.db
      .updateTable('audit_heads')
      .set({ hash: 'f'.repeat(64) })
      .execute();
    expect(await verifyChain(database.db, 'home')).toEqual({
      ok: false,
      brokenAtSeq: 2,
      why: 'the head names another last entry',
    });
  });
});
