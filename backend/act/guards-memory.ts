/**
 * The guards of memory: room for a guest that comes, and for all guests when one more node fails
 * (SAFETY V8). Pure.
 */
import type { Fact } from '../decide/plan.ts';
import { type Guard, judged } from './guard.ts';
import { isPowerOff } from './lifecycle.ts';

const room: Guard = {
  id: 'destination-memory',
  appliesTo: (kind) => kind === 'guest.migrate',
  verdict({ destination, guest, limits }) {
    const used = destination?.node?.memoryUsedBytes ?? null;
    const total = destination?.node?.memoryTotalBytes ?? null;
    const wanted = guest?.sample.memoryTotalBytes ?? null;
    const inputs: Fact[] = [
      { name: 'targetUsedBytes', value: used, unit: 'bytes' },
      { name: 'targetTotalBytes', value: total, unit: 'bytes' },
      { name: 'guestBytes', value: wanted, unit: 'bytes' },
      { name: 'memoryReserveRatio', value: limits.memoryReserveRatio },
    ];
    if (used === null || total === null || wanted === null) {
      return judged('V8', inputs, {
        code: 'KR_MEMORY_UNKNOWN',
        reason: 'the memory of the guest or of the target node is not known',
        wayOut: 'wait for the next sample of both',
      });
    }
    return judged(
      'V8',
      inputs,
      used + wanted <= total * (1 - limits.memoryReserveRatio)
        ? null
        : {
            code: 'KR_NO_ROOM',
            reason: `the guest may use ${wanted} bytes, and ${used} of ${total} are in use there`,
            wayOut: 'choose a node with more free memory',
          },
    );
  },
};

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
      .filter(({ online, id }) => mode === 'wakeable' || (online && !power?.inDoubt.includes(id)))
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

export const memoryGuards: readonly Guard[] = [room, reserve];
