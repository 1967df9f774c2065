import { describe, expect, it } from 'vitest';
import {
  type HouseAnswer,
  type Identity,
  locateHouse,
  parseHouseAnswer,
  residentsOf,
  type SeenNode,
} from '../../../backend/act/house.ts';
import { nodeFacts } from './guard-samples.ts';

const backend = (change: Partial<Identity> = {}): Identity => ({
  part: 'backend',
  macs: ['bc:24:11:00:00:01'],
  systemUuid: null,
  addresses: [],
  ...change,
});
const link = (mac: string, address: string | null = null) => ({
  name: 'eno1',
  mac,
  address,
  broadcast: null,
  wakeOnMagic: true,
  driver: null,
});
const seen = (node: string, change: Partial<SeenNode> = {}): SeenNode => ({
  cluster: 'home',
  node,
  facts: nodeFacts({ links: [link('02:00:00:00:00:01')] }),
  guests: [],
  ...change,
});
const guest = (id: string, macs: string[]) => ({ id, macs, systemUuid: null, addresses: null });

describe('the own house', () => {
  it('is found in a guest by its card', () => {
    const nodes = [seen('pve1', { guests: [guest('100', ['bc:24:11:00:00:01'])] }), seen('pve2')];
    const { residents, unknown } = locateHouse(nodes, [backend()], null);
    expect(residents).toEqual([
      { cluster: 'home', node: 'pve1', guest: '100', part: 'backend', by: 'machine' },
    ]);
    expect(unknown).toEqual([]);
  });

  it('is found on a host by its card, its address or its board', () => {
    const board = seen('pve3', { facts: nodeFacts({ systemUuid: 'a-b', links: [] }) });
    const nodes = [
      seen('pve1', { facts: nodeFacts({ links: [link('bc:24:11:00:00:01')] }) }),
      seen('pve2', { facts: nodeFacts({ links: [link('02::', '10.0.0.9/24')] }) }),
      board,
    ];
    const whoAmI = backend({ addresses: ['10.0.0.9'], systemUuid: 'a-b' });
    const { residents } = locateHouse(nodes, [whoAmI], null);
    expect(residents.map(({ node, guest: id }) => `${node} ${id}`).toSorted()).toEqual([
      'pve1 null',
      'pve2 null',
      'pve3 null',
    ]);
  });

  it('is found in the guest rather than on the host that shows its card, too', () => {
    const both = seen('pve1', {
      facts: nodeFacts({ links: [link('bc:24:11:00:00:01')] }),
      guests: [guest('100', ['bc:24:11:00:00:01'])],
    });
    expect(locateHouse([both], [backend()], null).residents[0]?.guest).toBe('100');
  });

  it('believes what a daemon found on its node, also of other parts', () => {
    const facts = nodeFacts({ house: [{ part: 'mariadb', guest: '101', by: 'address' }] });
    const { residents, unknown } = locateHouse([seen('pve2', { facts })], [backend()], null);
    expect(residents).toEqual([
      { cluster: 'home', node: 'pve2', guest: '101', part: 'mariadb', by: 'address' },
    ]);
    expect(unknown).toEqual(['backend']);
  });

  it('is unknown until found or told, part by part', () => {
    const mariadb = backend({ part: 'mariadb', macs: [] });
    expect(locateHouse([seen('pve1')], [backend(), mariadb], null).unknown).toEqual([
      'backend',
      'mariadb',
    ]);
    const told: HouseAnswer = [{ cluster: 'home', node: 'pve1', guest: null, part: 'backend' }];
    const { residents, unknown } = locateHouse([seen('pve1')], [backend(), mariadb], told);
    expect(unknown).toEqual([]);
    expect(residents.map(({ by }) => by)).toEqual(['answer']);
    expect(locateHouse([], [backend()], []).unknown).toEqual([]);
  });

  it('adds what was told to what was found, and never takes away', () => {
    const nodes = [seen('pve1', { guests: [guest('100', ['bc:24:11:00:00:01'])] })];
    const told: HouseAnswer = [{ cluster: 'home', node: 'pve2', guest: null, part: 'backend' }];
    const { residents } = locateHouse(nodes, [backend()], told);
    expect(residents.map(({ node }) => node).toSorted()).toEqual(['pve1', 'pve2']);
    expect(locateHouse(nodes, [backend()], []).residents).toHaveLength(1);
  });

  it('does not mix up nodes of the same name in two clusters', () => {
    const nodes = [
      seen('pve1', { guests: [guest('100', ['bc:24:11:00:00:01'])] }),
      seen('pve1', { cluster: 'work', guests: [guest('100', ['bc:24:11:00:00:02'])] }),
    ];
    const house = locateHouse(nodes, [backend()], null);
    expect(residentsOf(house, { cluster: 'home', node: 'pve1' })).toHaveLength(1);
    expect(residentsOf(house, { cluster: 'work', node: 'pve1' })).toEqual([]);
  });

  it('is told in one line', () => {
    expect(parseHouseAnswer('elsewhere')).toEqual([]);
    expect(parseHouseAnswer('home/pve1/100, mariadb@home/pve2')).toEqual([
      { part: 'backend', cluster: 'home', node: 'pve1', guest: '100' },
      { part: 'mariadb', cluster: 'home', node: 'pve2', guest: null },
    ]);
    expect(parseHouseAnswer('pve1')).toMatchObject({ problem: expect.stringContaining('pve1') });
    expect(parseHouseAnswer('')).toMatchObject({ problem: expect.stringContaining('elsewhere') });
    expect(parseHouseAnswer('ntp@home/pve1')).toHaveProperty('problem');
  });
});
