import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { program, programEnv } from './debian.ts';
import { startMariadb, startMosquitto, startVictoriaMetrics } from './servers.ts';

const run = promisify(execFile);

it('starts a real MariaDB, Mosquitto and VictoriaMetrics on free ports and stops them', async () => {
  const servers = await Promise.all([
    startMariadb(),
    startMosquitto(['allow_anonymous true']),
    startVictoriaMetrics(),
  ]);
  const [mariadb, mosquitto, victoria] = servers;
  try {
    const client = program('mariadb') ?? '';
    const { stdout } = await run(
      client,
      [
        '-h127.0.0.1',
        `-P${mariadb.port}`,
        '-ukr',
        '-psecret',
        'kernreaktor',
        '-e',
        'SELECT 6*7 AS n',
      ],
      { env: programEnv() },
    );
    expect(stdout).toContain('42');
    expect(new Set(servers.map((server) => server.port)).size).toBe(3);
    expect((await fetch(`${victoria.url}/health`)).status).toBe(200);
    expect(mosquitto.pid).toBeGreaterThan(0);
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
  }
  await expect(fetch(`${victoria.url}/health`)).rejects.toThrow('fetch failed');
});
