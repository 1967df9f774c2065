import { describe, expect, it } from 'vitest';
import { quantileOf } from '../../../simulator/histogram.ts';
import { createArrivals } from '../../../simulator/load/arrivals.ts';

const topic = (node: string): string => `kr/v1/sim-001/${node}/telemetry`;
const payload = (seq: number): Buffer =>
  Buffer.from(`{"v":1,"node":"n","seq":${seq},"body":{"seq":9}}`);

describe('what the subscriber of a bare broker has seen', () => {
  it('counts each message once, however often and in whichever order it comes', () => {
    const arrivals = createArrivals(false, 0);
    for (const seq of [2, 1, 1, 5, 2, 3]) arrivals.arrived(topic('n1'), payload(seq), 10);
    arrivals.arrived(topic('n2'), payload(1), 10);
    expect(arrivals.held()).toEqual({ samples: 5, missing: 1 });
    expect(arrivals.distinct('sim-001', 'n1')).toBe(4);
    expect(arrivals.reading(20)).toMatchObject({
      received: 7,
      stored: 5,
      duplicates: 2,
      rejected: 0,
    });
  });

  it('tells latency from the instant a message was due, within an eighth', () => {
    const arrivals = createArrivals(false, 0);
    for (let seq = 1; seq <= 100; seq += 1) {
      arrivals.due('sim-001', 'n1', { seq, atMs: seq * 10 });
      arrivals.arrived(topic('n1'), payload(seq), seq * 10 + (seq <= 90 ? 2 : 200));
    }
    const { latency } = arrivals.reading(0);
    const ms = (quantile: number): number => (quantileOf(latency, quantile) ?? 0) * 1_000;
    expect(ms(0.5)).toBeGreaterThan(1.7);
    expect(ms(0.5)).toBeLessThan(2.3);
    expect(ms(0.99)).toBeGreaterThan(175);
    expect(ms(0.99)).toBeLessThan(230);
  });

  it('refuses broken messages under the codes of the server, where it was asked to look', () => {
    const arrivals = createArrivals(true, 0);
    arrivals.arrived(topic('n1'), Buffer.from('{"v":1,"se'), 5);
    arrivals.arrived(topic('n1'), payload(1), 6);
    expect(arrivals.reading(0)).toMatchObject({
      received: 2,
      stored: 0,
      rejected: 2,
      rejectedBy: { KR_NOT_JSON: 1, KR_ENVELOPE: 1 },
    });
    expect(arrivals.quietSinceMs()).toBe(6);
  });
});
