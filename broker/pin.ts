/**
 * Trust in a private CA by its SHA-256 fingerprint alone, which is what an enrolment token carries.
 * A first TLS connection only reads the chain the server shows and sends nothing; the certificate
 * whose fingerprint was pinned becomes the sole CA of the real connection, which OpenSSL then
 * verifies in full, host name included. No secret ever travels on the first one.
 */
import { isIP } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { createHash, type X509Certificate } from 'node:crypto';
import type { Clock } from './contract/ports.ts';

export const fingerprintOf = (der: Uint8Array): string =>
  createHash('sha256').update(der).digest('hex');

export type PinErrorCode = 'KR_TLS_PIN' | 'KR_TLS_UNREACHABLE';

export class PinError extends Error {
  readonly code: PinErrorCode;
  constructor(code: PinErrorCode, message: string) {
    super(message);
    this.name = 'PinError';
    this.code = code;
  }
}

function findInChain(socket: TLSSocket, fingerprint: string): X509Certificate | undefined {
  let certificate = socket.getPeerX509Certificate();
  // A chain longer than this is no server of ours.
  for (let depth = 0; certificate && depth < 8; depth += 1) {
    if (fingerprintOf(certificate.raw) === fingerprint) return certificate;
    certificate = certificate.issuerCertificate;
  }
  return undefined;
}

export type PinOptions = { url: URL; fingerprint: string; timeoutMs: number; clock: Clock };

/** The PEM of the pinned CA, taken from the chain that the server at `url` presents. */
export function fetchPinnedCa({ url, fingerprint, timeoutMs, clock }: PinOptions): Promise<string> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port || (url.protocol === 'wss:' ? 443 : 8883));
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port,
      rejectUnauthorized: false,
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
    const cancel = clock.after(timeoutMs, () => {
      socket.destroy(new PinError('KR_TLS_UNREACHABLE', 'the TLS handshake took too long'));
    });
    socket.once('secureConnect', () => {
      const found = findInChain(socket, fingerprint.toLowerCase());
      if (found) resolve(found.toString());
      else {
        const hint = 'the server shows no certificate with the pinned fingerprint; enrol again';
        reject(new PinError('KR_TLS_PIN', hint));
      }
      socket.destroy();
    });
    socket.once('error', (error) => reject(error));
    socket.once('close', () => {
      cancel();
      reject(new PinError('KR_TLS_UNREACHABLE', 'the server closed during the TLS handshake'));
    });
  });
}
