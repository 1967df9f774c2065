import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import type { Context } from '../../../../daemon/hypervisor/proxmox-api/context.ts';
import { linksOf } from '../../../../daemon/hypervisor/proxmox-api/links.ts';
import { memoryLog } from '../../../support/log.ts';

const mac = 'aa:bb:cc:dd:ee:ff';
const bridge = {
  iface: 'vmbr0',
  type: 'bridge',
  active: 1,
  cidr: '192.168.7.11/24',
  gateway: '192.168.7.1',
  bridge_ports: 'nic0',
};
const storage = { iface: 'vmbr1', type: 'bridge', active: 1, cidr: '10.9.0.11/16' };
const card = { iface: 'nic0', type: 'eth', active: 1, altnames: ['enp5s0', 'enx1c834132b5a7'] };

type World = { wakeonlan?: string; network?: unknown; isDeclared?: boolean };

async function seen({ wakeonlan, network = [bridge, storage, card], isDeclared }: World) {
  const answers = new Map<string, unknown>([
    ['/nodes/pve1/config', { ...(wakeonlan !== undefined && { wakeonlan }) }],
    ['/nodes/pve1/network', network],
  ]);
  const get = async (schema: z.ZodType, path: string) => schema.parse(answers.get(path));
  const log = memoryLog();
  const declared = isDeclared
    ? { pve1: { roles: [], wakeOnMagic: true, nothingElseAtWork: true } }
    : {};
  const context = { api: { get }, declared, log } as unknown as Context;
  return { links: await linksOf(context, 'pve1', 'pve1'), log };
}

describe('the card of a node by the API', () => {
  it('sends into the network of the default route, where its administrator names no other', async () => {
    const { links } = await seen({ wakeonlan: mac, isDeclared: true });
    const address = '192.168.7.11/24';
    const link = { name: 'vmbr0', mac, address, broadcast: '192.168.7.255' };
    expect(links).toEqual([{ ...link, wakeOnMagic: true, driver: null }]);
  });

  it('sends into the network of the interface that is bound', async () => {
    const { links } = await seen({ wakeonlan: `${mac},bind-interface=vmbr1` });
    expect(links).toMatchObject([{ name: 'vmbr1', broadcast: '10.9.255.255' }]);
  });

  it('sends where the administrator says, before anything else', async () => {
    const { links } = await seen({ wakeonlan: `mac=${mac},broadcast-address=192.168.8.255` });
    expect(links).toMatchObject([{ broadcast: '192.168.8.255' }]);
  });

  it('knows no network behind an interface that is down, missing or without an address', async () => {
    const down = { ...bridge, active: undefined };
    for (const network of [[down], [], [{ ...bridge, cidr: undefined }]]) {
      const { links } = await seen({ wakeonlan: mac, network });
      expect(links).toMatchObject([{ mac, address: null, broadcast: null }]);
    }
  });

  it('lets a node without an address for Wake on LAN be a sender, and never a target', async () => {
    const { links } = await seen({ isDeclared: true });
    const link = { mac: '1c:83:41:32:b5:a7', broadcast: '192.168.7.255', wakeOnMagic: null };
    expect(links).toMatchObject([link]);
    expect((await seen({ network: [bridge, { ...card, altnames: [] }] })).links).toBeNull();
  });

  it('says what it could not read and goes on', async () => {
    const { links, log } = await seen({ wakeonlan: mac, network: 'nonsense' });
    expect(links).toMatchObject([{ mac, broadcast: null }]);
    expect(log.lines).toMatchObject([{ level: 'warn', fields: { node: 'pve1' } }]);
  });
});
