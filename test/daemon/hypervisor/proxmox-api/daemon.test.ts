import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { parseToken } from '../../../../daemon/config.ts';
import { createProxmoxApiHypervisor } from '../../../../daemon/hypervisor/proxmox-api/driver.ts';
import { type RunningDaemon, startDaemon } from '../../../../daemon/main.ts';
import type { FakeApi } from '../../../../simulator/proxmox/api/server.ts';
import { apiOf, apiSecret, proxmoxRig, type Rig } from '../../../simulator/proxmox/rig.ts';
import { realClock } from '../../../broker/wire.ts';
import { idsOf, seededRandom } from '../../../support/clock.ts';
import { memoryLog } from '../../../support/log.ts';
import { until } from '../../../support/servers.ts';
import { type Run, runProgram, type Stack, startStack } from '../../../support/stack.ts';

type Open = {
  stack?: Stack;
  rig?: Rig;
  api?: FakeApi;
  daemon?: Run;
  inProcess?: RunningDaemon;
};
const open: Open = {};
afterEach(async () => {
  await open.daemon?.stop();
  await open.inProcess?.stop();
  await open.stack?.remove();
  await open.api?.close();
  await open.rig?.close();
  for (const key of Object.keys(open) as (keyof Open)[]) delete open[key];
});

type Command = { id: string; state: string; stateReason: string | null };

/** The product as an administrator sets it up: one token of ours, one of theirs, one daemon. */
async function setUp() {
  const stack = (open.stack = await startStack());
  const rig = (open.rig = await proxmoxRig());
  const { api, endpoint } = await apiOf(rig);
  open.api = api;
  const nodes = ['alpha', 'beta', 'gamma'];
  const made = await stack.api.post<{ token: string }>('enrolments', { cluster: 'lab', nodes });
  const dataDir = join(stack.folder, 'daemon');
  await mkdir(dataDir);
  open.daemon = runProgram(['daemon'], {
    KR_MQTT_URL: stack.runtime().mqttUrl,
    KR_CLUSTER: 'lab',
    KR_NODE: 'alpha',
    KR_ENROL_TOKEN: made.body.token,
    KR_DATA_DIR: dataDir,
    KR_SAMPLE_INTERVAL_MS: '1000',
    KR_PVE_URLS: endpoint.urls.join(','),
    KR_PVE_FINGERPRINT: endpoint.fingerprints.join(','),
    KR_PVE_TOKEN_ID: 'kr@pve!kernreaktor',
    KR_PVE_TOKEN_SECRET: apiSecret,
  });
  const isDescribed = async (node: string): Promise<boolean> => {
    const { status, body } = await stack.api.send('GET', `/api/v1/clusters/lab/nodes/${node}`);
    return status === 200 && Boolean(body['facts']) && body['state'] === 'awake';
  };
  await until(async () => (await Promise.all(nodes.map(isDescribed))).every((is) => is), {
    withinMs: 60_000,
    what: `three nodes; ${open.daemon.stderr().slice(-2_000)}`,
  });
  const submit = async (wish: object): Promise<Command> => {
    const answer = await stack.api.post<Command>('commands', { cluster: 'lab', args: {}, ...wish });
    const ended = new Set(['SUCCEEDED', 'FAILED', 'REJECTED', 'INDETERMINATE', 'EXPIRED']);
    let last = answer.body;
    await until(
      async () => {
        last = await stack.api.get<Command>(`commands/${answer.body.id}`);
        return ended.has(last.state);
      },
      { withinMs: 60_000, what: `the end of ${JSON.stringify(wish)}` },
    );
    return last;
  };
  return { rig, submit, api: stack.api };
}

