/**
 * The network cable of one daemon, which can be pulled. `drop` is a glitch: the socket dies
 * without a goodbye and the daemon reconnects by itself. `stall` lets it stay open while nothing
 * passes. `cut` is the end: nothing passes in either direction any more, as on a host that lost
 * power. Every telemetry message that is handed to a connection is counted here and nowhere else.
 */
import {
  type BreakableClient,
  type DaemonClient,
  type DaemonClientOptions,
  LinkError,
} from '../broker/client.ts';
import type { Outgoing, RejectionCode } from '../broker/contract/codec.ts';
import type { Random } from '../broker/contract/ports.ts';
import { broken } from './load/malformed.ts';

export type OpenBreakable = (options: DaemonClientOptions) => BreakableClient;

/** Telemetry messages of a fleet, for its accounts. */
export type Tally = {
  /** Given to an open connection, with those below. */
  handed: number;
  /** Of these, copies of a good message that we added. */
  duplicated: number;
  /** Of these, broken copies that we added, by the code under which they must be refused. */
  malformed: Partial<Record<RejectionCode, number>>;
  /** Connections that ended without a goodbye: what was on its way may be lost. */
  breaks: number;
};

export const newTally = (): Tally => ({ handed: 0, duplicated: 0, malformed: {}, breaks: 0 });

/** What a line does to telemetry. */
export type LineLoad = {
  tally: Tally;
  qos: 0 | 1;
  malformedRatio: number;
  duplicateRatio: number;
  random: Random;
};

export type Line = {
  open(options: DaemonClientOptions): DaemonClient;
  drop(): void;
  stall(what: 'reads' | 'both'): void;
  unstall(): void;
  cut(): void;
  /** The newest receipt that came through, as it was sent. */
  receipt(): Uint8Array | undefined;
};

/** A connection that breaks takes what it was given with it; only an open one is given anything. */
async function hand(client: DaemonClient, message: Outgoing, { tally }: LineLoad): Promise<void> {
  const isOpen = client.isConnected();
  if (isOpen) tally.handed += 1;
  await client.publish(message);
}

function sendExtras(client: DaemonClient, message: Outgoing, load: LineLoad): void {
  const { tally, random, duplicateRatio, malformedRatio } = load;
  if (!client.isConnected()) return;
  const { payload } = message;
  if (duplicateRatio > 0 && random.ratio() < duplicateRatio) {
    tally.duplicated += 1;
    hand(client, message, load).catch(() => undefined);
  }
  if (malformedRatio > 0 && random.ratio() < malformedRatio) {
    const { code, payload: bad } = broken(payload, random.ratio());
    tally.malformed[code] = (tally.malformed[code] ?? 0) + 1;
    hand(client, { ...message, payload: bad }, load).catch(() => undefined);
  }
}

function send(client: DaemonClient, message: Outgoing, load: LineLoad): Promise<void> {
  if (!message.topic.endsWith('/telemetry')) return client.publish(message);
  const own = { ...message, qos: load.qos };
  const sent = hand(client, own, load);
  sendExtras(client, own, load);
  return sent;
}

export function breakableLine(
  openClient: OpenBreakable,
  onConnect: () => void,
  load: LineLoad,
): Line {
  let client: BreakableClient | undefined;
  let isCut = false;
  let isUp = false;
  let receipt: Uint8Array | undefined;
  const wentDown = (): void => {
    if (isUp) load.tally.breaks += 1;
    isUp = false;
  };
  return {
    open(options) {
      const opened = openClient({
        ...options,
        onConnect() {
          if (isCut) return;
          isUp = true;
          options.onConnect();
          onConnect();
        },
        onMessage(topic, payload) {
          if (isCut) return;
          if (topic.endsWith('/receipt')) receipt = payload;
          options.onMessage(topic, payload);
        },
        onClose(reason) {
          wentDown();
          if (!isCut) options.onClose(reason);
        },
      });
      client = opened;
      return {
        publish: (message) =>
          isCut
            ? Promise.reject(new LinkError('KR_NOT_CONNECTED', 'the line is cut'))
            : send(opened, message, load),
        isConnected: () => !isCut && opened.isConnected(),
        end: () => opened.end(),
      };
    },
    receipt: () => receipt,
    drop: () => client?.drop(),
    stall: (what) => client?.stall(what),
    unstall: () => client?.unstall(),
    cut() {
      wentDown();
      isCut = true;
      client?.drop();
      void client?.end();
    },
  };
}
