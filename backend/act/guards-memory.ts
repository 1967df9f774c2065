/**
 * The guards of room: for a guest that comes, by now and by p95 of the last hour, and for all
 * guests when one more node fails (SAFETY V8). A migration changes nothing about the latter. Pure.
 */
import type { Fact } from '../decide/plan.ts';
import { type Guard, type GuardFacts, isFresh, judged, type Says } from './guard.ts';
import { isPowerOff } from './lifecycle.ts';

/** The worse of now and of the last hour; null while the past is asked for and not known. */
function worst(now: number | null, past: number | null, isPastNeeded: boolean): number | null {
  if (now === null || (isPastNeeded && past === null)) return null;
  return Math.max(now, past ?? 0);
}

/** What one resource of the destination holds, and what the guest brings. */
type Room = { used: number | null; wanted: number | null; total: number | null };

const unknownLoad = (what: string): Says => ({
  code: 'KR_LOAD_UNKNOWN',
  reason: `the ${what} of the guest or of the target node is not known, now or over the last hour`,
  wayOut: 'wait for their samples; see readyz for the metrics store',
});

function memoryOf({ destination, guest, limits }: GuardFacts): Room {
  const node = destination?.node;
  const past = destination?.load?.memoryUsedBytes ?? null;
  return {
    used: worst(node?.memoryUsedBytes ?? null, past, limits.loadWindowMs > 0),
    wanted: guest?.sample.memoryTotalBytes ?? null,
    total: node?.memoryTotalBytes ?? null,
  };
}

function cpuOf({ destination, guest, limits }: GuardFacts): Room {
  const node = destination?.node;
  const cores = node?.cpuCount ?? null;
  const past = destination?.load?.cpuRatio ?? null;
  const ratio = worst(node?.cpuRatio ?? null, past, limits.loadWindowMs > 0);
  const { cpuRatio = null, cpuCount = null } = guest?.sample ?? {};
  const rests = guest?.sample.state === 'stopped';
  return {
    used: ratio === null || cores === null ? null : ratio * cores,
    wanted: rests ? 0 : cpuRatio === null || cpuCount === null ? null : cpuRatio * cpuCount,
    total: cores,
  };
}

function roomRow(
  resource: { id: string; what: string; unit: string },
  roomOf: (facts: GuardFacts) => Room,
  reserveOf: (facts: GuardFacts) => number,
): Guard {
  const { id, what, unit } = resource;
  return {
    id,
    appliesTo: (kind) => kind === 'guest.migrate',
    verdict(facts) {
      const { used, wanted, total } = roomOf(facts);
      const reserve = reserveOf(facts);
      const inputs: Fact[] = [
        { name: 'targetUsed', value: used, unit },
        { name: 'targetTotal', value: total, unit },
        { name: 'guest', value: wanted, unit },
        { name: 'reserveRatio', value: reserve },
        { name: 'loadWindowMs', value: facts.limits.loadWindowMs, unit: 'ms' },
      ];
      if (used === null || total === null || wanted === null) {
        return judged('V8', inputs, unknownLoad(what));
      }
      return judged(
        'V8',
        inputs,
        used + wanted <= total * (1 - reserve)
          ? null
          : {
              code: 'KR_NO_ROOM',
              reason: `the guest may use ${wanted} ${unit} of ${what}, and ${used} of ${total} are in use there`,
              wayOut: `choose a node with more free ${what}`,
            },
      );
    },
  };
}

const memoryRoom = roomRow(
  { id: 'destination-memory', what: 'memory', unit: 'bytes' },
  memoryOf,
  ({ limits }) => limits.memoryReserveRatio,
);
const cpuRoom = roomRow(
  { id: 'destination-cpu', what: 'cpu', unit: 'cores' },
  cpuOf,
  ({ limits }) => limits.cpuReserveRatio,
);

/** After the power-off the largest node fails: does every guest still find memory? */
const reserve: Guard = {
  id: 'memory-reserve',
  appliesTo: isPowerOff,
  verdict({ targetNode, power, limits }) {
    const others = power?.neighbours ?? [];
    const isAlone = targetNode?.facts?.quorum === null;
    const mode = limits.reserve ?? (others.length + 1 < 4 ? 'wakeable' : 'awake');
    const spareOnes = mode === 'wakeable' && targetNode ? [...others, targetNode] : others;
    const sizes = spareOnes
      .filter((node) => {
        if (node === targetNode) return true;
        if (isFresh(node) && !power?.inDoubt.includes(node.id)) return true;
        // What fell silent by itself is no reserve, only what sleeps as it was told to.
        return mode === 'wakeable' && node.desired === 'asleep';
      })
      .map(({ memoryTotalBytes, facts }) => memoryTotalBytes ?? facts?.memoryBytes ?? 0);
    const left = sizes.reduce((total, one) => total + one, 0) - Math.max(0, ...sizes);
    const needed = power?.guestBytes ?? null;
    const isEnough = needed !== null && needed <= left;
    return judged(
      'V8',
      [
        { name: 'reserve', value: mode },
        { name: 'standalone', value: isAlone },
        { name: 'leftBytes', value: left, unit: 'bytes' },
        { name: 'guestBytes', value: needed, unit: 'bytes' },
      ],
      isAlone || mode === 'none' || isEnough
        ? null
        : {
            code: 'KR_NO_RESERVE',
            reason: `when the largest node fails, ${left} bytes are left for ${needed ?? 'unknown'} bytes of guests`,
            wayOut: 'keep this node awake, or let sleeping nodes count: settings.reserve wakeable',
          },
    );
  },
};

export const memoryGuards: readonly Guard[] = [memoryRoom, cpuRoom, reserve];
