/**
 * The sockets: TCP, optionally TLS, and always the unix socket, all served by the one Fastify
 * app. Who can open the unix socket (mode 0600) owns the data folder, hence is administrator.
 */
import { chmod, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, ListenOptions, Socket } from 'node:net';
import type { Log } from '../../broker/contract/ports.ts';
import type { App } from './app.ts';
import type { HttpConfig } from './deps.ts';

/** A slow client may take this long for one request; ours take milliseconds to write. */
export const requestTimeoutMs = 30_000;
/** Silence on a connection, longer than a long query and shorter than a forgotten laptop. */
export const connectionTimeoutMs = 60_000;
const headersTimeoutMs = 10_000;
const keepAliveTimeoutMs = 15_000;
const headerBytesMax = 16 * 1024;

const timeouts = {
  requestTimeout: requestTimeoutMs,
  headersTimeout: headersTimeoutMs,
  keepAliveTimeout: keepAliveTimeoutMs,
  maxHeaderSize: headerBytesMax,
};

export const fastifyServerOptions = {
  requestTimeout: requestTimeoutMs,
  connectionTimeout: connectionTimeoutMs,
  keepAliveTimeout: keepAliveTimeoutMs,
  http: { headersTimeout: headersTimeoutMs, maxHeaderSize: headerBytesMax },
};

const listen = (server: Server, options: ListenOptions): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      server.off('error', reject);
      resolve();
    });
  });

const isTaken = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';

/** An IPv6 address needs brackets, and a wildcard is no address to call. */
function urlOf(scheme: string, server: Server): string {
  const { address, port, family } = server.address() as AddressInfo;
  if (address === '0.0.0.0' || address === '::') return `${scheme}://localhost:${port}`;
  return `${scheme}://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

export type Listeners = {
  /** Sockets that came through the unix socket. */
  isLocal(socket: Socket): boolean;
  listen(): Promise<{ httpUrl: string; tlsUrl: string | null }>;
  /** Takes no more connections and ends idle ones; the promise is kept when all are gone. */
  close(): Promise<void>;
  /** Ends what still runs. */
  cut(): void;
};

export function createListeners(app: App, config: HttpConfig, log: Log): Listeners {
  const local = new WeakSet<Socket>();
  const handle = (request: IncomingMessage, response: ServerResponse): void =>
    app.routing(request, response);
  const unix = createServer(timeouts, handle);
  unix.on('connection', (socket) => local.add(socket));
  const tls =
    config.tls &&
    createTlsServer(
      {
        ...timeouts,
        cert: config.tls.certificate,
        key: config.tls.privateKey,
        minVersion: 'TLSv1.2',
      },
      handle,
    );
  const others: Server[] = tls ? [unix, tls] : [unix];
  for (const server of others) {
    server.timeout = connectionTimeoutMs;
    // Upgrades take the same way through the app as those of its own server.
    server.on('upgrade', (...upgrade) => app.server.emit('upgrade', ...upgrade));
  }
  const all: Server[] = [app.server, ...others];

  const listenTcp = async (): Promise<void> => {
    const { host, port, isDefaultPort } = config;
    try {
      await listen(app.server, { host, port });
    } catch (error) {
      if (!isDefaultPort || !isTaken(error)) throw error;
      await listen(app.server, { host, port: 0 });
      const free = (app.server.address() as AddressInfo).port;
      log.info({ taken: port, port: free }, 'default HTTP port is taken, using a free one');
    }
  };
  return {
    isLocal: (socket) => local.has(socket),
    async listen() {
      // The data folder is locked by this process, so a socket found there is a leftover.
      await rm(config.socketPath, { force: true });
      await listenTcp();
      await listen(unix, { path: config.socketPath });
      await chmod(config.socketPath, 0o600);
      if (tls && config.tls) await listen(tls, { host: config.tls.host, port: config.tls.port });
      return {
        httpUrl: urlOf('http', app.server),
        tlsUrl: tls ? urlOf('https', tls) : null,
      };
    },
    async close() {
      await Promise.all(
        all
          .filter((server) => server.listening)
          .map(
            (server) =>
              new Promise<void>((resolve) => {
                server.close(() => resolve());
                server.closeIdleConnections();
              }),
          ),
      );
    },
    cut() {
      for (const server of all) server.closeAllConnections();
    },
  };
}
