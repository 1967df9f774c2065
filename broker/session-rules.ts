/**
 * What a client may ask of its own session: pure judgements on CONNECT, will and PUBLISH, each
 * answering a refusal in one word or nothing. Topics are judged by `access.ts`.
 */
import { may, type Party } from './access.ts';
import { willBytesMax } from './contract/limits.ts';
import { parseTopic } from './contract/topics.ts';

export type Sent = { topic: string; payload: Uint8Array; qos: number; retain: boolean };
export type Connecting = {
  clientId: string;
  username: string | undefined;
  clean: boolean;
  will: Sent | undefined;
};

export const sessionRefusals = [
  'noUser',
  'clientIdNotUser',
  'persistentSession',
  'credential',
  'enrolTakeover',
  'directory',
  'will',
  'qos2',
  'retain',
  'topic',
] as const;
export type SessionRefusal = (typeof sessionRefusals)[number];

/** The server alone may add a name of its own, so that two backends do not replace each other. */
function isOwnClientId(clientId: string, username: string, serverUser: string | undefined) {
  if (clientId === username) return true;
  if (username !== serverUser || !clientId.startsWith(`${username}/`)) return false;
  return /^[a-z0-9-]{1,63}$/.test(clientId.slice(username.length + 1));
}

/** Before the credential is looked at: the session must be named after it and keep nothing. */
export function connectRefusal(
  connecting: Connecting,
  serverUser: string | undefined,
): SessionRefusal | undefined {
  const { clientId, username, clean } = connecting;
  if (username === undefined || username === '') return 'noUser';
  if (!isOwnClientId(clientId, username, serverUser)) return 'clientIdNotUser';
  // An offline queue has no bound in the broker's memory, and a stale command must never arrive.
  return clean ? undefined : 'persistentSession';
}

/** Only the presence of an owned node, small, not retained: a will says "gone" and no more. */
export function willRefusal(party: Party, will: Sent | undefined): SessionRefusal | undefined {
  if (!will) return undefined;
  const isPresence = parseTopic(will.topic)?.name === 'presence';
  const isSmall = will.payload.byteLength <= willBytesMax && will.qos <= 1 && !will.retain;
  return isPresence && isSmall && may(party, 'publish', will.topic) ? undefined : 'will';
}

export function publishRefusal(party: Party, sent: Sent): SessionRefusal | undefined {
  if (sent.qos > 1) return 'qos2';
  if (sent.retain && party !== 'server') return 'retain';
  return may(party, 'publish', sent.topic) ? undefined : 'topic';
}

/** CONNACK return codes [MQTT-3.2.2.3]: 2 identifier, 3 unavailable, 4 credential, 5 not allowed. */
export const connackCodes: Readonly<Record<SessionRefusal, 2 | 3 | 4 | 5>> = {
  noUser: 4,
  clientIdNotUser: 2,
  persistentSession: 2,
  credential: 4,
  enrolTakeover: 2,
  directory: 3,
  will: 5,
  qos2: 5,
  retain: 5,
  topic: 5,
};
