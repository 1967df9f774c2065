/** Ingest shared between a backend that folds and workers that store. */
import { describe, expect, it } from 'vitest';
import { harness } from './harness.ts';

describe('a backend beside ingest workers', () => {
  it('folds every sample, stores none, and knows from the daemons what is stored', async () => {
    const h = await harness(undefined, 'fold');
    const { ingest, sample, store, link, clock } = h;
    ingest.start();
    sample(1, { confirmedSeq: 0 });
    sample(2, { confirmedSeq: 0 });
    expect(ingest.drain()).toMatchObject([{ kind: 'telemetry', message: { seq: 2 } }]);
    expect(ingest.watermark('home', 'n1')).toEqual({ incarnation: 1, seq: 0 });
    sample(9, { confirmedSeq: 7 });
    expect(ingest.watermark('home', 'n1')).toEqual({ incarnation: 1, seq: 7 });
    await clock.advance(30_000);
    expect([store.batches, link.receipts]).toEqual([[], []]);
    expect(ingest.counters()).toMatchObject({ received: 3, leftToWorkers: 3, queued: 0 });
    expect(h.balance()).toBe(0);
    await ingest.stop();
  });

  it('names the clusters that send and that nobody stores', async () => {
    const { ingest, sample, clock } = await harness(undefined, 'fold');
    for (let seq = 1; seq <= 17; seq += 1) {
      sample(seq, { confirmedSeq: 0 });
      await clock.advance(5_000);
      expect(ingest.unstored()).toEqual([]);
    }
    await clock.advance(10_000);
    expect(ingest.unstored()).toEqual(['home']);
    sample(20, { confirmedSeq: 19 });
    expect(ingest.unstored()).toEqual([]);
    // What is sent again tells of an earlier moment.
    for (let seq = 21; seq <= 40; seq += 1) {
      sample(seq, { confirmedSeq: 19 });
      sample(seq, { confirmedSeq: seq % 19 });
      await clock.advance(5_000);
    }
    expect(ingest.unstored()).toEqual(['home']);
    // What sends no more, waits for nobody.
    await clock.advance(300_000);
    expect(ingest.unstored()).toEqual([]);
  });
});

describe('a worker', () => {
  it('stores and confirms, and keeps nothing for a picture that it does not have', async () => {
    const { ingest, sample, stored, link, clock } = await harness(undefined, 'store');
    ingest.start();
    sample(1);
    sample(2);
    await clock.advance(12_000);
    expect(stored()).toEqual([1, 2]);
    expect(link.receipts.at(-1)).toMatchObject({ incarnation: 1, storedSeq: 2 });
    expect(ingest.drain()).toEqual([]);
    await ingest.stop();
  });
});

describe('a server that has just begun', () => {
  it('confirms at once what comes after samples that one before it confirmed', async () => {
    const { ingest, sample, link, clock, stored } = await harness();
    ingest.start();
    sample(501, { confirmedSeq: 498 });
    await clock.advance(12_000);
    expect(link.receipts.at(-1)).toMatchObject({ incarnation: 1, storedSeq: 498 });
    sample(500, { confirmedSeq: 498 });
    sample(499, { confirmedSeq: 498 });
    await clock.advance(12_000);
    expect(link.receipts.at(-1)).toMatchObject({ incarnation: 1, storedSeq: 501 });
    expect(stored()).toEqual([499, 500, 501]);
    expect(ingest.counters().abandoned).toBe(0);
    await ingest.stop();
  });

  it('believes no daemon that claims receipts for what it only now sends', async () => {
    const { ingest, sample, stored, clock } = await harness();
    ingest.start();
    sample(5, { confirmedSeq: 1_000_000 });
    sample(6, { confirmedSeq: 1_000_000 });
    await clock.advance(2_000);
    expect(stored()).toEqual([5, 6]);
    await ingest.stop();
  });
});
