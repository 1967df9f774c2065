/**
 * Frames on the socket between agent and executor: four bytes of length, big-endian, then that
 * many bytes of JSON. Invariant: the length is judged before a byte is kept, so the other side
 * decides neither how much is stored nor how deep anything recurses unbounded by it.
 */
const headerBytes = 4;

export function encodeFrame(value: object): Buffer {
  const text = Buffer.from(JSON.stringify(value), 'utf8');
  const frame = Buffer.allocUnsafe(headerBytes + text.length);
  frame.writeUInt32BE(text.length, 0);
  text.copy(frame, headerBytes);
  return frame;
}

export type FrameReader = {
  /** False once the stream broke the rules; whatever follows has no meaning any more. */
  push(chunk: Buffer): boolean;
};

type Parsed = { ok: true; value: unknown } | { ok: false };

function parse(bytes: Buffer): Parsed {
  try {
    return { ok: true, value: JSON.parse(bytes.toString('utf8')) as unknown };
  } catch {
    return { ok: false };
  }
}

export function createFrameReader(
  bytesMax: number,
  onFrame: (value: unknown) => void,
): FrameReader {
  let chunks: Buffer[] = [];
  let held = 0;
  let isBroken = false;
  /** All bytes in one piece; done once per frame, not once per chunk. */
  const joined = (): Buffer => {
    const [only] = chunks;
    if (chunks.length !== 1 || only === undefined) chunks = [Buffer.concat(chunks)];
    return chunks[0] ?? Buffer.alloc(0);
  };
  /** Bytes that the frame under way takes in all; null while its length is not known. */
  const wanted = (): number | null => {
    if (held < headerBytes) return null;
    const [first] = chunks;
    const head = first !== undefined && first.length >= headerBytes ? first : joined();
    return headerBytes + head.readUInt32BE(0);
  };
  const take = (bytes: number): Buffer => {
    const all = joined();
    const rest = all.subarray(bytes);
    chunks = rest.length === 0 ? [] : [rest];
    held = rest.length;
    return all.subarray(headerBytes, bytes);
  };
  return {
    push(chunk) {
      if (isBroken) return false;
      chunks.push(chunk);
      held += chunk.length;
      for (let bytes = wanted(); bytes !== null; bytes = wanted()) {
        if (bytes > headerBytes + bytesMax) {
          isBroken = true;
          break;
        }
        if (held < bytes) break;
        const parsed = parse(take(bytes));
        isBroken = !parsed.ok;
        if (!parsed.ok) break;
        onFrame(parsed.value);
      }
      if (isBroken) chunks = [];
      return !isBroken;
    },
  };
}
