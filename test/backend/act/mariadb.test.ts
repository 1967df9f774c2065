import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../../backend/store/sql/database.ts';
import { memoryLog } from '../../support/log.ts';
import { realClock } from '../../broker/wire.ts';
import { freeze, type Server, startMariadb, until } from '../../support/servers.ts';
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
    clock: realClock,
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

  it('holds a wish once whose answer a hanging store swallowed, asked again by its key', async () => {
    const own = await startMariadb();
    const store = { url: own.url, clock: realClock, file: '', log: memoryLog() };
    const hanging = await openDatabase({ ...store, nowMs: () => Date.now() });
    try {
      const world = await createWorld({ folder, layout, database: hanging });
      const { commands } = world.createService();
      await commands.start();
      await world.boot();
      const wish = (idempotencyKey: string) =>
        commands.submit({
          cluster: 'a',
          kind: 'guest.restart',
          node: 'n1',
          guest: '1',
          args: {},
          origin: 'token',
          actor: 'token:t',
          approved: true,
          idempotencyKey,
        });
      await freeze(own.pid);
      expect(await wish('swallowed')).toMatchObject({
        ok: false,
        refusal: { status: 503, code: 'KR_STORE_UNAVAILABLE' },
      });
      expect(await wish('swallowed')).toMatchObject({ ok: false, refusal: { status: 503 } });
      process.kill(own.pid, 'SIGCONT');
      await until(async () => (await wish('swallowed')).ok);
      const rows = await hanging.db.selectFrom('commands').select('idempotency_key').execute();
      expect(rows).toEqual([{ idempotency_key: 'token:t:swallowed' }]);
      await commands.stop();
    } finally {
      process.kill(own.pid, 'SIGCONT');
      await hanging.close();
      await own.stop();
    }
  });
});
