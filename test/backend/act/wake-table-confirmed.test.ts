import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { simulatedLimits } from '../../../backend/act/guard-limits.ts';
import type { Signed, SyncContent } from '../../../broker/contract/server.ts';
import { createWorld } from './twin.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-table-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** A house whose wakes are proven, and in which nothing else waits. */
async function running(nodes: string[]) {
  const world = await createWorld({ folder, layout: { clusters: { home: nodes }, guests: {} } });
  await world.database.db
    .updateTable('clusters')
    .set({
      limits: JSON.stringify(simulatedLimits),
      settings: '{"wakeProof":"required","reserve":"none"}',
    })
    .execute();
  const service = world.createService();
  await service.commands.start();
  await world.boot();
  const sleep = async (node: string): Promise<string | null> => {
    const answer = await service.commands.submit({
      cluster: 'home',
      node,
      kind: 'node.shutdown',
      args: {},
      origin: 'person',
      actor: 'account:anna',
      approved: true,
    });
    if (!answer.ok) throw new Error(answer.refusal.detail);
    const { guards } = await world.command(answer.id);
    const [{ verdicts }] = JSON.parse(guards) as [
      { verdicts: { id: string; denial: { code: string } | null }[] },
    ];
    return verdicts.find(({ id }) => id === 'wake-table')?.denial?.code ?? null;
  };
  const tablesOf = (node: string) =>
    world.sent
      .filter((one) => one.name === 'sync' && one.node === node)
      .map(({ body }) => JSON.parse((body as Signed).signed) as SyncContent)
      .map(({ wakeTable }) => wakeTable?.entries.map((entry) => entry.node) ?? []);
  return { world, sleep, tablesOf };
}

describe('the wake table before a sleep', () => {
  it('is confirmed by two wakers, and whoever holds an older one is told at once', async () => {
    const { world, sleep, tablesOf } = await running(['n1', 'n2', 'n3', 'n4']);
    await world.database.db.updateTable('nodes').set({ wake_table_version: 7 }).execute();
    const before = tablesOf('n1').length;
    expect(await sleep('n3')).toBe('KR_WAKE_TABLE');
    await world.clock.advance(5_000);
    expect(tablesOf('n1').slice(before)[0]).toEqual(['n2', 'n3', 'n4']);
    // The twins hold it already, so nothing changed for them and they do not say it again.
    for (const node of ['n1', 'n2', 'n4']) world.twin(node).hello();
    await world.clock.advance(5_000);
    expect(await sleep('n3')).toBeNull();
  });

  it('counts no confirmation of the time before a card was changed', async () => {
    const { world, sleep } = await running(['n1', 'n2', 'n3', 'n4']);
    await sleep('n3');
    await world.clock.advance(10_000);
    expect(await sleep('n3')).toBeNull();
    const row = await world.database.db
      .selectFrom('nodes')
      .selectAll()
      .where('id', '=', 'n3')
      .executeTakeFirstOrThrow();
    const facts = (row.facts ?? '').replace(/"mac":"[^"]+"/, '"mac":"02:00:00:00:00:77"');
    await world.database.db.updateTable('nodes').set({ facts }).where('id', '=', 'n3').execute();
    expect(await sleep('n3')).toBe('KR_WAKE_TABLE');
    await world.clock.advance(10_000);
    expect(await sleep('n3')).toBeNull();
  });

  it('needs the one other machine of a house of two, and no second', async () => {
    const { world, sleep } = await running(['pi', 'server']);
    await world.database.db.updateTable('nodes').set({ wake_table_version: null }).execute();
    expect(await sleep('server')).toBe('KR_WAKE_TABLE');
    world.twin('pi').hello();
    await world.clock.advance(5_000);
    expect(await sleep('server')).toBeNull();
  });
});
