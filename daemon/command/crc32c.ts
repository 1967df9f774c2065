/**
 * CRC-32C (Castagnoli, RFC 3720 B.4), the journal's checksum. node:zlib offers only the IEEE
 * polynomial. Pure; the table is computed once.
 */

/** 0x1EDC6F41 with its bits reversed, since the algorithm shifts right. */
const polynomial = 0x82f63b78;

const table = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) {
    value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
  }
  return value;
});

export function crc32c(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) value = (value >>> 8) ^ (table[(value ^ byte) & 0xff] ?? 0);
  return (value ^ 0xffffffff) >>> 0;
}
