import { describe, expect, it } from 'vitest';
import { crc32c } from '../../../daemon/command/crc32c.ts';

const run = (from: number, step: number) =>
  Uint8Array.from({ length: 32 }, (_, index) => from + step * index);

describe('crc32c', () => {
  it.each([
    ['the check value of the polynomial', new TextEncoder().encode('123456789'), 0xe3069283],
    ['nothing', new Uint8Array(0), 0],
    ['32 zeros (RFC 3720 B.4)', run(0, 0), 0x8a9136aa],
    ['32 ones (RFC 3720 B.4)', run(0xff, 0), 0x62a8ab43],
    ['32 incrementing (RFC 3720 B.4)', run(0, 1), 0x46dd794e],
    ['32 decrementing (RFC 3720 B.4)', run(31, -1), 0x113fdb5c],
  ])('equals the published value of %s', (_, bytes, expected) => {
    expect(crc32c(bytes)).toBe(expected);
  });
});
