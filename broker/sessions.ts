/**
 * Who stands behind a connection: the check of its credential at CONNECT, and its rights at every
 * later moment. Rights are read anew each time, so that a revoked daemon is mute at once. An
 * enrolling session keeps the narrow rights it was opened with and never replaces a real one.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { isServerUser, type Party } from './access.ts';
import type { Admission } from './gate.ts';
import type { Directory } from './port.ts';
import {
  type Connecting,
  connectRefusal,
  type SessionRefusal,
  willRefusal,
} from './session-rules.ts';

export type ServerCredential = {
  username: string;
  /** SHA-256 of the secret, hex. */
  secretHash: string;
};

export type Session = {
  admission: Admission;
  /** Set by CONNECT. */
  connecting: Connecting | undefined;
  /** Set once the credential was accepted. */
  party: Party | undefined;
};

export type Judges = { directory: Directory; server?: ServerCredential };

export const isNodeParty = (party: Party | undefined): party is Exclude<Party, 'server'> =>
  party !== undefined && party !== 'server';

/** The rights of a session as they are now, not as they were when it connected. */
export function currentParty({ directory }: Judges, session?: Session): Party | undefined {
  const party = session?.party;
  if (!isNodeParty(party) || party.enrolling) return party;
  return directory.ownership(`${party.cluster}/${party.daemon}`);
}

async function identify(
  { server, directory }: Judges,
  username: string,
  secret: Uint8Array,
): Promise<Party | undefined> {
  if (server === undefined || !isServerUser(username, server.username)) {
    return directory.authenticate(username, secret);
  }
  const hash = createHash('sha256').update(secret).digest();
  const expected = Buffer.from(server.secretHash, 'hex');
  return expected.length === hash.length && timingSafeEqual(expected, hash) ? 'server' : undefined;
}

export type Verdict = { ok: true; party: Party } | { ok: false; refusal: SessionRefusal };
const refused = (refusal: SessionRefusal): Verdict => ({ ok: false, refusal });

/** `holder` answers which session has the client id at the moment it is asked. */
export async function judgeConnect(
  judges: Judges,
  session: Session | undefined,
  secret: Uint8Array | undefined,
  holder: (clientId: string) => Session | undefined,
): Promise<Verdict> {
  const connecting = session?.connecting;
  if (!connecting) return refused('noUser');
  const early = connectRefusal(connecting, judges.server?.username);
  if (early) return refused(early);
  const party = await identify(judges, connecting.username ?? '', secret ?? new Uint8Array());
  if (!party) return refused('credential');
  const held = holder(connecting.clientId)?.party;
  if (isNodeParty(party) && party.enrolling && isNodeParty(held) && !held.enrolling) {
    return refused('enrolTakeover');
  }
  const will = willRefusal(party, connecting.will);
  return will ? refused(will) : { ok: true, party };
}
