/**
 * Where CloudSim puts the guests of a day before the first sample: in order, each at its full
 * speed and memory, on the host whose power it raises least. It follows from the number of guests
 * alone, so the same holds for a day read in another order.
 */
import { type Hosts, wattsAt } from './specs.ts';
import type { Trace } from './trace.ts';

const guestsPerLink = 10;

export function initialPlacement(trace: Trace, hosts: Hosts): Int32Array {
  const placement = new Int32Array(trace.guestCount);
  const usedMips = new Float64Array(hosts.count);
  const usedRam = new Float64Array(hosts.count);
  const guests = new Int32Array(hosts.count);
  for (let guest = 0; guest < trace.guestCount; guest += 1) {
    const mips = trace.mips[guest]!;
    let least = Infinity;
    let best = -1;
    for (let host = 0; host < hosts.count; host += 1) {
      const model = hosts.modelOf[host]!;
      const used = usedMips[host]! + mips;
      const fits =
        mips <= model.coreMips &&
        used <= model.mips &&
        usedRam[host]! + trace.ramMb[guest]! <= model.ramMb &&
        guests[host]! < guestsPerLink;
      if (!fits) continue;
      const more = wattsAt(model, used / model.mips) - wattsAt(model, 0);
      if (more < least) {
        least = more;
        best = host;
      }
    }
    if (best < 0)
      throw new Error(`${trace.name}: no host has room for guest ${guest} at its start`);
    placement[guest] = best;
    usedMips[best]! += mips;
    usedRam[best]! += trace.ramMb[guest]!;
    guests[best]! += 1;
  }
  return placement;
}
