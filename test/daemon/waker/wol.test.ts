import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Link } from '../../../daemon/sample/links.ts';
import { createWolWaker } from '../../../daemon/waker/wol.ts';

const mac = '0c:c4:7a:12:ab:ff';
const loopback: Link = {
  name: 'eth0',
  mac: '02:00:00:00:00:01',
  driver: null,
  address: '127.0.0.1/8',
  broadcast: '127.0.0.1',
};

const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) {
    const closed = once(socket, 'close');
    socket.close();
    await closed;
  }
});

type Heard = { bytes: Buffer; from: string };

async function listener(): Promise<{
  port: number;
  heard: Heard[];
  count(n: number): Promise<void>;
}> {
  const socket = createSocket('udp4');
  sockets.push(socket);
  const heard: Heard[] = [];
  socket.on('message', (bytes, { address }) => heard.push({ bytes, from: address }));
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    port: socket.address().port,
    heard,
    async count(n) {
      while (heard.length < n) await once(socket, 'message');
    },
  };
}

const signal = (): AbortSignal => new AbortController().signal;
const expected = Buffer.from('ff'.repeat(6) + '0cc47a12abff'.repeat(16), 'hex');

describe('wol', () => {
  it('sends three exact magic packets to each port of a directed broadcast', async () => {
    const nine = await listener();
    const seven = await listener();
    const waker = createWolWaker({ links: async () => [], ports: [nine.port, seven.port] });
    const request = { node: 'big', macs: [mac], broadcasts: ['127.0.0.1'] };
    const sent = await waker.wake(request, signal());
    await Promise.all([nine.count(3), seven.count(3)]);
    expect(sent.packets).toBe(6);
    expect(expected).toHaveLength(102);
    for (const { bytes } of [...nine.heard, ...seven.heard]) expect(bytes).toEqual(expected);
    expect(nine.heard).toHaveLength(3);
    expect(seven.heard).toHaveLength(3);
  });

  it('uses the broadcast of every own link when the target names none', async () => {
    const one = await listener();
    const bare: Link = { ...loopback, name: 'eth1', address: null, broadcast: null };
    const waker = createWolWaker({ links: async () => [loopback, bare], ports: [one.port] });
    const sent = await waker.wake({ node: 'big', macs: [mac], broadcasts: [] }, signal());
    await one.count(3);
    expect(sent).toEqual({
      packets: 3,
      detail: `3 packets to ports ${one.port}: 127.0.0.1 from 127.0.0.1`,
    });
    expect(one.heard[0]?.from).toBe('127.0.0.1');
  });

  it.each(['zz:zz:zz:zz:zz:zz', 'GGGGGGGGGGGG', '0cc47a12abff', '', '0c:c4:7a:12:ab'])(
    'refuses %j, which is no address, before anything is sent',
    async (bad) => {
      const waker = createWolWaker({ links: async () => [loopback] });
      const request = { node: 'big', macs: [mac, bad], broadcasts: ['127.0.0.1'] };
      await expect(waker.wake(request, signal())).rejects.toMatchObject({
        code: 'KR_BAD_MAC',
        message: expect.stringContaining('aa:bb:cc:dd:ee:ff'),
      });
    },
  );

  it('refuses a wake without any address', async () => {
    const waker = createWolWaker({ links: async () => [loopback] });
    const wake = waker.wake({ node: 'big', macs: [], broadcasts: [] }, signal());
    await expect(wake).rejects.toMatchObject({ code: 'KR_BAD_MAC' });
  });

  it('says what is missing when no link has a broadcast', async () => {
    const waker = createWolWaker({ links: async () => null });
    const wake = waker.wake({ node: 'big', macs: [mac], broadcasts: [] }, signal());
    await expect(wake).rejects.toMatchObject({
      code: 'KR_NO_INTERFACE',
      message: expect.stringContaining('give the target its broadcasts'),
    });
  });

  it('reports a send that failed, and one that failed beside one that went out', async () => {
    const one = await listener();
    const foreign: Link = { ...loopback, address: '203.0.113.9/24', broadcast: '203.0.113.255' };
    const alone = createWolWaker({ links: async () => [foreign], ports: [one.port] });
    const request = { node: 'big', macs: [mac], broadcasts: [] };
    await expect(alone.wake(request, signal())).rejects.toMatchObject({
      code: 'KR_WAKE_SEND',
      message: expect.stringContaining('203.0.113.255 from 203.0.113.9 failed'),
      cause: expect.any(Error),
    });
    const both = createWolWaker({ links: async () => [foreign, loopback], ports: [one.port] });
    const sent = await both.wake(request, signal());
    expect(sent.packets).toBe(3);
    expect(sent.detail).toContain('failed');
  });

  it('sends nothing once it was aborted', async () => {
    const waker = createWolWaker({ links: async () => [loopback] });
    const request = { node: 'big', macs: [mac], broadcasts: [] };
    const wake = waker.wake(request, AbortSignal.abort());
    await expect(wake).rejects.toMatchObject({ code: 'KR_WAKE_SEND' });
  });

  it('leaves no socket open', async () => {
    const open = () => process.getActiveResourcesInfo().filter((name) => name.startsWith('UDP'));
    const before = open().length;
    const waker = createWolWaker({ links: async () => [loopback], ports: [9] });
    await waker.wake({ node: 'big', macs: [mac], broadcasts: [] }, signal());
    await vi.waitFor(() => expect(open().length).toBeLessThanOrEqual(before), { timeout: 10_000 });
  });
});
