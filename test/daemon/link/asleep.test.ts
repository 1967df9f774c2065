import { expect, it } from 'vitest';
import { NodeAsleepError } from '../../../daemon/hypervisor/proxmox-api/context.ts';
import { live, settle, startWorld } from './twin.ts';

it('lets nobody count on a node that sleeps, and greets for it when it is awake', async () => {
  const world = await startWorld({ nodes: ['pve1', 'pve2'] });
  const { server, fleet } = world;
  let sleeps = true;
  const description = await fleet.describe('pve2');
  fleet.describe = async (node) => {
    if (sleeps && node === 'pve2') throw new NodeAsleepError('node pve2 is offline');
    return description;
  };
  server.cut();
  server.connect();
  await settle();
  const hellos = server.of('hello', 'pve2').length;
  const said = (node: string) => server.of('presence', node).map(({ body }) => body.reason);
  expect(said('pve2')).toEqual(['birth', 'birth', 'goodbye']);
  expect(said('pve1')).toEqual(['birth', 'birth']);
  await live(world, 120_000);
  expect(said('pve2').filter((reason) => reason === 'goodbye')).toHaveLength(1);
  expect(server.of('hello', 'pve2')).toHaveLength(hellos);
  sleeps = false;
  await live(world, 120_000);
  expect(server.of('hello', 'pve2').length).toBeGreaterThan(hellos);
});
