/**
 * One-time passwords of 30 seconds (RFC 6238) by otpauth, which only this file imports. A code
 * counts once: the step it belongs to is remembered, so that one that was seen or read over a
 * shoulder is worth nothing.
 */
import { Secret, TOTP } from 'otpauth';
import type { Random } from '../../broker/contract/ports.ts';

const issuer = 'Kernreaktor';
const secretBytes = 20;
const periodSeconds = 30;
/** One step to either side, for clocks that differ a little. */
const window = 1;

export const totpPattern = /^\d{6}$/;
export const totpSecretPattern = /^[A-Z2-7]{32}$/;

const totpOf = (username: string, secret: string): TOTP =>
  new TOTP({
    issuer,
    label: username,
    secret: Secret.fromBase32(secret),
    algorithm: 'SHA1',
    digits: 6,
    period: periodSeconds,
  });

/** What an authenticator app is shown, as text and as the address in its QR code. */
export function newTotp(username: string, random: Random): { secret: string; uri: string } {
  const bytes = Uint8Array.from(random.bytes(secretBytes));
  const { base32: secret } = new Secret({ buffer: bytes.buffer });
  return { secret, uri: totpOf(username, secret).toString() };
}

export type TotpCheck = (
  account: { id: string; username: string; secret: string },
  code: string,
  nowMs: number,
) => boolean;

export function createTotpCheck(): TotpCheck {
  /** The last step each account has used, by this process. */
  const usedSteps = new Map<string, number>();
  return ({ id, username, secret }, code, nowMs) => {
    if (!totpPattern.test(code)) return false;
    const delta = totpOf(username, secret).validate({ token: code, timestamp: nowMs, window });
    if (delta === null) return false;
    const step = Math.floor(nowMs / 1_000 / periodSeconds) + delta;
    if (step <= (usedSteps.get(id) ?? -Infinity)) return false;
    usedSteps.set(id, step);
    return true;
  };
}
