/**
 * What a daemon adds to its driver's description of the very host it runs on: whom it can wake and
 * by what, and which parts of Kernreaktor itself live here. What the driver said already stays.
 */
import { lookup } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import type { NodeFacts } from '../../broker/contract/facts.ts';
import type { Clock } from '../../broker/contract/ports.ts';
import type { Hypervisor } from '../hypervisor/port.ts';
import { filesBelow } from '../sample/files.ts';
import { createHouseFinder, type HouseFinder } from '../sample/house.ts';
import type { WakersByNode } from '../waker/settings.ts';

/** The administrator's order; a node without a list of its own gets a magic packet. */
export const wakersOf = (byNode: WakersByNode): NonNullable<NodeFacts['wakers']> => [
  ...Object.entries(byNode).map(([node, ways]) => ({ node, by: ways.map(({ kind }) => kind) })),
  { node: null, by: ['wol'] },
];

/** Where this daemon's own files and network tell it; a name that cannot be resolved tells nothing. */
export const ownHouse = (mqttUrl: string, clock: Clock): HouseFinder =>
  createHouseFinder({
    clock,
    files: filesBelow('/'),
    addresses: networkInterfaces,
    resolveBroker: async () => {
      const host = new URL(mqttUrl).hostname.replace(/^\[|\]$/g, '');
      const found = await lookup(host, { all: true }).catch(() => []);
      return found.map(({ address }) => address);
    },
  });

export const withOwnWords = (
  hypervisor: Hypervisor,
  { wakers, house }: { wakers: WakersByNode; house: HouseFinder },
): Hypervisor => ({
  ...hypervisor,
  async describe(node) {
    const description = await hypervisor.describe(node);
    const { facts, guests } = description;
    return {
      ...description,
      facts: {
        ...facts,
        wakers: facts.wakers ?? wakersOf(wakers),
        house: facts.house ?? (await house(guests)),
      },
    };
  },
});
