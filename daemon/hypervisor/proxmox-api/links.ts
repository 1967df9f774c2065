/**
 * The card a node is woken by and wakes others from, by the API alone: its address is the one the
 * administrator gave Proxmox for Wake on LAN, its network that of the interface Proxmox sends from.
 * Whether the card listens is nobody's to see: it is declared, or unknown.
 */
import { z } from 'zod';
import { MacAddress, type NodeFacts } from '../../../broker/contract/facts.ts';
import { broadcastOf } from '../../sample/links.ts';
import { propertiesOf } from '../proxmox/scalars.ts';
import type { Context } from './context.ts';

const NodeConfig = z.object({ wakeonlan: z.string().optional() });

/** `/nodes/{node}/network`; `altnames` since PVE 9. */
const Interfaces = z.array(
  z.object({
    iface: z.string(),
    active: z.unknown().optional(),
    cidr: z.string().optional(),
    gateway: z.string().optional(),
    bridge_ports: z.string().optional(),
    altnames: z.array(z.string()).default([]),
  }),
);
type Interface = z.infer<typeof Interfaces>[number];

/** Any user may ask for it; an answer that cannot be read leaves the network unknown. */
async function interfacesOf({ api, log }: Context, pveNode: string): Promise<Interface[]> {
  return api.get(Interfaces, `/nodes/${pveNode}/network`).catch((error: unknown) => {
    log.warn({ node: pveNode, problem: (error as Error).message }, 'its network is not known');
    return [];
  });
}

/** systemd names a card after its address: `enx1c834132b5a7`. */
function macIn({ altnames }: Interface): string[] {
  return altnames.flatMap((name) => {
    const [, hex] = /^(?:en|wl)x([0-9a-f]{12})$/.exec(name) ?? [];
    return hex === undefined ? [] : [hex.replaceAll(/(..)(?=.)/g, '$1:')];
  });
}

/**
 * A member without an address of its own for Wake on LAN still sends packets, so its card is told
 * where PVE names it. Nobody can wake it by that: Proxmox has no address to send to.
 */
function cardOf(own: Interface | undefined, all: readonly Interface[]): string | undefined {
  const ports = (own?.bridge_ports ?? '').split(/\s+/);
  return all.filter((one) => one === own || ports.includes(one.iface)).flatMap(macIn)[0];
}

/** Throws what the API's client throws. */
export async function linksOf(
  context: Context,
  node: string,
  pveNode: string,
): Promise<NodeFacts['links']> {
  const { api, declared } = context;
  const [{ wakeonlan }, interfaces] = await Promise.all([
    api.get(NodeConfig, `/nodes/${pveNode}/config`),
    interfacesOf(context, pveNode),
  ]);
  const options = propertiesOf(wakeonlan ?? '', 'mac');
  const bound = options['bind-interface'];
  const isSender = ({ iface, gateway }: Interface): boolean =>
    bound === undefined ? gateway !== undefined : iface === bound;
  const sender = interfaces.find((one) => isSender(one) && Number(one.active ?? 0) === 1);
  const given = MacAddress.safeParse(options['mac']?.toLowerCase());
  const mac = given.success ? given.data : cardOf(sender, interfaces);
  if (mac === undefined) return null;
  const address = sender?.cidr ?? null;
  return [
    {
      name: (sender?.iface ?? bound ?? 'wakeonlan').slice(0, 32),
      mac,
      address,
      broadcast: options['broadcast-address'] ?? (address === null ? null : broadcastOf(address)),
      wakeOnMagic: given.success ? (declared[node]?.wakeOnMagic ?? null) : null,
      driver: null,
    },
  ];
}
