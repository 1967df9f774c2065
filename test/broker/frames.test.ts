import * as fc from 'fast-check';
import { generate } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { createFrameScanner, packetType } from '../../broker/frames.ts';
import { connectPacket, publishPacket } from './wire.ts';

/** Cuts bytes at the given places. */
function slices(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [0, ...[...cuts].map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b)];
  return at.map((from, index) => bytes.subarray(from, at[index + 1] ?? bytes.length));
}

describe('frame scanner', () => {
  it('finds every packet and its length, however the bytes are sliced', () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 20_000 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(sizes, fc.array(fc.nat(), { maxLength: 12 }), (lengths, cuts) => {
        const packets = lengths.map((length) =>
          generate(publishPacket('kr/v1/home/pve1/telemetry', { payload: Buffer.alloc(length) })),
        );
        const seen: [number, number][] = [];
        const scan = createFrameScanner((type, length) => {
          seen.push([type, length]);
          return undefined;
        });
        for (const slice of slices(Buffer.concat(packets), cuts)) {
          expect(scan(slice)).toBeUndefined();
        }
        expect(seen).toEqual(lengths.map((length) => [packetType.publish, length + 27]));
      }),
    );
  });

  it('asks about a packet before its body has come', () => {
    const types: number[] = [];
    const scan = createFrameScanner((type) => {
      types.push(type);
      return 'no' as const;
    });
    expect(scan(generate(connectPacket('home/pve1')).subarray(0, 2))).toBe('no');
    expect(types).toEqual([packetType.connect]);
  });

  it('calls a length of five bytes malformed', () => {
    const scan = createFrameScanner(() => undefined);
    expect(scan(Buffer.from([0x30, 0xff, 0xff, 0xff]))).toBeUndefined();
    expect(scan(Buffer.from([0xff]))).toBe('malformed');
  });

  it('never throws on arbitrary bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4_000 }), (bytes) => {
        const scan = createFrameScanner((_type, length) => (length > 1_000 ? 'long' : undefined));
        expect([undefined, 'long', 'malformed']).toContain(scan(bytes));
      }),
    );
  });
});
