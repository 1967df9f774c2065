/**
 * The broker's certificates: an own CA (P-256, made once, pinned by daemons) and a server
 * certificate it issues, both under `<data>/tls` with mode 0600; or the administrator's files,
 * which are only read. The CA is never replaced by itself, since every daemon would lose its pin;
 * the server certificate is, when it nears its end or the machine's names change.
 */
import {
  createHash,
  createPrivateKey,
  KeyObject,
  randomBytes,
  webcrypto,
  X509Certificate,
} from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { TlsCredentials } from './listeners.ts';

const dayMs = 86_400_000;
const caDays = 20 * 365;
/** Below the 398 days that clients of the wider world insist on. */
const serverDays = 397;
const renewBeforeMs = 30 * dayMs;
const curve = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const signing = { name: 'ECDSA', hash: 'SHA-256' } as const;

export type TlsFiles = TlsCredentials & {
  /** The certificate daemons pin, PEM. */
  ca: string;
  /** SHA-256 of its DER, 64 hex; the end of every enrolment token. */
  caFingerprint: string;
};

export type TlsOptions = {
  folder: string;
  /** Host names and addresses the server is reached by. */
  names: readonly string[];
  nowMs: number;
  /** The administrator's own. Daemons pin the CA, or else the last of the certificate file. */
  given?: { certFile: string; keyFile: string; caFile?: string };
};

export class TlsError extends Error {
  readonly code = 'KR_TLS_FILES';
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'TlsError';
  }
}

/** What this machine is called and reached by, loopback included. */
export function localNames(more: readonly string[] = []): string[] {
  const addresses = Object.values(networkInterfaces())
    .flatMap((entries) => entries ?? [])
    .map(({ address }) => address)
    .filter((address) => !address.startsWith('fe80:'));
  const given = more.map((name) => name.toLowerCase());
  return [...new Set([hostname().toLowerCase(), 'localhost', ...addresses, ...given])];
}

const pemBlock = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

function filesOf(cert: string, key: string): TlsFiles {
  const ca = cert.match(pemBlock)?.at(-1);
  if (ca === undefined) throw new TlsError('the certificate file holds no PEM certificate');
  const fingerprint = createHash('sha256').update(new X509Certificate(ca).raw).digest('hex');
  return { cert, key, ca, caFingerprint: fingerprint };
}

async function readGiven(given: NonNullable<TlsOptions['given']>): Promise<TlsFiles> {
  const { certFile, keyFile, caFile } = given;
  const read = async (path: string) => {
    const text = await readIfThere(path);
    if (text === undefined) throw new TlsError(`${path} is missing; name an existing PEM file`);
    return text;
  };
  const [cert, key] = [await read(certFile), await read(keyFile)];
  const ca = caFile === undefined ? '' : await read(caFile);
  // The server must show the CA as well, or a daemon that pins it could not find it.
  return filesOf(`${cert.trimEnd()}\n${cert.includes(ca.trim()) ? '' : ca}`, key);
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new TlsError(`cannot read ${path}; check its rights`, error);
  }
}

/** Renamed into place, so that a crash never leaves half a key. */
async function writeSecret(path: string, content: string): Promise<void> {
  await writeFile(`${path}.new`, content, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/**
 * Loaded only when something must be issued, which is rare and costs 20 MB. Its injector insists
 * on the metadata polyfill to learn constructor parameters; its classes have none, so "nothing
 * known" is the whole truth.
 */
async function loadX509() {
  const reflect = Reflect as { getMetadata?: unknown; getOwnMetadata?: unknown };
  reflect.getMetadata ??= () => undefined;
  reflect.getOwnMetadata ??= () => undefined;
  return import('@peculiar/x509');
}

type Issued = { cert: string; key: string };

const newKeys = () => webcrypto.subtle.generateKey(curve, true, ['sign', 'verify']);
const keyPem = (key: webcrypto.CryptoKey): string =>
  KeyObject.from(key).export({ type: 'pkcs8', format: 'pem' }).toString();
/** 127 bits, so that the number stays positive [RFC 5280, 4.1.2.2]. */
const newSerial = (): string => {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
};

async function issueCa(nowMs: number): Promise<Issued> {
  const x509 = await loadX509();
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: `CN=Kernreaktor CA ${randomBytes(4).toString('hex')}`,
    notBefore: new Date(nowMs - dayMs),
    notAfter: new Date(nowMs + caDays * dayMs),
    signingAlgorithm: signing,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: `${certificate.toString('pem')}\n`, key: keyPem(keys.privateKey) };
}

async function issueServer(ca: Issued, names: readonly string[], nowMs: number): Promise<Issued> {
  const x509 = await loadX509();
  const keys = await newKeys();
  const issuer = new x509.X509Certificate(ca.cert);
  const signingKey = createPrivateKey(ca.key).toCryptoKey(curve, false, ['sign']);
  const usage = new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject: 'CN=Kernreaktor server',
    issuer: issuer.subject,
    notBefore: new Date(nowMs - dayMs),
    notAfter: new Date(nowMs + serverDays * dayMs),
    signingAlgorithm: signing,
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      usage,
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) === 0 ? 'dns' : 'ip', value })),
      ),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: `${certificate.toString('pem')}\n`, key: keyPem(keys.privateKey) };
}

/** Whether the certificate still serves: the CA's, named right, and not about to end. */
function stillServes(cert: string, ca: string, options: TlsOptions): boolean {
  const certificate = new X509Certificate(cert);
  const isNamed = (name: string) =>
    isIP(name) === 0
      ? certificate.checkHost(name) !== undefined
      : certificate.checkIP(name) !== undefined;
  return (
    certificate.verify(new X509Certificate(ca).publicKey) &&
    certificate.validToDate.getTime() - options.nowMs > renewBeforeMs &&
    options.names.every(isNamed)
  );
}

/** Makes what is missing, renews what is due, and answers what the listener and tokens need. */
export async function ensureTls(options: TlsOptions): Promise<TlsFiles> {
  if (options.given) return readGiven(options.given);
  const { folder, names, nowMs } = options;
  const path = (name: string) => join(folder, name);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const stored = {
    cert: await readIfThere(path('ca.crt')),
    key: await readIfThere(path('ca.key')),
  };
  let ca: Issued;
  if (stored.cert !== undefined && stored.key !== undefined) {
    ca = { cert: stored.cert, key: stored.key };
  } else if (stored.cert === undefined) {
    ca = await issueCa(nowMs);
    // The key first: a certificate without its key could never be used nor replaced by itself.
    await writeSecret(path('ca.key'), ca.key);
    await writeSecret(path('ca.crt'), ca.cert);
  } else {
    throw new TlsError(
      `${path('ca.key')} is missing; restore it, or remove the folder and enrol anew`,
    );
  }
  const oldCert = await readIfThere(path('server.crt'));
  const oldKey = await readIfThere(path('server.key'));
  const isGood = oldCert !== undefined && oldKey !== undefined;
  if (isGood && stillServes(oldCert, ca.cert, options)) return filesOf(oldCert + ca.cert, oldKey);
  const server = await issueServer(ca, names, nowMs);
  await writeSecret(path('server.key'), server.key);
  await writeSecret(path('server.crt'), server.cert);
  return filesOf(server.cert + ca.cert, server.key);
}
