/**
 * TLS to machines with certificates of their own making: what was pinned is compared before a
 * single byte leaves this host. Everything else of a certificate is then of no account.
 */
import type { TLSSocket } from 'node:tls';
import { buildConnector } from 'undici';

/** A resumed session shows no certificate, so none is kept. */
export const freshTls = { maxCachedSessions: 0, allowH2: false } as const;

/** @param fingerprint SHA-256 of the certificate, 64 lower-case hex digits. */
export function pinnedConnector(
  fingerprint: string,
  options: buildConnector.BuildOptions,
): buildConnector.connector {
  const connect = buildConnector({ ...freshTls, ...options, rejectUnauthorized: false });
  return (to, callback) =>
    connect(to, (...answer) => {
      const [error, socket] = answer;
      if (error !== null) return callback(error, null);
      const shown = (socket as TLSSocket).getPeerCertificate().fingerprint256 ?? 'none';
      if (shown.replaceAll(':', '').toLowerCase() === fingerprint) return callback(null, socket);
      socket.destroy();
      callback(new Error(`its certificate has the fingerprint ${shown}, another is pinned`), null);
    });
}
