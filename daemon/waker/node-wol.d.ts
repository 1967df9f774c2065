/** node-wol brings no types; this is the one function of it that we use. */
declare module 'node-wol' {
  /** 6 x 0xff, then 16 x the address: 102 bytes. Accepts non-hex digits as 0: check before. */
  export function createMagicPacket(macAddress: string): Buffer;
}