it('speaks for a whole cluster by one enrolment, and acts on its guests once each', async () => {
  const { rig, submit, api } = await setUp();
  const guests = await api.get<{ items: { id: string; node: string }[] }>('guests?cluster=lab');
  const places = Object.fromEntries(guests.items.map(({ id, node }) => [id, node]));
  expect(places).toEqual({ 100: 'alpha', 101: 'alpha', 102: 'alpha' });
  const started = await submit({ kind: 'guest.start', node: 'alpha', guest: '102' });
  expect(started).toMatchObject({ state: 'SUCCEEDED' });
  expect((await rig.effects()).map(({ kind, id }) => [kind, id])).toEqual([['qmstart', '102']]);
  expect(rig.live.world.guests.get('lab/102')?.state).toBe('running');
});

it('is refused at PLANNED what only the daemon on a host can do, with the reason', async () => {
  const { rig, submit } = await setUp();
  const refused = await submit({ kind: 'node.shutdown', node: 'beta' });
  expect(refused).toMatchObject({
    state: 'REJECTED',
    stateReason: expect.stringMatching(
      /^KR_CAPABILITY: driver proxmox-api of node beta does not perform node\.shutdown/,
    ),
  });
  expect(await rig.effects()).toEqual([]);
});

/** A simulated cluster, where nobody waits for hours: the same daemon, told that it is one. */
async function simulated() {
  const stack = (open.stack = await startStack());
  const rig = (open.rig = await proxmoxRig({ timeScale: 60 }));
  const { api, endpoint } = await apiOf(rig);
  open.api = api;
  const nodes = ['alpha', 'beta', 'gamma'];
  const cluster = 'lab';
  await stack.api.post('enrolments', { cluster, nodes: ['alpha'], simulated: true });
  const made = await stack.api.post<{ token: string }>('enrolments', { cluster, nodes });
  const dataDir = join(stack.folder, 'daemon');
  await mkdir(dataDir);
  const log = memoryLog();
  const random = seededRandom(Math.floor(performance.now()));
  const own = { clock: realClock, random, newId: idsOf(realClock, random), log, version: '1' };
  const hypervisor = createProxmoxApiHypervisor({
    ...own,
    nodes,
    endpoint,
    daemonVersion: '1',
    simulated: true,
    hasNoQdevice: true,
    declared: { beta: { roles: [], wakeOnMagic: true, nothingElseAtWork: true } },
  });
  const { mqttUrl } = stack.runtime();
  const enrolment = parseToken(made.body.token);
  const network = { mqttUrl, cluster, node: 'alpha', enrolment, dataDir };
  const config = { ...network, intervalMs: 1_000, logLevel: 'silent', script: null } as const;
  open.inProcess = await startDaemon(config, { ...own, hypervisor });
  const command = async (wish: object): Promise<Command> => {
    let last: Command = { id: '', state: '', stateReason: null };
    const ended = new Set(['SUCCEEDED', 'FAILED', 'INDETERMINATE', 'EXPIRED']);
    // Refused while the guards know too little of a cluster that has just begun.
    const isOver = async (): Promise<boolean> => {
      if (last.id === '' || last.state === 'REJECTED') {
        last = (await stack.api.post<Command>('commands', { cluster, args: {}, ...wish })).body;
      }
      if (last.id) last = await stack.api.get<Command>(`commands/${last.id}`);
      return ended.has(last.state);
    };
    await until(isOver, { withinMs: 90_000 }).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${JSON.stringify(last)}`);
    });
    return last;
  };
  return { rig, command };
}

it('sleeps and wakes a declared node, each seen by the others of the cluster', async () => {
  const { rig, command } = await simulated();
  const powerOf = () => rig.live.world.nodes.get('lab/beta')?.power;
  expect(await command({ kind: 'node.shutdown', node: 'beta' })).toMatchObject({
    state: 'SUCCEEDED',
  });
  expect(powerOf()).toBe('off');
  expect(await command({ kind: 'node.wake', node: 'beta' })).toMatchObject({ state: 'SUCCEEDED' });
  expect(powerOf()).toBe('on');
  expect((await rig.effects()).map(({ kind, id }) => `${kind} ${id}`)).toEqual([
    'shutdown beta',
    'wakeonlan beta',
  ]);
}, 240_000);
