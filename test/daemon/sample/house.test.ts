import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NodeFacts } from '../../../broker/contract/facts.ts';
import { withOwnWords } from '../../../daemon/link/own-words.ts';
import { createHouseFinder, gatewaysOf, isBackend } from '../../../daemon/sample/house.ts';
import { filesBelow } from '../../../daemon/sample/files.ts';
import { WakersByNode } from '../../../daemon/waker/settings.ts';
import { virtualClock } from '../../support/clock.ts';
import { fleetOf } from '../link/twin.ts';
import { makeTree, type Tree } from './tree.ts';

const clock = virtualClock();
let tree: Tree;
beforeEach(async () => {
  tree = await makeTree();
});
afterEach(() => tree.cleanUp());

const arp = `IP address       HW type     Flags       HW address            Mask     Device
10.0.0.1         0x1         0x2         02:00:00:00:00:01     *        vmbr0
10.0.0.9         0x1         0x2         02:00:00:00:00:09     *        vmbr0
`;
const route = `Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
vmbr0 00000000 0100000A 0003 0 0 0 00000000 0 0 0
vmbr0 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0
`;
const guests = [
  { id: '101', macs: ['02:00:00:00:00:01'] },
  { id: '109', macs: ['02:00:00:00:00:09'] },
  { id: '105', macs: null },
];
const server = ['/usr/lib/kernreaktor-server/node', '/opt/kernreaktor.ts', 'start', ''].join('\0');

const finderOf = (broker: readonly string[] = [], own: readonly string[] = []) =>
  createHouseFinder({
    clock,
    files: filesBelow(tree.root),
    addresses: () => ({
      eno1: own.map((address) => ({
        address,
        netmask: '255.255.255.0',
        family: 'IPv4',
        mac: '0c:c4:7a:00:00:01',
        internal: false,
        cidr: `${address}/24`,
      })),
    }),
    resolveBroker: async () => broker,
  });
const look = (broker: readonly string[] = [], own: readonly string[] = []) =>
  finderOf(broker, own)(guests);

describe('the own house, as a host sees it', () => {
  it('is empty where nothing of it lives', async () => {
    await tree.write({ 'proc/1/cmdline': '/sbin/init\0', 'proc/net/arp': arp });
    expect(await look(['10.0.0.77'], ['10.0.0.5'])).toEqual([]);
  });

  it('finds the backend by its process, on the host or in the container that holds it', async () => {
    await tree.write({
      'proc/40/cmdline': server,
      'proc/40/cgroup': '0::/system.slice/kr.service',
    });
    expect(await look()).toEqual([{ part: 'backend', guest: null, by: 'process' }]);
    await tree.write({ 'proc/40/cgroup': '0::/lxc/105/ns/system.slice/kr.service\n' });
    expect(await look()).toEqual([{ part: 'backend', guest: '105', by: 'cgroup' }]);
    await tree.write({ 'proc/40/cgroup': '0::/lxc.payload.109/init.scope\n' });
    expect(await look()).toEqual([{ part: 'backend', guest: '109', by: 'cgroup' }]);
    // A container nobody lists, of docker say, shares the fate of its host.
    await tree.write({ 'proc/40/cgroup': '0::/lxc/999/ns\n' });
    expect(await look()).toEqual([{ part: 'backend', guest: null, by: 'process' }]);
  });

  it('finds the broker by its address, or by the card of the guest that answers there', async () => {
    await tree.write({ 'proc/net/arp': arp });
    expect(await look(['10.0.0.9'])).toEqual([{ part: 'broker', guest: '109', by: 'mac' }]);
    expect(await look(['10.0.0.5'], ['10.0.0.5'])).toEqual([
      { part: 'broker', guest: null, by: 'address' },
    ]);
    expect(await look(['127.0.0.1'])).toEqual([{ part: 'broker', guest: null, by: 'address' }]);
  });

  it('finds a guest that is the gateway', async () => {
    await tree.write({ 'proc/net/arp': arp, 'proc/net/route': route });
    expect(await look()).toEqual([{ part: 'gateway', guest: '101', by: 'mac' }]);
  });

  it('looks at the processes again after ten minutes, not at every question', async () => {
    await tree.write({ 'proc/40/cmdline': '/sbin/init\0' });
    const find = finderOf();
    expect(await find(guests)).toEqual([]);
    await tree.write({ 'proc/40/cmdline': server, 'proc/40/cgroup': '0::/lxc/105/ns\n' });
    expect(await find(guests)).toEqual([]);
    await clock.advance(600_000);
    expect(await find(guests)).toMatchObject([{ part: 'backend', guest: '105' }]);
    // The guest moved away: until the next look its process is taken for the host's own.
    expect(await find([])).toMatchObject([{ part: 'backend', guest: null }]);
  });

  it('tells a server from a daemon, a client and anything else of that name', () => {
    const words = (...all: string[]): string => `${all.join('\0')}\0`;
    expect(isBackend(words('node', '/srv/kernreaktor.js', 'start'))).toBe(true);
    expect(isBackend(words('node', 'kernreaktor.ts', 'demo'))).toBe(true);
    expect(isBackend(words('node', '/app/kernreaktor.ts', 'backend'))).toBe(true);
    expect(isBackend(words('node', 'kernreaktor.ts', 'daemon'))).toBe(false);
    expect(isBackend(words('vi', '/srv/kernreaktor.ts'))).toBe(false);
    expect(isBackend('')).toBe(false);
  });

  it('reads gateways from the routes, last byte first', () => {
    expect(gatewaysOf(route)).toEqual(['10.0.0.1']);
    expect(gatewaysOf('garbage\n\nvmbr0 00000000 zz')).toEqual([]);
  });
});

describe('what a daemon adds to its driver', () => {
  const own = {
    wakers: WakersByNode.parse({
      big: [
        { kind: 'ipmi', host: 'bmc', user: 'kr', passwordFile: '/etc/kr/bmc' },
        { kind: 'wol' },
      ],
    }),
    house: async () => [{ part: 'broker' as const, guest: null, by: 'address' }],
  };

  it('is whom it can wake, in the order of its administrator, and the own house', async () => {
    const { facts } = await withOwnWords(fleetOf(['pve1']), own).describe('pve1');
    expect(facts.wakers).toEqual([
      { node: 'big', by: ['ipmi', 'wol'] },
      { node: null, by: ['wol'] },
    ]);
    expect(facts.house).toEqual([{ part: 'broker', guest: null, by: 'address' }]);
    expect(NodeFacts.parse(facts)).toEqual(facts);
  });

  it('never replaces what the driver itself said', async () => {
    const fleet = fleetOf(['pve1']);
    fleet.facts.set('pve1', { wakers: [], house: [] });
    const { facts } = await withOwnWords(fleet, own).describe('pve1');
    expect(facts).toMatchObject({ wakers: [], house: [] });
  });
});
