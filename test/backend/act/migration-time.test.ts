import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GuestFacts, NodeFacts } from '../../../broker/contract/facts.ts';
import type { GrantContent } from '../../../broker/contract/command.ts';
import type { Signed } from '../../../broker/contract/server.ts';
import { createWorld } from './twin.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-time-'));
});
afterEach(() => rm(folder, { recursive: true }));

const gigabyte = 1e9;
const minute = 60_000;
type Disk = { sizeBytes: number | null; shared: boolean };
type Case = {
  kind?: 'vm' | 'container';
  disks?: Disk[];
  args?: object;
  measured?: number;
  limit?: number;
  policy?: number;
};

/** The time that a grant gives to move a guest of 16 GB. */
async function grantedMs(asked: Case) {
  const { kind = 'vm', disks = [], args = {}, measured, limit, policy } = asked;
  const world = await createWorld({ folder });
  const service = world.createService();
  await service.commands.start();
  await world.boot();
  const facts = GuestFacts.parse({
    id: '100',
    kind,
    name: 'guest',
    cpuType: 'x86-64-v3',
    mayRestart: true,
    localResources: [],
    disks: disks.map((disk, index) => ({ ...disk, volume: `d${index}`, storage: 'big' })),
  });
  for (const record of world.fleet.nodes.values()) {
    record.guestFactsJson = JSON.stringify([facts]);
    record.facts = NodeFacts.parse({
      ...record.facts,
      migrationBytesPerSecond: record.node === 'n1' ? (measured ?? null) : null,
      migrationLimitBytesPerSecond: record.node === 'n1' ? (limit ?? null) : null,
    });
  }
  Object.assign(world.fleet.guests.get('home/100') ?? {}, {
    kind,
    memoryTotalBytes: 16 * gigabyte,
  });
  if (policy !== undefined) {
    const policyYaml = `moves: {copyBytesPerSecond: ${policy}}`;
    const own = { id: 'home', simulated: true, timeScale: 1, hold: false, autonomy: {} };
    world.fleet.clusters.set('home', { ...own, policyHash: 'h', policyYaml });
  }
  const answer = await service.commands.submit({
    cluster: 'home',
    kind: 'guest.migrate',
    node: 'n1',
    guest: '100',
    args: { targetNode: 'n2', online: kind === 'vm', ...args },
    origin: 'person',
    actor: 'account:anna',
    approved: true,
  });
  if (!answer.ok) throw new Error(answer.refusal.detail);
  await world.clock.advance(20_000);
  const grant = world.sent.find(({ name }) => name === 'grant');
  if (!grant) throw new Error((await world.command(answer.id)).state_reason ?? 'no grant');
  const { signed } = grant.body as Signed;
  return (JSON.parse(signed) as GrantContent).timeoutMs;
}

const local = (gigabytes: number): Disk => ({ sizeBytes: gigabytes * gigabyte, shared: false });

describe('the time for a migration', () => {
  it('holds the disks that are copied along, at a gigabit where nothing better is known', async () => {
    const args = { withLocalDisks: true };
    const disks = [local(200), { ...local(500), shared: true }];
    const expectedMs = (216 / 0.112) * 1_000 * 3;
    for (const kind of ['vm', 'container'] as const) {
      expect(Math.abs((await grantedMs({ kind, disks, args })) - expectedMs)).toBeLessThan(4);
    }
  });

  it('is never shorter than usual by an assumption, nor where a size is unknown', async () => {
    expect(await grantedMs({ policy: 1e12 })).toBe(15 * minute);
    const disks = [{ sizeBytes: null, shared: false }];
    expect(await grantedMs({ disks, args: { withLocalDisks: true } })).toBe(15 * minute);
  });

  it('follows the speed of the policy, a measured one before it, and the limit of the command', async () => {
    expect(await grantedMs({ policy: 10_000_000 })).toBe(4_800_000);
    expect(await grantedMs({ policy: 10_000_000, measured: 1e9 })).toBe(5 * minute);
    const args = { bandwidthBytesPerSecond: 20_000_000 };
    expect(await grantedMs({ measured: 1e9, args })).toBe(2_400_000);
    expect(await grantedMs({ policy: 1e9, limit: 10_000_000 })).toBe(4_800_000);
    expect(await grantedMs({ policy: 10_000_000, limit: 1e9 })).toBe(4_800_000);
  });
});
