/**
 * What a socket must pass before the MQTT parser sees a byte: a place among the unauthenticated,
 * five seconds to authenticate, packets of bounded length, and afterwards a budget of packets per
 * second. Works the same on TCP, TLS and WebSocket, since it watches the stream of MQTT bytes.
 * Never answers: a refused socket is closed and counted. It holds back only what was read when the
 * sockets' share of a turn was over (turns.ts).
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import {
  connectPacketBytesMax,
  connectTimeoutMs,
  packetBytesMax,
  preAuthSocketsMax,
  preAuthSocketsPerAddressMax,
  publishBurstMax,
  publishesPerSecondMax,
} from './contract/limits.ts';
import type { Clock } from './contract/ports.ts';
import { createFrameScanner, packetType } from './frames.ts';
import { createTurns, type Turns } from './turns.ts';

export const gateRefusals = [
  'preAuthTotal',
  'preAuthAddress',
  'connectTimeout',
  'notConnect',
  'connectTooLarge',
  'packetTooLarge',
  'malformed',
  'tooManyPackets',
] as const;
export type GateRefusal = (typeof gateRefusals)[number];

export type GateLimits = {
  connectTimeoutMs: number;
  preAuthSocketsPerAddressMax: number;
  preAuthSocketsMax: number;
  publishesPerSecondMax: number;
  publishBurstMax: number;
};

const defaults: GateLimits = {
  connectTimeoutMs,
  preAuthSocketsPerAddressMax,
  preAuthSocketsMax,
  publishesPerSecondMax,
  publishBurstMax,
};

export type Admission = {
  readonly address: string;
  /** Watches the MQTT bytes of `stream`: the socket itself or its TLS or WebSocket layer. */
  guard(stream: Duplex): void;
  /** Authenticated. `shares` is the number of nodes it speaks for now; null lifts the budget. */
  open(shares: (() => number) | null): void;
};

export type Gate = {
  /** Takes a fresh TCP connection, or closes it and answers undefined when there is no place. */
  admit(socket: Socket): Admission | undefined;
  counters(): Readonly<Record<GateRefusal, number>>;
  preAuthSockets(): number;
  /** Closes everyone who has not authenticated. */
  close(): void;
};

type Counters = Record<GateRefusal, number>;

/** A token bucket that grows with the number of nodes a connection speaks for. */
function createBudget(clock: Clock, gate: GateLimits, shares: () => number): () => boolean {
  let tokens = gate.publishBurstMax * Math.max(1, shares());
  let atMs = clock.monotonicMs();
  return () => {
    const nowMs = clock.monotonicMs();
    const factor = Math.max(1, shares());
    const earned = ((nowMs - atMs) / 1000) * gate.publishesPerSecondMax * factor;
    tokens = Math.min(gate.publishBurstMax * factor, tokens + earned) - 1;
    atMs = nowMs;
    return tokens >= 0;
  };
}

type Passage = { phase: 'fresh' | 'connecting' | 'open'; spend: () => boolean };

/** PUBACK answers what we sent ourselves; every other packet of an open session costs. */
function judgeFrame(passage: Passage, type: number, lengthBytes: number): GateRefusal | undefined {
  if (passage.phase === 'fresh') {
    if (type !== packetType.connect) return 'notConnect';
    passage.phase = 'connecting';
  }
  if (passage.phase === 'connecting') {
    return lengthBytes > connectPacketBytesMax ? 'connectTooLarge' : undefined;
  }
  if (lengthBytes > packetBytesMax) return 'packetTooLarge';
  if (type !== packetType.puback && !passage.spend()) return 'tooManyPackets';
  return undefined;
}

/**
 * `push` is where every stream of Node hands its bytes over, so they are seen here before anyone
 * can read them, without a copy and without a second stream; `_read` is where it is asked for more.
 */
function watch(
  stream: Duplex,
  passage: Passage,
  turns: Turns,
  refuse: (why: GateRefusal) => void,
): void {
  const scan = createFrameScanner<GateRefusal>((type, length) => judgeFrame(passage, type, length));
  const push = stream.push.bind(stream);
  let refused = false;
  const handOver = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    if (refused || stream.destroyed) return false;
    const refusal = chunk instanceof Uint8Array ? scan(chunk) : undefined;
    if (refusal === undefined) return push(chunk, encoding);
    refused = true;
    refuse(refusal);
    stream.destroy();
    return false;
  };
  stream.push = (chunk: unknown, encoding?: BufferEncoding): boolean =>
    turns.take(() => handOver(chunk, encoding));
  const read = stream._read.bind(stream);
  stream._read = (bytes: number): void =>
    turns.ask(() => {
      if (!stream.destroyed) read(bytes);
    });
}

export function createGate(clock: Clock, overrides: Partial<GateLimits> = {}): Gate {
  const gateLimits: GateLimits = { ...defaults, ...overrides };
  const counters = Object.fromEntries(gateRefusals.map((why) => [why, 0])) as Counters;
  const turns = createTurns(clock);
  const waiting = new Set<Socket>();
  const byAddress = new Map<string, number>();

  const leave = (socket: Socket, address: string): void => {
    if (!waiting.delete(socket)) return;
    const left = (byAddress.get(address) ?? 1) - 1;
    if (left > 0) byAddress.set(address, left);
    else byAddress.delete(address);
  };
  const fullness = (address: string): GateRefusal | undefined => {
    if (waiting.size >= gateLimits.preAuthSocketsMax) return 'preAuthTotal';
    const same = byAddress.get(address) ?? 0;
    return same >= gateLimits.preAuthSocketsPerAddressMax ? 'preAuthAddress' : undefined;
  };
  const refuse = (socket: Socket, why: GateRefusal): void => {
    counters[why] += 1;
    socket.destroy();
  };

  const admit = (socket: Socket): Admission | undefined => {
    const address = socket.remoteAddress ?? 'unknown';
    const full = fullness(address);
    // A peer that resets its socket must not end the process, whoever owns the socket by then.
    socket.on('error', () => undefined);
    if (full) {
      refuse(socket, full);
      return undefined;
    }
    waiting.add(socket);
    byAddress.set(address, (byAddress.get(address) ?? 0) + 1);
    const passage: Passage = { phase: 'fresh', spend: () => true };
    const cancel = clock.after(gateLimits.connectTimeoutMs, () => refuse(socket, 'connectTimeout'));
    socket.once('close', () => {
      cancel();
      leave(socket, address);
    });
    return {
      address,
      guard: (stream) => watch(stream, passage, turns, (why) => refuse(socket, why)),
      open(shares) {
        cancel();
        leave(socket, address);
        passage.phase = 'open';
        if (shares) passage.spend = createBudget(clock, gateLimits, shares);
      },
    };
  };

  return {
    admit,
    counters: () => counters,
    preAuthSockets: () => waiting.size,
    close() {
      for (const socket of waiting) socket.destroy();
    },
  };
}
