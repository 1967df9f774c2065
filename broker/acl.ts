/**
 * Mosquitto's password and ACL file for an external broker, from the same ownership that
 * `access.ts` judges by. Only the SHA-256 of a secret is kept, and Mosquitto needs a PBKDF2 hash of
 * its own, so that one is computed when the credential is made. Its few iterations are enough: a
 * secret is 256 random bits, not a word.
 */
import { pbkdf2Sync } from 'node:crypto';
import { ingestUser, may, serverFilters, telemetryFilter } from './access.ts';
import { nodeToServer, serverToNode, serverTopic, topicOf } from './contract/topics.ts';
import type { Ownership } from './port.ts';

/** What mosquitto_passwd 2.0 takes by default. */
const iterations = 101;
const hashBytes = 64;
export const mosquittoSaltBytes = 12;

/** `$7$iterations$salt$hash`, PBKDF2 with SHA-512, as Mosquitto 2 reads it. */
export function mosquittoHash(secret: string, salt: Uint8Array): string {
  const hash = pbkdf2Sync(secret, salt, iterations, hashBytes, 'sha512');
  return `$7$${iterations}$${Buffer.from(salt).toString('base64')}$${hash.toString('base64')}`;
}

export type MosquittoUser = { ownership: Ownership; mqttHash: string };
/** `workers`: how many ingest workers share the telemetry with it; default none. */
export type MosquittoServer = { username: string; mqttHash: string; workers?: number };

function daemonRules(ownership: Ownership): string[] {
  const topics = [...ownership.nodes].flatMap((node) =>
    [...nodeToServer, ...serverToNode].map((name) => topicOf(ownership.cluster, node, name)),
  );
  return [
    `topic read ${serverTopic}`,
    ...topics
      .filter((topic) => may(ownership, 'publish', topic))
      .map((topic) => `topic write ${topic}`),
    ...topics
      .filter((topic) => may(ownership, 'subscribe', topic))
      .map((topic) => `topic read ${topic}`),
  ];
}

const serverRules: readonly string[] = [
  ...serverFilters.map((filter) => `topic read ${filter}`),
  ...serverToNode.map((name) => `topic write kr/v1/+/+/${name}`),
  `topic write ${serverTopic}`,
];

/** A worker hears telemetry, confirms it, and can do nothing else. */
const workerRules: readonly string[] = [
  `topic read ${telemetryFilter('+')}`,
  'topic write kr/v1/+/+/receipt',
];

const userName = ({ cluster, daemon }: Ownership): string => `${cluster}/${daemon}`;

/** Both files whole; an administrator copies them and reloads Mosquitto with SIGHUP. */
export function mosquittoFiles(
  users: readonly MosquittoUser[],
  server: MosquittoServer,
): { passwords: string; acl: string } {
  const sorted = [...users].sort((a, b) =>
    userName(a.ownership) < userName(b.ownership) ? -1 : 1,
  );
  const blocks = sorted.map(({ ownership }) =>
    [`user ${userName(ownership)}`, ...daemonRules(ownership)].join('\n'),
  );
  const workers = Array.from({ length: server.workers ?? 0 }, (_, index) =>
    ingestUser(server.username, index + 1),
  );
  return {
    passwords: [
      ...[server.username, ...workers].map((name) => `${name}:${server.mqttHash}`),
      ...sorted.map(({ ownership, mqttHash }) => `${userName(ownership)}:${mqttHash}`),
      '',
    ].join('\n'),
    acl: [
      [
        '# In mosquitto.conf: allow_anonymous false, use_username_as_clientid true (no takeover by',
        '# another user), max_packet_size 262144, max_qos 1, retain_available true.',
      ].join('\n'),
      [`user ${server.username}`, ...serverRules].join('\n'),
      ...workers.map((name) => [`user ${name}`, ...workerRules].join('\n')),
      `${blocks.join('\n\n')}\n`,
    ].join('\n\n'),
  };
}
