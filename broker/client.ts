/**
 * Our one use of mqtt.js: a link that stays connected. Every connection is a client of its own, so
 * nothing of an old session (queued messages, subscriptions, a will naming the old session) leaks
 * into the next one; what was not acknowledged when the connection closed is the caller's to
 * repeat. Never queues while offline, never reconnects in step with others.
 */
import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import type { Outgoing } from './contract/codec.ts';
import type { Cancel, Clock, Log, Random } from './contract/ports.ts';
import './packet-numbers.ts';
import { fetchPinnedCa, PinError } from './pin.ts';

const connackTimeoutMs = 10_000;
/** Pings go out even while telemetry flows, so that a half-open connection is noticed. */
const keepaliveSeconds = 30;
/** Delays are uniform in [min, first * 2^n], so that 2048 daemons return over seconds. */
const retryMinMs = 250;
const retryFirstMs = 2_000;
/** A server that is there again has its whole fleet back this soon; of 2048, 400 try a second. */
const retryMaxMs = 10_000;
/** A connection that lived this long was a good one; the delays start over. */
const settledMs = 10_000;
const endTimeoutMs = 2_000;
/** Of 60 bytes each: far below the 256 KiB that a broker takes in one packet. */
const subscribeBatchSize = 1_000;

export class LinkError extends Error {
  readonly code: 'KR_NOT_CONNECTED' | 'KR_NOT_TAKEN';
  constructor(code: 'KR_NOT_CONNECTED' | 'KR_NOT_TAKEN', message: string, cause?: Error) {
    super(message, { cause });
    this.name = 'LinkError';
    this.code = code;
  }
}

export type DaemonClientOptions = {
  /** mqtt:, mqtts:, ws: or wss: */
  url: string;
  clientId: string;
  username: string;
  password: string;
  /** Trust this CA only. */
  caPem?: string;
  /** Or the CA with this SHA-256 (64 hex), taken from the chain the server shows. */
  fingerprintSha256?: string;
  /** For a broker that asks who connects by certificate. */
  clientCertificate?: { certPem: string; keyPem: string };
  /** Subscribed with QoS 1, in one packet, before `onConnect` is called. */
  subscriptions: readonly string[];
  /** Asked before every attempt: each connection is a new session and needs a will that says so. */
  will: () => Outgoing | undefined;
  /** Towards brokers of others; ours speaks 4 (MQTT 3.1.1). Default 4. */
  protocolVersion?: 4 | 5;
  /** Ours are for who listens now; others ask for what was said last. Default false. */
  isWillRetained?: boolean;
  onConnect: () => void;
  /** `isRetained`: the broker kept it from some earlier time. */
  onMessage: (topic: string, payload: Uint8Array, isRetained?: boolean) => void;
  /** Also after a failed attempt; the next attempt is already planned. */
  onClose: (reason: string) => void;
  clock: Clock;
  random: Random;
  log: Log;
};

export type DaemonClient = {
  /** QoS 0: written to the socket. QoS 1: acknowledged by the broker. Rejects with LinkError. */
  publish(message: Outgoing): Promise<void>;
  isConnected(): boolean;
  /** Disconnects cleanly, so that the broker drops the will. */
  end(): Promise<void>;
};

/** The connection of a real network, which can also be made to fail. */
export type BreakableClient = DaemonClient & {
  /** Cuts the socket as a power failure would: no goodbye, so the broker speaks the will. */
  drop(): void;
  /**
   * Reads nothing more from the socket, and with 'both' writes nothing either, while it stays open:
   * a slow reader, and a peer that is gone without a word. Holds for this connection only.
   */
  stall(what: 'reads' | 'both'): void;
  /** What was held back passes now. */
  unstall(): void;
};

/** A connection whose list of subscriptions may grow while it lives. */
export type GrowingClient = BreakableClient & {
  /** At once when connected, and at every connection from now on. */
  listenTo(topics: readonly string[]): void;
};

type Link = {
  options: DaemonClientOptions;
  subscriptions: string[];
  client: MqttClient | undefined;
  /** Connected and subscribed. */
  ready: boolean;
  ended: boolean;
  failures: number;
  connectedAtMs: number;
  caPem: string | undefined;
  /** Why the connection of now ends, should it. */
  reason: string;
  cancelRetry: Cancel;
};

function clientOptions(link: Link): IClientOptions {
  const { clientId, username, password, clientCertificate } = link.options;
  const will = link.options.will();
  return {
    protocolVersion: link.options.protocolVersion ?? 4,
    clean: true,
    clientId,
    username,
    password,
    keepalive: keepaliveSeconds,
    reschedulePings: false,
    connectTimeout: connackTimeoutMs,
    reconnectPeriod: 0,
    resubscribe: false,
    queueQoSZero: false,
    subscribeBatchSize,
    timerVariant: 'native',
    ...(will && {
      will: {
        ...will,
        payload: Buffer.from(will.payload),
        retain: link.options.isWillRetained === true,
      },
    }),
    ...(link.caPem !== undefined && {
      ca: link.caPem,
      rejectUnauthorized: true,
      allowPartialTrustChain: true,
    }),
    ...(clientCertificate && { cert: clientCertificate.certPem, key: clientCertificate.keyPem }),
  };
}

function retryDelayMs({ failures, options }: Link): number {
  const widthMs = Math.min(retryMaxMs, retryFirstMs * 2 ** Math.min(failures, 10));
  return retryMinMs + options.random.ratio() * (widthMs - retryMinMs);
}

