/**
 * The server's end of an external broker, through one link of client.ts: it hears what daemons say,
 * or what an ingest worker is to store of it, and repeats the retained self-description at every
 * connection, since such a broker may have lost it.
 */
import { serverFilters } from './access.ts';
import { type DaemonClientOptions, type GrowingClient, openDaemonClient } from './client.ts';
import type { Outgoing } from './contract/codec.ts';
import type { Clock, Log, Random } from './contract/ports.ts';
import { serverTopic } from './contract/topics.ts';
import type { Incoming, ServerLink } from './port.ts';

export type ServerLinkOptions = Pick<
  DaemonClientOptions,
  'url' | 'clientId' | 'username' | 'password' | 'caPem' | 'fingerprintSha256'
> & {
  /** Default: everything that daemons say. */
  subscriptions?: readonly string[];
  clock: Clock;
  random: Random;
  log: Log;
};

export type ExternalLink = ServerLink & Pick<GrowingClient, 'listenTo'>;

/**
 * Resolves after the first attempt, connected or not; `isConnected` tells which, and the link keeps
 * trying.
 */
export function connectServerLink(options: ServerLinkOptions): Promise<ExternalLink> {
  const listeners: ((message: Incoming) => void)[] = [];
  let description: Outgoing | undefined;
  return new Promise((resolve) => {
    const client = openDaemonClient({
      ...options,
      subscriptions: options.subscriptions ?? serverFilters,
      will: () => undefined,
      onConnect() {
        options.log.info({ url: new URL(options.url).host }, 'external broker connected');
        if (description) client.publish(description).catch(() => undefined);
        resolve(link);
      },
      onMessage(topic, payload) {
        const receivedAtMs = options.clock.wallMs();
        for (const listener of listeners) listener({ topic, payload, client: null, receivedAtMs });
      },
      onClose(reason) {
        options.log.warn({ url: new URL(options.url).host, reason }, 'external broker lost');
        resolve(link);
      },
    });
    const link: ExternalLink = {
      listenTo: (topics) => client.listenTo(topics),
      publish(message) {
        if (message.topic === serverTopic) description = message;
        return client.publish(message);
      },
      onMessage: (listener) => void listeners.push(listener),
      isConnected: () => client.isConnected(),
      close: () => client.end(),
    };
  });
}
