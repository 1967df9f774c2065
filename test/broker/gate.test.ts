import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { generate } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { connectPacketBytesMax, packetBytesMax } from '../../broker/contract/limits.ts';
import { type Admission, createGate, type Gate } from '../../broker/gate.ts';
import { virtualClock } from '../support/clock.ts';
import { connectPacket, publishPacket } from './wire.ts';

/** A socket without a network: bytes enter by push, as a real one does it. */
class TwinSocket extends Duplex {
  readonly remoteAddress: string;
  constructor(remoteAddress: string) {
    super();
    this.remoteAddress = remoteAddress;
  }
  override _read(): void {}
}
const socketFrom = (address: string): Socket => new TwinSocket(address) as unknown as Socket;
const closed = () => new Promise((resolve) => setImmediate(resolve));

function admitted(gate: Gate, address = '192.0.2.1'): { socket: Socket; admission: Admission } {
  const socket = socketFrom(address);
  const admission = gate.admit(socket);
  if (!admission) throw new Error('not admitted');
  admission.guard(socket);
  return { socket, admission };
}

const connectBytes = generate(connectPacket('home/pve1'));
const telemetry = generate(publishPacket('kr/v1/home/pve1/telemetry'));
const publishHead = (length: number): Buffer =>
  Buffer.from([0x30, (length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, length >> 14]);

describe('gate', () => {
  it('closes a socket that has not authenticated within five seconds', async () => {
    const clock = virtualClock();
    const gate = createGate(clock);
    const { socket } = admitted(gate);
    await clock.advance(4_999);
    expect(socket.destroyed).toBe(false);
    await clock.advance(1);
    expect(socket.destroyed).toBe(true);
    expect(gate.counters().connectTimeout).toBe(1);
    await closed();
    expect(gate.preAuthSockets()).toBe(0);
  });

  it('leaves an authenticated socket alone after that, and one that dribbles bytes not', async () => {
    const clock = virtualClock();
    const gate = createGate(clock);
    const good = admitted(gate);
    const slow = admitted(gate);
    good.socket.push(connectBytes);
    good.admission.open(() => 1);
    for (const byte of connectBytes.subarray(0, 20)) {
      slow.socket.push(Buffer.from([byte]));
      await clock.advance(250);
    }
    expect([good.socket.destroyed, slow.socket.destroyed]).toEqual([false, true]);
    expect(clock.pending()).toBe(0);
  });

  it('holds at most 32 unauthenticated sockets of one address and frees a place on each close', async () => {
    const gate = createGate(virtualClock());
    const first = Array.from({ length: 32 }, () => admitted(gate));
    expect(gate.admit(socketFrom('192.0.2.1'))).toBeUndefined();
    expect(gate.admit(socketFrom('192.0.2.2'))).toBeDefined();
    expect(gate.counters().preAuthAddress).toBe(1);
    first[0]?.socket.destroy();
    await closed();
    expect(gate.admit(socketFrom('192.0.2.1'))).toBeDefined();
    first[1]?.admission.open(() => 1);
    expect(gate.admit(socketFrom('192.0.2.1'))).toBeDefined();
  });

  it('holds at most 512 unauthenticated sockets in total', () => {
    const gate = createGate(virtualClock());
    for (let index = 0; index < 512; index += 1) admitted(gate, `192.0.2.${index % 20}`);
    const last = socketFrom('198.51.100.1');
    expect(gate.admit(last)).toBeUndefined();
    expect(last.destroyed).toBe(true);
    expect(gate.counters().preAuthTotal).toBe(1);
    expect(gate.preAuthSockets()).toBe(512);
  });

  it('closes a socket whose first packet is not CONNECT before its bytes are read', () => {
    const gate = createGate(virtualClock());
    const { socket } = admitted(gate);
    const read: unknown[] = [];
    socket.on('data', (chunk) => read.push(chunk));
    socket.push(telemetry);
    expect(socket.destroyed).toBe(true);
    expect(read).toEqual([]);
    expect(gate.counters().notConnect).toBe(1);
  });

  it('refuses a CONNECT above 4 KiB, and any larger packet before authentication', () => {
    const gate = createGate(virtualClock());
    const big = admitted(gate);
    big.socket.push(Buffer.concat([Buffer.from([0x10]), publishHead(4_097).subarray(1)]));
    const early = admitted(gate);
    early.socket.push(connectBytes);
    early.socket.push(publishHead(connectPacketBytesMax + 1));
    expect([big.socket.destroyed, early.socket.destroyed]).toEqual([true, true]);
    expect(gate.counters().connectTooLarge).toBe(2);
  });

  it('refuses a packet above 256 KiB by its header alone and takes one of exactly that', () => {
    const gate = createGate(virtualClock());
    const { socket, admission } = admitted(gate);
    socket.push(connectBytes);
    admission.open(() => 1);
    socket.push(publishHead(packetBytesMax));
    socket.push(Buffer.alloc(packetBytesMax));
    expect(socket.destroyed).toBe(false);
    socket.push(publishHead(packetBytesMax + 1));
    expect(socket.destroyed).toBe(true);
    expect(gate.counters().packetTooLarge).toBe(1);
  });

  it('spends a burst of 200 and then 50 packets a second for each owned node', async () => {
    const clock = virtualClock();
    const gate = createGate(clock);
    const session = (shares: number) => {
      const { socket, admission } = admitted(gate);
      socket.push(connectBytes);
      admission.open(() => shares);
      const send = (count: number) => {
        for (let sent = 0; sent < count; sent += 1) socket.push(telemetry);
        return socket.destroyed;
      };
      return send;
    };
    const one = session(1);
    const four = session(4);
    expect(one(200)).toBe(false);
    expect(four(800)).toBe(false);
    await clock.advance(1_000);
    expect(one(50)).toBe(false);
    expect(four(200)).toBe(false);
    expect(one(1)).toBe(true);
    expect(four(1)).toBe(true);
    expect(gate.counters().tooManyPackets).toBe(2);
  });

  it('does not charge the acknowledgements of what the server sent', () => {
    const gate = createGate(virtualClock());
    const { socket, admission } = admitted(gate);
    socket.push(connectBytes);
    admission.open(() => 1);
    const puback = generate({ cmd: 'puback', messageId: 7 });
    for (let sent = 0; sent < 2_000; sent += 1) socket.push(puback);
    expect(socket.destroyed).toBe(false);
  });
});
