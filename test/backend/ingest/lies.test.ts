/** What ingest makes of telemetry that lies (R20): impossible values, frozen ones, repeated ones. */
import { describe, expect, it } from 'vitest';
import { encode } from '../../../broker/contract/codec.ts';
import { guestMetrics, nodeMetrics } from '../../../broker/contract/metrics.ts';
import { guestSample, message, nodeValues, telemetryBody } from '../../support/messages.ts';
import { harness } from './harness.ts';

const marker = 0.123456;

/** A sample whose one value is spelt like this on the wire. */
function lyingPayload(entity: 'node' | 'guest', name: string, spelt: string): string {
  const lie = { [name]: marker };
  const node = nodeValues(entity === 'node' ? lie : {});
  const guests = [guestSample('100', entity === 'guest' ? lie : {})];
  const { payload } = encode('telemetry', message('telemetry', telemetryBody({ node, guests })));
  return payload.replace(String(marker), spelt);
}

describe('telemetry that lies', () => {
  it.each([...nodeMetrics, ...guestMetrics].map((metric) => [metric.entity, metric.name, metric]))(
    'about the %s value %s is refused, counted and kept from state and store',
    async (_entity, _name, given) => {
      const { entity, name, max, min } = given as (typeof nodeMetrics)[number];
      const h = await harness();
      h.ingest.start();
      const lies = ['NaN', '1e999', '-1e999', String(max * 1_000 + 1), String(min - 1), '"1"'];
      for (const lie of lies) h.raw('kr/v1/home/n1/telemetry', lyingPayload(entity, name, lie));
      await h.clock.advance(5_000);
      // NaN is no JSON at all; the others are, and name the value.
      expect(h.ingest.counters()).toMatchObject({
        received: lies.length,
        rejected: lies.length,
        stored: 0,
        KR_NOT_JSON: 1,
        KR_BODY: lies.length - 1,
      });
      expect(h.ingest.drain()).toEqual([]);
      expect(h.store.rows.size).toBe(0);
      // The same sample with a value at its bound is taken, so it was the lie that was refused.
      h.raw('kr/v1/home/n1/telemetry', lyingPayload(entity, name, String(max)));
      await h.clock.advance(5_000);
      expect(h.ingest.counters()).toMatchObject({ rejected: lies.length, stored: 1 });
      expect(h.balance()).toBe(0);
    },
  );

  it('by repeating one sample for ever is stored once and told to the state as no newer one', async () => {
    const h = await harness();
    h.ingest.start();
    for (let times = 0; times < 10; times += 1) h.sample(1);
    await h.clock.advance(5_000);
    expect(h.ingest.counters()).toMatchObject({ received: 10, stored: 1, duplicate: 9 });
    expect(h.stored()).toEqual([1]);
    expect(h.balance()).toBe(0);
  });

  it('by frozen values under new numbers is kept as it was sent, for whoever looks for freezes', async () => {
    const h = await harness();
    h.ingest.start();
    for (let seq = 1; seq <= 5; seq += 1) h.sample(seq, { sampledAtMs: h.clock.wallMs() });
    await h.clock.advance(5_000);
    expect(h.stored()).toEqual([1, 2, 3, 4, 5]);
    expect(h.ingest.counters()).toMatchObject({ stored: 5, rejected: 0 });
  });
});
