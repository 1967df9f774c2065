/**
 * The three doors: TCP, TLS and WebSocket. Each shows every TCP connection to the gate the moment
 * it is accepted, before a handshake or an HTTP header is read, and hands on a stream of MQTT
 * bytes. Alone imports ws.
 */
import { createServer as createHttpServer } from 'node:http';
import { createServer, isIPv6, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls';
import { createWebSocketStream, WebSocketServer } from 'ws';
import { packetBytesMax } from './contract/limits.ts';

export type ListenAddress = {
  host: string;
  port: number;
  /** A taken port falls to a free one; the URL tells which. */
  fallBack?: boolean;
};

/** The certificate PEM holds the whole chain, CA last, so that daemons can pin it. */
export type TlsCredentials = { cert: string; key: string };

/** What to do with the MQTT stream of a socket; undefined when the gate closed it. */
export type Accept = (socket: Socket) => ((stream: Duplex) => void) | undefined;

export type Door = { url: string; close(): Promise<void> };
export type TlsDoor = Door & { renew(credentials: TlsCredentials): void };

const isTaken = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';

function listenOnce(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, backlog: 1_024 }, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

async function open(server: Server, scheme: string, address: ListenAddress): Promise<Door> {
  const { host, port, fallBack } = address;
  try {
    await listenOnce(server, host, port);
  } catch (error) {
    if (!fallBack || !isTaken(error)) throw error;
    await listenOnce(server, host, 0);
  }
  const taken = (server.address() as AddressInfo).port;
  return {
    url: `${scheme}://${isIPv6(host) ? `[${host}]` : host}:${taken}`,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

const socketOptions = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 };

export function openTcp(address: ListenAddress, accept: Accept): Promise<Door> {
  const server = createServer(socketOptions, (socket) => accept(socket)?.(socket));
  return open(server, 'mqtt', address);
}

const contextOf = ({ cert, key }: TlsCredentials): SecureContext =>
  createSecureContext({ cert, key, minVersion: 'TLSv1.3' });

export async function openTls(
  address: ListenAddress,
  credentials: TlsCredentials,
  accept: Accept,
): Promise<TlsDoor> {
  let secureContext = contextOf(credentials);
  const server = createServer(socketOptions, (socket) => {
    const take = accept(socket);
    if (take) take(new TLSSocket(socket, { isServer: true, secureContext }));
  });
  const door = await open(server, 'mqtts', address);
  const renew = (fresh: TlsCredentials): void => {
    secureContext = contextOf(fresh);
  };
  return { ...door, renew };
}

export function openWebSocket(address: ListenAddress, accept: Accept): Promise<Door> {
  const takes = new WeakMap<object, (stream: Duplex) => void>();
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: 2 * packetBytesMax,
    handleProtocols: (offered) => (offered.has('mqtt') ? 'mqtt' : false),
  });
  const server = createHttpServer({ noDelay: true }, (_request, reply) => {
    reply.writeHead(426, { connection: 'close', upgrade: 'websocket' }).end();
  });
  server.on('connection', (socket) => {
    const take = accept(socket);
    if (take) takes.set(socket, take);
  });
  server.on('upgrade', (request, socket, head) => {
    const take = takes.get(socket);
    if (!take) {
      socket.destroy();
      return;
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      take(createWebSocketStream(webSocket));
    });
  });
  return open(server, 'ws', address);
}
