/** A witness that knocks: silence is proof only where somebody else answers. */
import { createServer } from 'node:net';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { createReach, knockBy, parseNeighbours } from '../../../daemon/link/reach.ts';
import type { Files } from '../../../daemon/sample/files.ts';
import { isWithin } from '../../../daemon/sample/links.ts';
import { realClock } from '../../broker/wire.ts';
import { virtualClock } from '../../support/clock.ts';

const head = 'IP address       HW type     Flags       HW address            Mask     Device\n';
const row = (address: string, isComplete: boolean) =>
  isComplete
    ? `${address}  0x1  0x2  02:00:00:00:00:0b  *  vmbr0\n`
    : `${address}  0x1  0x0  00:00:00:00:00:00  *  vmbr0\n`;
const [sought, router] = ['192.168.7.12', '192.168.7.1'];
const link = {
  name: 'eno1',
  mac: '02:00:00:00:00:01',
  driver: 'igc',
  address: '192.168.7.10/24',
  broadcast: '192.168.7.255',
};

type World = {
  address?: string;
  /** Knocks that are answered, counted from 1. */
  answersAt?: number;
  before?: string;
  after?: string | null;
  carrier?: string;
};

async function look({ address = sought, answersAt = 0, carrier = '1', ...arp }: World) {
  const { before = row(router, true) + row(sought, true), after } = arp;
  const clock = virtualClock();
  const startedAtMs = clock.monotonicMs();
  const knocked: string[] = [];
  let count = 0;
  const files = {
    text: async () => (knocked.length === 0 ? head + before : after === null ? null : head + after),
    line: async () => carrier,
  } as unknown as Files;
  const reach = createReach({
    links: async () => [link],
    files,
    clock,
    knock: async (at, port) => {
      knocked.push(`${at}:${port}`);
      if (at !== sought) return false;
      count += 1;
      return count === answersAt;
    },
  });
  const seen: Awaited<ReturnType<typeof reach>>[] = [];
  void reach([address]).then((observation) => seen.push(observation));
  for (let turn = 0; turn < 40 && seen.length === 0; turn += 1) {
    for (let wait = 0; wait < 5; wait += 1) await new Promise((done) => setImmediate(done));
    if (seen.length === 0) await clock.advance(1_000);
  }
  return { seen: seen[0], knocked, tookMs: clock.monotonicMs() - startedAtMs };
}

const others = row(router, true);

describe('a witness in the network of a host', () => {
  it('sees it off when neither port nor card answers for 30 s, and somebody else does', async () => {
    const { seen, knocked, tookMs } = await look({ after: others + row(sought, false) });
    expect(seen).toMatchObject({ postcondition: true });
    expect(tookMs).toBeGreaterThanOrEqual(30_000);
    expect(knocked.filter((at) => at === `${sought}:8006`)).toHaveLength(10);
    expect(knocked).toContain(`${sought}:22`);
  });

  it.each<[string, World, string]>([
    ['it answers once, at the last knock', { answersAt: 20, after: others }, 'still answers'],
    ['its card still answers', { after: others + row(sought, true) }, 'network card'],
    ['nobody else answers', { after: row(router, false) }, 'hears nobody else'],
    ['nobody else was ever there', { before: '', after: others }, 'hears nobody else'],
    ['its own cable is out', { carrier: '0', after: others }, 'hears nobody else'],
    ['the neighbours cannot be read', { after: null }, 'cannot be read'],
    ['it is in another network', { address: '10.0.0.12', after: others }, 'no link'],
    ['it is the witness itself', { address: '192.168.7.10', after: others }, 'no link'],
  ])('says nothing when %s', async (_when, world, detail) => {
    const { seen } = await look(world);
    expect(seen).toMatchObject({
      postcondition: null,
      detail: expect.stringContaining(detail),
    });
  });

  it('knocks at nobody outside its own networks', async () => {
    expect((await look({ address: '10.0.0.12' })).knocked).toEqual([]);
  });

  it('counts a refusal as an answer', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    const knock = knockBy(realClock);
    expect(await knock('127.0.0.1', port)).toBe(true);
    server.close();
    await once(server, 'close');
    expect(await knock('127.0.0.1', port)).toBe(true);
  });

  it('reads the table of the kernel', () => {
    expect(parseNeighbours(head + row(router, true) + row(sought, false))).toEqual([
      { address: router, isComplete: true, device: 'vmbr0' },
      { address: sought, isComplete: false, device: 'vmbr0' },
    ]);
    expect(parseNeighbours('')).toEqual([]);
  });

  it.each([
    ['192.168.7.10/24', '192.168.7.255', true],
    ['192.168.7.10/24', '192.168.8.1', false],
    ['10.0.0.1/8', '10.255.0.1', true],
    ['192.168.7.10', '192.168.7.11', false],
    [null, '192.168.7.11', false],
    ['192.168.7.10/24', 'fe80::1', false],
  ])('takes of %s that %s is within: %s', (cidr, address, is) => {
    expect(isWithin(cidr, address)).toBe(is);
  });
});
