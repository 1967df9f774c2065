/**
 * The network cable of one daemon, which can be pulled. `drop` is a glitch: the socket dies
 * without a goodbye and the daemon reconnects by itself. `cut` is the end: nothing passes in
 * either direction any more, as on a host that lost power.
 */
import {
  type BreakableClient,
  type DaemonClient,
  type DaemonClientOptions,
  LinkError,
} from '../broker/client.ts';

export type OpenBreakable = (options: DaemonClientOptions) => BreakableClient;

export type Line = {
  open(options: DaemonClientOptions): DaemonClient;
  drop(): void;
  cut(): void;
  /** The newest receipt that came through, as it was sent. */
  receipt(): Uint8Array | undefined;
};

export function breakableLine(openClient: OpenBreakable, onConnect: () => void): Line {
  let client: BreakableClient | undefined;
  let isCut = false;
  let receipt: Uint8Array | undefined;
  return {
    open(options) {
      const opened = openClient({
        ...options,
        onConnect() {
          if (isCut) return;
          options.onConnect();
          onConnect();
        },
        onMessage(topic, payload) {
          if (isCut) return;
          if (topic.endsWith('/receipt')) receipt = payload;
          options.onMessage(topic, payload);
        },
        onClose: (reason) => void (isCut || options.onClose(reason)),
      });
      client = opened;
      return {
        publish: (message) =>
          isCut
            ? Promise.reject(new LinkError('KR_NOT_CONNECTED', 'the line is cut'))
            : opened.publish(message),
        isConnected: () => !isCut && opened.isConnected(),
        end: () => opened.end(),
      };
    },
    receipt: () => receipt,
    drop: () => client?.drop(),
    cut() {
      isCut = true;
      client?.drop();
      void client?.end();
    },
  };
}
