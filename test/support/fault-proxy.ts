/**
 * A TCP proxy that misbehaves on order. Its connections fall into groups, and each group can be
 * held (bytes wait, in one direction or both, as when a switch swallows them), cut, or refused.
 * With packet faults it reads MQTT frames and loses, repeats, delays, or tears PUBLISH and PUBACK,
 * which TCP alone would never do; what opens or ends a session passes in order.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { Chance } from './experiment.ts';

export type Hold = { up: boolean; down: boolean };

export type PacketFaults = {
  draw: Chance;
  lossRatio: number;
  duplicateRatio: number;
  /** Of these packets one half waits up to `delayMs`, so that later ones overtake it. */
  delayMs: number;
  /** One in a hundred waits up to so long. */
  longDelayMs: number;
  tearRatio: number;
};

export type FaultProxy = {
  port: number;
  /** Of the groups named, or of all. */
  hold(hold: Hold, groups?: readonly number[]): void;
  /** Resets every connection there is; with `refuse` new ones too, until `allow`. */
  cut(options?: { refuse: boolean }, groups?: readonly number[]): void;
  allow(): void;
  /** Everything takes so much longer, in order. */
  setLatency(ms: number): void;
  /** What clients send, frame by frame, as `change` would have it; null of a frame loses it. */
  setLie(change: ((frame: Buffer) => Buffer | null) | null): void;
  /** null: packets pass untouched. */
  setFaults(faults: PacketFaults | null): void;
  counts: { connections: number; lost: number; duplicated: number; delayed: number; torn: number };
  close(): Promise<void>;
};

type Link = { group: number; client: Socket; server: Socket; release: () => void };

const publish = 3;
const puback = 4;

/** Splits a stream into whole MQTT frames. */
function createFramer(): (chunk: Buffer) => Buffer[] {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    const frames: Buffer[] = [];
    for (;;) {
      let [length, digits] = [0, 0];
      let byte = 0x80;
      while (byte >= 0x80 && digits < 4 && 1 + digits < rest.length) {
        byte = rest[1 + digits] ?? 0;
        length += (byte & 0x7f) * 128 ** digits;
        digits += 1;
      }
      const end = 1 + digits + length;
      if (byte >= 0x80 || rest.length < end || rest.length < 2) return frames;
      frames.push(rest.subarray(0, end));
      rest = rest.subarray(end);
    }
  };
}

export async function startFaultProxy(target: number, groupCount = 1): Promise<FaultProxy> {
  const links = new Set<Link>();
  const holds = Array.from({ length: groupCount }, (): Hold => ({ up: false, down: false }));
  const refused = new Set<number>();
  const timers = new Set<NodeJS.Timeout>();
  const counts = { connections: 0, lost: 0, duplicated: 0, delayed: 0, torn: 0 };
  let faults: PacketFaults | null = null;
  let latencyMs = 0;
  let lie: ((frame: Buffer) => Buffer | null) | null = null;

  const later = (delayMs: number, run: () => void): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      run();
    }, delayMs);
    timers.add(timer);
  };
  const end = (link: Link): void => {
    if (!links.delete(link)) return;
    link.client.resetAndDestroy();
    link.server.resetAndDestroy();
  };

  /** Sends one frame on, or what the faults make of it. */
  function carry(link: Link, to: Socket, frame: Buffer): void {
    const write = (bytes: Buffer): void => void (to.destroyed || to.write(bytes));
    const type = (frame[0] ?? 0) >> 4;
    if (!faults || (type !== publish && type !== puback)) return write(frame);
    const { draw, lossRatio, duplicateRatio, delayMs, longDelayMs, tearRatio } = faults;
    if (draw.is(tearRatio)) {
      counts.torn += 1;
      write(frame.subarray(0, 1 + draw.below(frame.length)));
      return end(link);
    }
    if (draw.is(lossRatio)) return void (counts.lost += 1);
    const isTwice = draw.is(duplicateRatio);
    if (isTwice) counts.duplicated += 1;
    for (let copy = 0; copy < (isTwice ? 2 : 1); copy += 1) {
      const waitMs = draw.is(0.01) ? draw.between(0, longDelayMs) : draw.between(0, delayMs);
      if (draw.is(0.5)) write(frame);
      else {
        counts.delayed += 1;
        later(waitMs, () => write(frame));
      }
    }
  }

  function pipe(link: Link, from: Socket, to: Socket, direction: keyof Hold): () => void {
    const frames = createFramer();
    let waiting: Buffer[] = [];
    const flow = (chunk: Buffer): void => {
      if (holds[link.group]?.[direction]) {
        waiting.push(chunk);
        return;
      }
      if (latencyMs > 0) return later(latencyMs, () => void (to.destroyed || to.write(chunk)));
      if (lie && direction === 'up') {
        for (const frame of frames(chunk)) {
          const told = lie(frame);
          if (told && !to.destroyed) to.write(told);
        }
        return;
      }
      if (!faults) return void (to.destroyed || to.write(chunk));
      for (const frame of frames(chunk)) carry(link, to, frame);
    };
    from.on('data', flow);
    return () => {
      const held = waiting;
      waiting = [];
      for (const chunk of held) flow(chunk);
    };
  }

  const server = createServer((client) => {
    const group = counts.connections % groupCount;
    counts.connections += 1;
    client.on('error', () => undefined);
    if (refused.has(group)) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect(target, '127.0.0.1');
    upstream.on('error', () => undefined);
    const link: Link = { group, client, server: upstream, release: () => undefined };
    links.add(link);
    const releases = [pipe(link, client, upstream, 'up'), pipe(link, upstream, client, 'down')];
    link.release = () => {
      for (const release of releases) release();
    };
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true);
      socket.on('close', () => {
        // An end is a packet like any other: nobody hears of it while the line is held.
        if (holds[group]?.up || holds[group]?.down) return;
        end(link);
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const all = Array.from({ length: groupCount }, (_, index) => index);
  return {
    port: address.port,
    counts,
    hold(hold, groups = all) {
      for (const group of groups) holds[group] = hold;
      for (const link of links) {
        if (!groups.includes(link.group)) continue;
        if (!hold.up && !hold.down && (link.client.destroyed || link.server.destroyed)) end(link);
        else link.release();
      }
    },
    cut({ refuse } = { refuse: false }, groups = all) {
      for (const group of groups) if (refuse) refused.add(group);
      for (const link of links) if (groups.includes(link.group)) end(link);
    },
    allow: () => refused.clear(),
    setLatency: (ms) => void (latencyMs = ms),
    setLie: (next) => void (lie = next),
    setFaults: (next) => void (faults = next),
    async close() {
      for (const timer of timers) clearTimeout(timer);
      for (const link of links) end(link);
      server.close();
      await once(server, 'close');
    },
  };
}
