/**
 * Wake on LAN. node-wol builds the packet and does nothing else: it takes malformed addresses,
 * leaks its socket and swallows send errors, so address check, choice of interface and sending
 * are ours. This file alone imports it. It reports what was sent, never that a node woke.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv4 } from 'node:net';
import { createMagicPacket } from 'node-wol';
import { MacAddress } from '../../broker/contract/facts.ts';
import { broadcastOf, type Link } from '../sample/links.ts';
import { WakeError, type Waker, type WakeRequest, type WakeSent } from './port.ts';

export type WolOptions = {
  /** This host's physical links, read anew for every wake. */
  links: () => Promise<readonly Link[] | null>;
  /** 9 (discard) is the custom, 7 (echo) is what some firmware listens for. */
  ports?: readonly number[];
};

/** UDP may lose one; three are what the usual tools send. */
const packetsPerPort = 3;

/** `from`: local address to send from, so that the packet leaves by that link; null = routed. */
type Destination = { to: string; from: string | null };

const addressOf = (link: Link): string | null => link.address?.split('/')[0] ?? null;

function packetsFor(macs: readonly string[]): Buffer[] {
  const [first] = macs;
  if (first === undefined) {
    throw new WakeError(
      'KR_BAD_MAC',
      'macs: empty; name the target network card, aa:bb:cc:dd:ee:ff',
    );
  }
  return macs.map((mac) => {
    if (!MacAddress.safeParse(mac).success) {
      const text = JSON.stringify(mac);
      throw new WakeError('KR_BAD_MAC', `macs: ${text} is no address; use aa:bb:cc:dd:ee:ff`);
    }
    return createMagicPacket(mac);
  });
}

/** The given broadcasts, each by the link it belongs to; without any, every link's own. */
function destinationsOf(request: WakeRequest, links: readonly Link[]): Destination[] {
  const given = request.broadcasts.filter((address) => isIPv4(address));
  if (request.broadcasts.length > 0 && given.length === 0) {
    const text = request.broadcasts.join(', ');
    throw new WakeError('KR_NO_INTERFACE', `broadcasts: ${text} is no IPv4 address`);
  }
  const own = (link: Link) => link.broadcast ?? (link.address && broadcastOf(link.address));
  if (given.length > 0) {
    return given.map((to) => {
      const link = links.find((candidate) => own(candidate) === to);
      return { to, from: link ? addressOf(link) : null };
    });
  }
  return links.flatMap((link) => {
    const to = own(link);
    return to === null ? [] : [{ to, from: addressOf(link) }];
  });
}

const send = (socket: Socket, packet: Buffer, port: number, to: string): Promise<void> =>
  new Promise((resolve, reject) => {
    socket.send(packet, port, to, (error) => (error ? reject(error) : resolve()));
  });

async function sendAll(
  { to, from }: Destination,
  packets: readonly Buffer[],
  ports: readonly number[],
  signal: AbortSignal,
): Promise<number> {
  const socket = createSocket('udp4');
  // An error outside a send would end the process; the send that follows it reports it.
  socket.on('error', () => undefined);
  try {
    socket.bind({ port: 0, ...(from === null ? {} : { address: from }) });
    await once(socket, 'listening', { signal });
    socket.setBroadcast(true);
    let sent = 0;
    for (let round = 0; round < packetsPerPort; round += 1) {
      for (const packet of packets) {
        for (const port of ports) {
          signal.throwIfAborted();
          await send(socket, packet, port, to);
          sent += 1;
        }
      }
    }
    return sent;
  } finally {
    socket.close();
  }
}

const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

export function createWolWaker({ links, ports = [9, 7] }: WolOptions): Waker {
  async function wake(request: WakeRequest, signal: AbortSignal): Promise<WakeSent> {
    const packets = packetsFor(request.macs);
    const destinations = destinationsOf(request, (await links()) ?? []);
    if (destinations.length === 0) {
      const wayOut = 'give the target its broadcasts or this host an IPv4 address';
      throw new WakeError('KR_NO_INTERFACE', `no link with a broadcast address: ${wayOut}`);
    }
    let sent = 0;
    const outcomes: string[] = [];
    const failures: unknown[] = [];
    for (const destination of destinations) {
      const by = `${destination.to} from ${destination.from ?? 'any address'}`;
      try {
        sent += await sendAll(destination, packets, ports, signal);
        outcomes.push(by);
      } catch (error) {
        failures.push(error);
        outcomes.push(`${by} failed: ${messageOf(error)}`);
      }
    }
    const detail = `${sent} packets to ports ${ports.join(' and ')}: ${outcomes.join('; ')}`;
    if (sent === 0) throw new WakeError('KR_WAKE_SEND', detail, { cause: failures[0] });
    return { packets: sent, detail };
  }
  return { name: 'wol', isUnanswered: true, wake };
}
