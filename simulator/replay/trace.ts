/**
 * One day (or month) of recorded guest load, as a matrix of whole numbers, and the demand at any
 * moment of it. A trace knows nothing of hosts or placements and is never changed after reading.
 */
export type Trace = {
  name: string;
  guestNames: readonly string[];
  guestCount: number;
  /** Samples per guest; sample k stands for the moment k x stepSeconds. */
  steps: number;
  stepSeconds: number;
  /** Row-major, guests x steps; `cpu / cpuScale` is the share of the guest's own MIPS, 0..1. */
  cpu: Uint8Array | Uint16Array;
  /** Divisor of one guest's row. */
  cpuScale: Float64Array;
  /** Full speed of each guest, and over how many cores. */
  mips: Float64Array;
  cores: Float64Array;
  /** What a guest was given. */
  ramMb: Float64Array;
  /** Memory in use, MB, row-major like `cpu`; null when the trace has none. */
  ramUsedMb: Uint16Array | null;
};

/** Share of its own MIPS that a guest wants in sample k; the last sample stays. */
export function sampleAt(trace: Trace, guest: number, k: number): number {
  const step = k < trace.steps ? k : trace.steps - 1;
  return trace.cpu[guest * trace.steps + step]! / trace.cpuScale[guest]!;
}

/** MB in use in sample k; all it was given where the trace says nothing. */
export const ramAt = (trace: Trace, guest: number, k: number): number =>
  trace.ramUsedMb === null
    ? trace.ramMb[guest]!
    : trace.ramUsedMb[guest * trace.steps + (k < trace.steps ? k : trace.steps - 1)]!;

/** The demand of all guests at a moment, in MIPS, linear between the samples, into `into`. */
export function demandAt(trace: Trace, seconds: number, into: Float64Array): void {
  const { stepSeconds, mips } = trace;
  const before = Math.floor(seconds / stepSeconds);
  const after = Math.ceil(seconds / stepSeconds);
  for (let guest = 0; guest < trace.guestCount; guest += 1) {
    const from = sampleAt(trace, guest, before);
    if (before === after) {
      into[guest] = from * mips[guest]!;
      continue;
    }
    const delta = (sampleAt(trace, guest, after) - from) / ((after - before) * stepSeconds);
    into[guest] = (from + delta * (seconds - before * stepSeconds)) * mips[guest]!;
  }
}

/** The same trace with its guests in another order, which gives them other sizes. */
export function reordered(trace: Trace, order: readonly number[], name: string): Trace {
  const rows = <T extends Uint8Array | Uint16Array>(matrix: T): T => {
    const copy = matrix.slice() as T;
    order.forEach((from, to) => {
      copy.set(matrix.subarray(from * trace.steps, (from + 1) * trace.steps), to * trace.steps);
    });
    return copy;
  };
  return {
    ...trace,
    name,
    guestNames: order.map((from) => trace.guestNames[from]!),
    cpu: rows(trace.cpu),
    cpuScale: Float64Array.from(order, (from) => trace.cpuScale[from]!),
    ramUsedMb: trace.ramUsedMb && rows(trace.ramUsedMb),
  };
}
