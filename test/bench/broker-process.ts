/**
 * Our broker alone, in a process of its own, for `bench:connect`: real doors, gate, credentials and
 * ACL, with the daemons of the bench in memory and the publish budget lifted, since one flood client
 * stands for many. Says its addresses once, and counts when asked.
 */
import { createHash } from 'node:crypto';
import type { Ownership } from '../../broker/port.ts';
import { createBroker } from '../../broker/server.ts';
import { ensureTls } from '../../broker/tls.ts';
import { realClock } from '../broker/wire.ts';
import { memoryLog } from '../support/log.ts';
import { nameOf } from './swarm.ts';

export type Listening = { tcpPort: number; tlsPort: number; ca: string };
export type Counted = { delivered: number; clients: number };
export type Start = { folder: string; clients: number; secret: string; inProcess: boolean };

const hashOf = (secret: Uint8Array | string): string =>
  createHash('sha256').update(secret).digest('hex');
const portOf = (url: string | null): number => Number(new URL(url ?? '').port);

async function start({ folder, clients, secret, inProcess }: Start): Promise<void> {
  const names = ['localhost'];
  const tls = await ensureTls({ folder, names, nowMs: realClock.wallMs() });
  const owners = new Map<string, Ownership>();
  for (let index = 0; index < clients; index += 1) {
    const daemon = nameOf(index);
    const own = { cluster: 'bench', daemon, simulated: true, enrolling: false };
    owners.set(`bench/${daemon}`, { ...own, nodes: new Set([daemon]) });
  }
  const hash = hashOf(secret);
  const broker = await createBroker({
    directory: {
      authenticate: (username, given) =>
        Promise.resolve(hashOf(given) === hash ? owners.get(username) : undefined),
      ownership: (client) => owners.get(client),
    },
    clock: realClock,
    log: memoryLog(),
    tcp: { host: '127.0.0.1', port: 0 },
    tls: { host: '127.0.0.1', port: 0, ...tls },
    server: { username: 'server', secretHash: hash },
    gateLimits: { publishesPerSecondMax: 1e9, publishBurstMax: 1e9 },
  });
  let delivered = 0;
  if (inProcess) broker.onMessage(() => void (delivered += 1));
  const urls = await broker.listen();
  process.on('message', () => {
    const counted: Counted = { delivered, clients: broker.stats().clients };
    process.send?.(counted);
  });
  const { mqttUrl, tlsUrl } = urls;
  const listening: Listening = { tcpPort: portOf(mqttUrl), tlsPort: portOf(tlsUrl), ca: tls.ca };
  process.send?.(listening);
}

// Whoever asked for it is gone.
process.once('disconnect', () => process.exit());
process.once('message', (order: Start) => void start(order));
