/**
 * Where no secret may ever stand: in what the processes print at their most talkative, and in what
 * the API answers. Passwords, tokens, credentials and keys of a server, an agent and an executor
 * are made and used, rightly and wrongly, and then looked for everywhere.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../support/servers.ts';
import { type Run, runProgram, type Stack, startStack } from '../support/stack.ts';
import { writePins } from '../support/pins.ts';
import { trustedFolder } from '../support/trusted-folder.ts';

const target = { cluster: 'home', node: 'n1' } as const;
const password = 'correct-horse-battery-staple-7';
const bmcPassword = 'bmc-pw-4711-never-shown';

let stack: Stack;
let folder = '';
const runs: Run[] = [];
/** By name: what must stand nowhere. */
const secrets: Record<string, string> = { password, bmcPassword };

const run = (role: 'agent' | 'executor', more: Record<string, string> = {}): Run => {
  const started = runProgram(['daemon', '--role', role], {
    KR_MQTT_URL: stack.runtime().mqttUrl,
    KR_CLUSTER: target.cluster,
    KR_NODE: target.node,
    KR_LOG_LEVEL: 'debug',
    KR_EXECUTOR_SOCKET: join(folder, 'run', 'executor.sock'),
    KR_ETC_DIR: folder,
    KR_DATA_DIR: join(folder, role),
    ...more,
  });
  runs.push(started);
  return started;
};

/** The private halves of keys, as they stand in the server's own folder. */
function keysBelow(path: string): string[] {
  return readdirSync(path).flatMap((name) => {
    const file = join(path, name);
    if (statSync(file).isDirectory()) return keysBelow(file);
    if (!/\.(pem|key)$/.test(name)) return [];
    const text = readFileSync(file);
    const lines = text.toString('latin1').split('\n');
    const longest = lines.reduce((best, line) => (line.length > best.length ? line : best), '');
    return [longest.trim(), text.toString('hex'), text.toString('base64')].filter(
      (spelling) => spelling.length >= 20,
    );
  });
}

async function writePrograms(): Promise<void> {
  // Tools that tell all they know: their arguments and their whole environment.
  const chatty = '#!/bin/sh\necho "args $*"; env; echo "args $*" >&2; env >&2; exit 1\n';
  const guests = `#!/bin/sh
env >&2
printf '[{"id":"100","kind":"container","name":"web","state":"stopped","metrics":{}}]'\n`;
  for (const [name, text] of Object.entries({ chatty, guests })) {
    await writeFile(join(folder, name), text);
    await chmod(join(folder, name), 0o755);
  }
  await writePins(folder);
  await writeFile(join(folder, 'bmc'), `${bmcPassword}\n`, { mode: 0o600 });
  const ipmi = `{kind: ipmi, host: 10.0.0.5, user: kr, passwordFile: ${folder}/bmc, \
program: ${folder}/chatty}`;
  const yaml = `script: {guests: ${folder}/guests, actions: {guest.start: ${folder}/chatty}}
wakers: {n2: [${ipmi}]}\n`;
  for (const side of ['agent', 'executor']) {
    await mkdir(join(folder, side), { mode: 0o700 });
    await writeFile(join(folder, side, 'daemon.yaml'), yaml);
  }
}

beforeAll(async () => {
  stack = await startStack({ KR_LOG_LEVEL: 'debug' });
  folder = await trustedFolder();
  await writePrograms();
  const { api } = stack;
  const { setupToken = '' } = stack.runtime();
  await api.post('setup', { token: setupToken, username: 'admin', password });
  await api.post('session', { username: 'admin', password: `${password}-wrong` });
  const session = await api.post<{ token: string }>('session', { username: 'admin', password });
  const enrolment = await api.post<{ token: string }>('enrolments', target);
  secrets['session'] = session.body.token;
  secrets['enrolment'] = enrolment.body.token;
  run('executor');
  run('agent', { KR_ENROL_TOKEN: enrolment.body.token });
  const path = '/api/v1/clusters/home/nodes/n1';
  const isAwake = async () =>
    (await api.send<{ guestCount: number }>('GET', path)).body.guestCount === 1;
  await until(isAwake, { withinMs: 40_000, what: 'the guest' });
  const credential = JSON.parse(readFileSync(join(folder, 'agent', 'credential.json'), 'utf8')) as {
    secret: string;
  };
  secrets['credential'] = credential.secret;
  keysBelow(stack.settings['KR_DATA_DIR'] ?? '').forEach((key, index) => {
    secrets[`key ${index}`] = key;
  });
}, 120_000);
afterAll(async () => {
  for (const one of runs) await one.stop();
  await stack?.remove();
  if (folder !== '') await rm(folder, { recursive: true, force: true });
});

it('print no secret and answer none, whatever tools and wrong passwords come by', async () => {
  const { api } = stack;
  const kind = 'guest.start';
  const asked = { ...target, kind, guest: '100', args: {} };
  const { body, status } = await api.post<{ id: string }>('commands', asked);
  expect(status).toBe(202);
  const ended = async () =>
    /SUCCEEDED|FAILED|INDETERMINATE|REJECTED/.test(
      (await api.get<{ state: string }>(`commands/${body.id}`)).state,
    );
  await until(ended, { withinMs: 60_000, what: 'the end of the command' });
  const answers = await Promise.all(
    [
      `/api/v1/commands/${body.id}`,
      '/api/v1/commands',
      '/api/v1/clusters',
      '/api/v1/nodes',
      '/api/v1/users',
      '/api/v1/tokens',
      '/api/v1/audit',
      '/api/v1/decisions',
      '/api/v1/clusters/home/daemons',
      '/metrics',
      '/openapi.json',
      '/healthz',
      '/readyz',
    ].map(async (path) => [path, JSON.stringify((await api.send('GET', path)).body)] as const),
  );
  const printed = [stack.run(), ...runs].flatMap((one, index) => [
    [`process ${index} stdout`, one.stdout()] as const,
    [`process ${index} stderr`, one.stderr()] as const,
  ]);
  const places = [...answers, ...printed];
  expect(places.reduce((sum, [, text]) => sum + text.length, 0)).toBeGreaterThan(10_000);
  expect(Object.keys(secrets).length).toBeGreaterThanOrEqual(6);
  const found = Object.entries(secrets).flatMap(([name, secret]) => {
    expect(secret.length).toBeGreaterThan(15);
    return places.flatMap(([place, text]) =>
      text.includes(secret) ? [`${name} in ${place}`] : [],
    );
  });
  expect(found).toEqual([]);
}, 120_000);
