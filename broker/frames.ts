/**
 * Where MQTT packets begin and how long they claim to be, read from the raw bytes without keeping
 * any: the parser behind it would buffer whatever length a stranger announces. Pure; sees each
 * byte once, in any slicing.
 */

/** The packet types [MQTT-2.2.1] our limits speak of. */
export const packetType = { connect: 1, publish: 3, puback: 4 } as const;

export type FrameVerdict<R extends string> = R | undefined;

/**
 * `judge` is asked once per packet, as soon as its length is known, and answers a refusal or
 * nothing. The scan ends with the first refusal; `malformed` is a length of more than four bytes.
 */
export function createFrameScanner<R extends string>(
  judge: (type: number, lengthBytes: number) => FrameVerdict<R>,
): (chunk: Uint8Array) => FrameVerdict<R | 'malformed'> {
  let type = -1;
  let length = 0;
  let digits = 0;
  let skip = 0;
  return (chunk) => {
    let at = 0;
    while (at < chunk.length) {
      if (skip > 0) {
        const step = Math.min(skip, chunk.length - at);
        skip -= step;
        at += step;
        continue;
      }
      const byte = chunk[at] ?? 0;
      at += 1;
      if (type < 0) {
        type = byte >> 4;
        length = 0;
        digits = 0;
        continue;
      }
      length += (byte & 0x7f) * 128 ** digits;
      digits += 1;
      if (byte >= 0x80) {
        if (digits === 4) return 'malformed';
        continue;
      }
      const refusal = judge(type, length);
      if (refusal !== undefined) return refusal;
      skip = length;
      type = -1;
    }
    return undefined;
  };
}
