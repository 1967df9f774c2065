import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../../backend/store/sql/database.ts';
import { memoryLog } from '../../support/log.ts';
import { type Server, startMariadb, until } from '../../support/servers.ts';
import { checkInvariants, openOf } from './invariants.ts';
import { createWorld } from './twin.ts';

let folder: string;
let server: Server;
let database: Database;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kr-act-'));
  server = await startMariadb();
  database = await openDatabase({
    url: server.url,
    file: '',
    nowMs: () => Date.now(),
    log: memoryLog(),
  });
});
afterAll(async () => {
  await database?.close();
  await server?.stop();
  await rm(folder, { recursive: true });
});

const clusters = ['a', 'b', 'c', 'd'];
const layout = {
  clusters: Object.fromEntries(clusters.map((id) => [id, ['n1', 'n2']])),
  guests: Object.fromEntries(
    clusters.flatMap((id) => Array.from({ length: 15 }, (_, guest) => [`${id}/${guest}`, 'n1'])),
  ),
};

describe('the command protocol on MariaDB', () => {
  it('brings many commands at once to their end, each effect once, with two backends', async () => {
    const world = await createWorld({ folder, layout, database });
    const first = world.createService('backend-a');
    const second = world.createService('backend-b');
    await first.commands.start();
    await second.commands.start();
    await world.boot();
    const submissions = clusters.flatMap((cluster) =>
      Array.from({ length: 15 }, (_, guest) => ({
        cluster,
        kind: 'guest.restart' as const,
        node: 'n1',
        guest: String(guest),
        args: {},
        origin: 'token' as const,
        actor: 'token:t',
        approved: true,
        idempotencyKey: `${cluster}-${guest}`,
      })),
    );
    const answers = await Promise.all(
      [...submissions, ...submissions].map((one) => first.commands.submit(one)),
    );
    expect(answers.filter(({ ok }) => !ok)).toEqual([]);
    await until(
      async () => {
        await world.clock.advance(100);
        return (await openOf(world)).length === 0;
      },
      { withinMs: 60_000, what: 'the end of every command' },
    );
    const rows = await database.db.selectFrom('commands').select('state').execute();
    expect(rows).toHaveLength(submissions.length);
    expect(new Set(rows.map(({ state }) => state))).toEqual(new Set(['SUCCEEDED']));
    expect(world.effects).toHaveLength(submissions.length);
    await checkInvariants(world);
    await first.commands.stop();
    await second.commands.stop();
  });
});
