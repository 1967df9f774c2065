/**
 * First contact: a one-time token becomes the daemon's own credential. The credential is durable
 * before this answers; until then the token stays the only way in, so a crash at any point leaves
 * either a token that may be used again or a credential that works.
 *
 *   connect with the token --> enrol (repeated) --> enrolled --> credential file --> disconnect
 */
import type { DaemonClient, DaemonClientOptions } from '../../broker/client.ts';
import { decode, encode } from '../../broker/contract/codec.ts';
import type { Cancel, Clock, Log, NewId, Random } from '../../broker/contract/ports.ts';
import type { Enrolled } from '../../broker/contract/server.ts';
import { topicOf } from '../../broker/contract/topics.ts';
import { type Credential, writeCredential } from './credential.ts';

export type EnrolmentOptions = {
  url: string;
  cluster: string;
  node: string;
  secret: string;
  caSha256: string | null;
  daemonVersion: string;
  kernel: string | null;
  /** Where the credential is kept. */
  path: string;
};

export type EnrolmentDeps = {
  clock: Clock;
  random: Random;
  newId: NewId;
  log: Log;
  openClient: (options: DaemonClientOptions) => DaemonClient;
};

const askAgainMs = 5_000;

function credentialOf(options: EnrolmentOptions, enrolled: Enrolled): Credential {
  const { cluster, node, caSha256 } = options;
  const { daemon, secret, serverId, serverKeys, simulated } = enrolled;
  const { nodes = [node] } = enrolled;
  return { cluster, daemon, nodes, secret, serverId, serverKeys, simulated, caSha256 };
}

/** The server's answer. Waits as long as it takes: a refusal is logged with its way out. */
function ask(
  options: EnrolmentOptions,
  deps: EnrolmentDeps,
  signal: AbortSignal,
): Promise<Enrolled> {
  const { url, cluster, node, secret, caSha256, daemonVersion, kernel } = options;
  const { clock, random, newId, log } = deps;
  const identity = `${cluster}/${node}`;
  const session = newId();
  let cancel: Cancel = () => undefined;
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void): void => {
      cancel();
      client.end().then(settle, settle);
    };
    const send = (): void => {
      cancel = clock.after(askAgainMs, send);
      const head = { v: 1, id: newId(), cluster, node, session, seq: 0 } as const;
      const body = { daemonVersion, kernel };
      const outgoing = encode('enrol', { ...head, sentAtMs: clock.wallMs(), body });
      client
        .publish(outgoing)
        .catch((error: unknown) => log.debug({ err: error }, 'enrol not taken'));
    };
    const client = deps.openClient({
      url,
      clientId: identity,
      username: identity,
      password: secret,
      ...(caSha256 === null ? {} : { fingerprintSha256: caSha256 }),
      subscriptions: [topicOf(cluster, node, 'enrolled')],
      will: () => undefined,
      onConnect: send,
      onMessage(topic, payload) {
        const decoded = decode(topic, payload);
        if (!decoded.ok || decoded.message.name !== 'enrolled') return;
        const { body } = decoded.message;
        finish(() => resolve(body));
      },
      onClose(reason) {
        cancel();
        const wayOut = 'if this stays, the token may be used up or older than 15 minutes';
        log.warn({ cluster, node, reason }, `not enrolled yet; ${wayOut}`);
      },
      clock,
      random,
      log,
    });
    const abort = (): void => finish(() => reject(signal.reason as Error));
    signal.addEventListener('abort', abort, { once: true });
  });
}

export async function enrol(
  options: EnrolmentOptions,
  deps: EnrolmentDeps,
  signal: AbortSignal,
): Promise<Credential> {
  signal.throwIfAborted();
  const credential = credentialOf(options, await ask(options, deps, signal));
  await writeCredential(options.path, credential);
  const { cluster, daemon } = credential;
  deps.log.info({ cluster, daemon }, 'enrolled');
  return credential;
}
