/**
 * Backup, wipe, restore, as an owner does it: the API answers as before, nobody who was signed in
 * still is, and nothing begins until HOLD is released. On both SQL stores.
 */
import { copyFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Mariadb, startMariadb, until } from '../support/servers.ts';
import { runProgram, type Stack, startStack } from '../support/stack.ts';

let mariadb: Mariadb;
beforeAll(async () => {
  mariadb = await startMariadb();
});
afterAll(() => mariadb.stop());

async function typed(stack: Stack, ...args: string[]) {
  const { KR_DATA_DIR = '', KR_SQL_URL } = stack.settings;
  const settings = { KR_DATA_DIR, ...(KR_SQL_URL !== undefined && { KR_SQL_URL }) };
  const run = runProgram(args, settings);
  const code = await run.exited;
  return { code, out: run.stdout(), err: run.stderr() };
}

const password = 'correct horse battery';

async function live(stack: Stack): Promise<string> {
  const { api } = stack;
  const token = stack.runtime().setupToken ?? '';
  await api.post('setup', { token, username: 'ada', password });
  await api.post('users', { username: 'ben', password, role: 'operator', clusters: ['home'] });
  await api.post('enrolments', { cluster: 'home', nodes: ['n1', 'n2', 'n3'], simulated: true });
  await api.send('PUT', '/api/v1/clusters/home/hold', { body: { hold: true, reason: 'fans' } });
  await api.send('PATCH', '/api/v1/clusters/home', {
    body: { autonomy: { default: 'observe', 'guest.migrate': 'approve' } },
  });
  await api.send('PUT', '/api/v1/clusters/home/nodes/n2/maintenance', {
    body: { maintenance: true, reason: 'new fans' },
  });
  const session = await api.post<{ token: string }>('session', { username: 'ada', password });
  return session.body.token;
}

const paths = [
  'users',
  'tokens',
  'clusters',
  'clusters/home',
  'clusters/home/daemons',
  'commands',
  'decisions',
  'audit?cluster=home',
  'audit/verify?cluster=home',
  'nodes',
];

/** The picture of the fleet follows the tables with its next tick. */
const isKnown = ({ api }: Stack): Promise<void> =>
  until(
    async () => {
      const { items } = await api.get<{ items: { id: string; state: string }[] }>('nodes');
      return items.length === 3 && items.some(({ state }) => state === 'maintenance');
    },
    { what: 'the nodes' },
  );

async function answers({ api }: Stack): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  for (const path of paths) found[path] = await api.get(path);
  return found;
}

const sessionStatus = async ({ api }: Stack, token: string): Promise<number> =>
  (await api.send('GET', '/api/v1/users', { headers: { authorization: `Bearer ${token}` } }))
    .status;

describe.each(['sqlite', 'mariadb'] as const)('on %s', (kind) => {
  it('gives back what a wiped server knew', async () => {
    const url: Record<string, string> = kind === 'mariadb' ? { KR_SQL_URL: mariadb.url } : {};
    const stack = await startStack(url, { role: 'backend' });
    try {
      const token = await live(stack);
      expect(await sessionStatus(stack, token)).toBe(200);
      await isKnown(stack);
      const before = await answers(stack);
      const data = stack.settings['KR_DATA_DIR'] ?? '';
      const copy = join(stack.folder, 'copy.age');
      const made = await typed(stack, 'backup', '--out', copy);
      expect(made).toMatchObject({ code: 0, err: '' });
      expect((await typed(stack, 'backup', 'list')).out).toContain('kernreaktor-');
      const key = await typed(stack, 'backup', 'key');
      expect(key.out).toContain('AGE-SECRET-KEY-1');
      await copyFile(
        join(data, 'keys', 'backup-identity.txt'),
        join(stack.folder, 'key-on-paper.txt'),
      );
      const running = await typed(stack, 'restore', copy, '--replace');
      expect(running.err).toContain('is in use by process');

      await stack.stop();
      for (const name of await readdir(data)) await rm(join(data, name), { recursive: true });
      const identity = ['--identity', join(stack.folder, 'key-on-paper.txt')];
      const first = await typed(stack, 'restore', copy, ...identity);
      const replaced =
        kind === 'mariadb' ? await typed(stack, 'restore', copy, ...identity, '--replace') : first;
      const refusal = kind === 'mariadb' ? 'add --replace' : '';
      expect(first).toMatchObject({ err: expect.stringContaining(refusal) as string });
      expect(replaced).toMatchObject({ code: 0, err: '' });
      expect(replaced.out).toContain('everything is on HOLD');

      await stack.start();
      expect(await sessionStatus(stack, token)).toBe(401);
      expect(await stack.api.get('hold')).toMatchObject({ all: true });
      expect((await typed(stack, 'hold', '--release')).code).toBe(0);
      await isKnown(stack);
      expect(await answers(stack)).toEqual(before);
      const again = await stack.api.post('session', { username: 'ada', password });
      expect(again.status).toBe(201);
      const audit = await stack.api.get<{ items: { action: string }[] }>('audit?limit=50');
      expect(audit.items.map(({ action }) => action)).toContain('backup.restored');
    } finally {
      await stack.remove();
    }
  }, 240_000);
});
