/**
 * Agent and executor as two real processes, against a real server, each killed while a command
 * runs: either side comes back by itself, and the effect, which the administrator's program writes
 * down itself, begins exactly once.
 */
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { until } from '../support/servers.ts';
import { type Run, runProgram, type Settings, type Stack, startStack } from '../support/stack.ts';
import { writePins } from '../support/pins.ts';
import { trustedFolder } from '../support/trusted-folder.ts';

let stack: Stack | undefined;
let folder = '';
const runs: Run[] = [];
afterEach(async () => {
  for (const run of runs.splice(0)) await run.stop();
  await stack?.remove();
  if (folder !== '') await rm(folder, { recursive: true, force: true });
});

const target = { cluster: 'home', node: 'n1' } as const;

async function writePrograms(): Promise<void> {
  const guests = `#!/bin/sh
state=stopped; [ -f ${folder}/running ] && state=running
printf '[{"id":"100","kind":"container","name":"web","state":"%s","metrics":{}}]' $state\n`;
  // It waits for the test, so that a side can be killed while the command runs.
  const start = `#!/bin/sh
echo "$KR_COMMAND_ID" >> ${folder}/effects
until [ -f ${folder}/go ]; do sleep 0.1; done
touch ${folder}/running\n`;
  for (const [name, text] of Object.entries({ guests, start })) {
    await writeFile(join(folder, name), text);
    await chmod(join(folder, name), 0o755);
  }
  await writePins(folder);
  const actions = `{guest.start: ${folder}/start}`;
  for (const side of ['agent', 'executor']) {
    await mkdir(join(folder, side), { mode: 0o700 });
    const yaml = `script: {guests: ${folder}/guests, actions: ${actions}}\n`;
    await writeFile(join(folder, side, 'daemon.yaml'), yaml);
  }
}

const run = (role: 'agent' | 'executor', settings: Settings): Run => {
  const started = runProgram(['daemon', '--role', role], {
    ...settings,
    KR_DATA_DIR: join(folder, role),
  });
  runs.push(started);
  return started;
};

const kill9 = async (process: Run): Promise<void> => {
  process.signal('SIGKILL');
  await process.exited;
};

const effects = (): string[] =>
  existsSync(join(folder, 'effects'))
    ? readFileSync(join(folder, 'effects'), 'utf8').trim().split('\n')
    : [];

it('survive a kill -9 of either side while a command runs: it starts once and ends', async () => {
  stack = await startStack();
  const { api } = stack;
  folder = await trustedFolder();
  await writePrograms();
  const enrolment = await api.post<{ token: string }>('enrolments', target);
  const settings = {
    KR_MQTT_URL: stack.runtime().mqttUrl,
    KR_CLUSTER: target.cluster,
    KR_NODE: target.node,
    KR_SAMPLE_INTERVAL_MS: '500',
    KR_EXECUTOR_SOCKET: join(folder, 'run', 'executor.sock'),
    KR_ETC_DIR: folder,
  };
  let executor = run('executor', settings);
  let agent = run('agent', { ...settings, KR_ENROL_TOKEN: enrolment.body.token });
  const node = () =>
    api
      .send<{ state: string; guestCount: number; capabilities?: string[] }>(
        'GET',
        '/api/v1/clusters/home/nodes/n1',
      )
      .then(({ body }) => body);
  // The first sample may be there before the hello that says what the driver can do.
  const isAwake = async () => {
    const { state, guestCount, capabilities = [] } = await node();
    return state === 'awake' && guestCount === 1 && capabilities.includes('guest.start');
  };
  await until(isAwake, { withinMs: 30_000, what: 'the node awake' });
  const submitted = await api.post<{ id: string; detail?: string }>('commands', {
    ...target,
    kind: 'guest.start',
    guest: '100',
    args: {},
  });
  expect(submitted).toMatchObject({ status: 202 });
  const { id } = submitted.body;
  const stateOf = async () => (await api.get<{ state: string }>(`commands/${id}`)).state;
  await until(() => effects().length > 0, { withinMs: 30_000, what: 'the effect' });
  expect(await stateOf()).toMatch(/GRANTED|RUNNING/);

  await kill9(agent);
  agent = run('agent', settings);
  await until(() => agent.stderr().includes('connected to the server'), { withinMs: 30_000 });
  await kill9(executor);
  executor = run('executor', settings);
  await until(() => agent.stderr().includes('a new session begins'), { withinMs: 30_000 });
  await writeFile(join(folder, 'go'), '');
  await until(async () => (await stateOf()) === 'SUCCEEDED', { withinMs: 40_000, what: 'the end' });
  expect(effects()).toEqual([id]);
  await until(isAwake, { withinMs: 30_000, what: 'the node awake again' });
  expect(await agent.stop()).toBe(0);
  expect(await executor.stop()).toBe(0);
  // A question that was under way when the executor died may say so; nothing else went wrong.
  const errors = `${agent.stderr()}${executor.stderr()}`
    .split('\n')
    .filter(
      (line) => line.includes('"level":50') && !/KR_SOCKET_CLOSED|KR_EXECUTOR_AWAY/.test(line),
    );
  expect(errors).toEqual([]);
}, 120_000);
