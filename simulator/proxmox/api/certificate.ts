/**
 * A self-signed certificate for the fake API, made anew at every start, as each Proxmox host has
 * one of its own: ECDSA P-256 for 127.0.0.1 and localhost, written in DER by hand.
 */
import { createHash, generateKeyPairSync, sign } from 'node:crypto';

export type FakeCertificate = {
  key: string;
  cert: string;
  /** As Proxmox prints it: upper-case hex pairs joined by colons. */
  fingerprint: string;
};

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const size =
    body.length < 128
      ? [body.length]
      : body.length < 256
        ? [0x81, body.length]
        : [0x82, body.length >> 8, body.length & 255];
  return Buffer.concat([Buffer.from([tag, ...size]), body]);
}

const sequence = (...parts: readonly Uint8Array[]): Buffer => der(0x30, ...parts);
const oid = (hex: string): Buffer => der(0x06, Buffer.from(hex, 'hex'));
const text = (tag: number, value: string): Buffer => der(tag, Buffer.from(value));

const ecdsaWithSha256 = sequence(oid('2a8648ce3d040302'));
const nameOf = (commonName: string): Buffer =>
  sequence(der(0x31, sequence(oid('550403'), text(0x0c, commonName))));
const validity = sequence(text(0x17, '200101000000Z'), text(0x17, '491231235959Z'));

/** subjectAltName: DNS localhost, IP 127.0.0.1. */
const names = sequence(text(0x82, 'localhost'), der(0x87, Buffer.from([127, 0, 0, 1])));
const extensions = der(0xa3, sequence(sequence(oid('551d11'), der(0x04, names))));

export function makeCertificate(commonName: string): FakeCertificate {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const subject = nameOf(commonName);
  const publicInfo = publicKey.export({ type: 'spki', format: 'der' });
  const serial = createHash('sha256').update(publicInfo).digest().subarray(0, 8);
  serial.writeUInt8(serial.readUInt8(0) & 0x7f || 1, 0);
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    ecdsaWithSha256,
    subject,
    validity,
    subject,
    publicInfo,
    extensions,
  );
  const signature = sign('sha256', body, privateKey);
  const whole = sequence(body, ecdsaWithSha256, der(0x03, Buffer.from([0]), signature));
  const lines = whole.toString('base64').match(/.{1,64}/g) ?? [];
  const digest = createHash('sha256').update(whole).digest('hex').toUpperCase();
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`,
    fingerprint: digest.match(/../g)?.join(':') ?? '',
  };
}
