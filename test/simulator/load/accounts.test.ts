import { describe, expect, it } from 'vitest';
import { accountsOf, type Books } from '../../../simulator/load/accounts.ts';
import { type Reading, readingOf } from '../../../simulator/load/reading.ts';

const reading = (over: Partial<Reading> = {}): Reading => ({
  atMs: 0,
  startedAtSeconds: 1,
  latency: new Map(),
  received: 100,
  stored: 100,
  duplicates: 0,
  dropped: 0,
  rejected: 0,
  rejectedBy: {},
  ...over,
});
const books = (over: Partial<Books> = {}): Books => ({
  before: reading(),
  after: reading({
    received: 215,
    stored: 205,
    duplicates: 4,
    rejected: 6,
    rejectedBy: { KR_BODY: 6 },
  }),
  sent: 110,
  stored: 100,
  breaks: 0,
  ...over,
});

describe('the accounts of a load test', () => {
  it('balance, with what the server stored for others left out', () => {
    expect(accountsOf(books())).toEqual({
      sent: 110,
      stored: 100,
      duplicates: 4,
      rejected: 6,
      rejectedBy: { KR_BODY: 6 },
      dropped: { link: 0, ingest: 0 },
      unaccounted: 0,
    });
  });

  it('put down to broken links what is missing, but only when a link broke', () => {
    expect(accountsOf(books({ sent: 113, breaks: 2 }))).toMatchObject({
      dropped: { link: 3 },
      unaccounted: 0,
    });
    expect(accountsOf(books({ sent: 113 }))).toMatchObject({
      dropped: { link: 0 },
      unaccounted: 3,
    });
  });

  it('show what is one too many, and more found in the store than was ever stored', () => {
    expect(accountsOf(books({ sent: 109, breaks: 2 }))).toMatchObject({ unaccounted: -1 });
    expect(accountsOf(books({ stored: 107, sent: 117 }))).toMatchObject({ unaccounted: -2 });
  });

  it('count what fell out of the buffer of the server by its own place', () => {
    const after = reading({ received: 215, stored: 200, dropped: 15 });
    expect(accountsOf(books({ after, sent: 115, stored: 100 }))).toMatchObject({
      dropped: { link: 0, ingest: 15 },
      unaccounted: 0,
    });
  });

  it('are not drawn up when the server was restarted, silent, or has no store to ask', () => {
    expect(
      accountsOf(books({ after: reading({ startedAtSeconds: 2, received: 500 }) })),
    ).toBeNull();
    expect(accountsOf(books({ after: null }))).toBeNull();
    expect(accountsOf(books({ stored: null }))).toBeNull();
  });
});

describe('a look at /metrics', () => {
  it('reads the figures of ingest and since when they count', () => {
    const text = [
      'kr_process_start_time_seconds 1795288168',
      'kr_ingest_total{figure="received"} 7',
      'kr_ingest_total{figure="stored"} 5',
      'kr_ingest_total{figure="duplicate"} 1',
      'kr_ingest_total{figure="rejected"} 1',
      'kr_ingest_total{figure="KR_BODY"} 1',
      'kr_ingest_publish_to_state_seconds_bucket{le="1"} 4',
      'kr_ingest_publish_to_state_seconds_bucket{le="+Inf"} 5',
    ].join('\n');
    expect(readingOf(text, 12)).toEqual({
      atMs: 12,
      startedAtSeconds: 1795288168,
      latency: new Map([
        [1, 4],
        [Infinity, 5],
      ]),
      received: 7,
      stored: 5,
      duplicates: 1,
      dropped: 0,
      rejected: 1,
      rejectedBy: { KR_BODY: 1 },
    });
    expect(readingOf('<html>', 0)).toBeNull();
  });
});