function closed(link: Link, reason: string): void {
  const { clock, log, onClose, clientId } = link.options;
  const wasSettled = link.ready && clock.monotonicMs() - link.connectedAtMs >= settledMs;
  link.failures = wasSettled ? 0 : link.failures + 1;
  link.client = undefined;
  link.ready = false;
  if (link.ended) return;
  const delayMs = retryDelayMs(link);
  log.debug({ clientId, reason, delayMs: Math.round(delayMs) }, 'link closed');
  link.cancelRetry = clock.after(delayMs, () => attempt(link));
  onClose(reason);
}

/** mqtt.js keeps the SUBACK beside the error; 128 marks a refused topic [MQTT-3.9.3]. */
function refusedTopics(error: Error, topics: readonly string[]): string {
  const { packet } = error as { packet?: { granted?: readonly unknown[] } };
  const refused = topics.filter((_topic, index) => packet?.granted?.[index] === 128);
  return refused.slice(0, 3).join(', ');
}

/** The whole list, or what was added to it. A broker that refuses any of it is left at once. */
function ask(link: Link, topics: readonly string[], taken: () => void, client = link.client): void {
  if (topics.length === 0 || !client) return taken();
  client.subscribe([...topics], { qos: 1 }, (error) => {
    if (link.client !== client) return;
    if (!error) return taken();
    link.reason = `${error.message} (${refusedTopics(error, topics)})`;
    client.end(true);
  });
}

function subscribe(link: Link, client: MqttClient): void {
  const { clock, onConnect } = link.options;
  const topics = [...link.subscriptions];
  ask(link, topics, () => {
    if (link.client !== client) return;
    link.ready = true;
    link.connectedAtMs = clock.monotonicMs();
    // What was added while the broker was asked.
    ask(link, link.subscriptions.slice(topics.length), () => undefined);
    onConnect();
  });
}

const loopback = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** A pin is for TLS. Without TLS only a server on this very machine may be given the secret. */
function needsPin(url: URL): boolean {
  if (url.protocol === 'mqtts:' || url.protocol === 'wss:') return true;
  if (loopback.test(url.hostname)) return false;
  throw new PinError('KR_TLS_PIN', 'the token asks for TLS; use mqtts:// or wss:// to this server');
}

async function attempt(link: Link): Promise<void> {
  const { url, fingerprintSha256, onMessage, clock } = link.options;
  if (fingerprintSha256 !== undefined && link.caPem === undefined) {
    try {
      const pin = { url: new URL(url), fingerprint: fingerprintSha256, clock };
      if (needsPin(pin.url))
        link.caPem = await fetchPinnedCa({ ...pin, timeoutMs: connackTimeoutMs });
    } catch (error) {
      return closed(link, error instanceof Error ? error.message : String(error));
    }
  }
  if (link.ended) return;
  const client = connect(url, clientOptions(link));
  link.client = client;
  link.reason = 'the connection closed';
  client.on('error', (error) => {
    link.reason = error.message;
  });
  client.on('connect', () => subscribe(link, client));
  client.on('message', (topic, payload, packet) => onMessage(topic, payload, packet.retain));
  client.once('close', () => {
    // Ends the timers of mqtt.js and settles the publishes that nobody will acknowledge now.
    client.end(true);
    if (link.client === client) closed(link, link.reason);
  });
}

function publish(link: Link, message: Outgoing): Promise<void> {
  const { client } = link;
  if (!client || !link.ready) {
    return Promise.reject(new LinkError('KR_NOT_CONNECTED', 'not connected to the broker'));
  }
  const { topic, payload, qos, retain } = message;
  return new Promise((resolve, reject) => {
    client.publish(topic, payload, { qos, retain }, (error) => {
      if (error) reject(new LinkError('KR_NOT_TAKEN', error.message, error));
      else resolve();
    });
  });
}

async function end(link: Link): Promise<void> {
  link.ended = true;
  link.cancelRetry();
  const { client } = link;
  if (!client) return;
  await new Promise<void>((resolve) => {
    const cancel = link.options.clock.after(endTimeoutMs, () => void client.end(true));
    client.once('close', () => {
      cancel();
      resolve();
    });
    client.end(!link.ready);
  });
}

/** A daemon's connection. The first attempt starts at once. */
export function openDaemonClient(options: DaemonClientOptions): GrowingClient {
  const link: Link = {
    options,
    subscriptions: [...options.subscriptions],
    client: undefined,
    ready: false,
    ended: false,
    failures: -1,
    connectedAtMs: 0,
    caPem: options.caPem,
    reason: '',
    cancelRetry: () => undefined,
  };
  void attempt(link);
  return {
    publish: (message) => publish(link, message),
    isConnected: () => link.ready,
    end: () => end(link),
    drop: () => void link.client?.stream.destroy(),
    listenTo(topics) {
      const known = new Set(link.subscriptions);
      const added = topics.filter((topic) => !known.has(topic));
      link.subscriptions.push(...added);
      if (link.ready) ask(link, added, () => undefined);
    },
    stall(what) {
      link.client?.stream.pause();
      if (what === 'both') link.client?.stream.cork();
    },
    unstall() {
      const stream = link.client?.stream;
      // Corked once for each stall.
      for (let depth = stream?.writableCorked ?? 0; depth > 0; depth -= 1) stream?.uncork();
      stream?.resume();
    },
  };
}
