/**
 * A real container from its creation to its end by commands of the API: backend and daemon in
 * processes of their own, a real LXD behind the daemon. It prints the transcript.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GuestSample } from '../../broker/contract/telemetry.ts';
import { noLxd, type RealLxd, startLxd } from '../support/lxd.ts';
import { until } from '../support/servers.ts';
import { type Json, type Run, runProgram, type Stack, startStack } from '../support/stack.ts';

type Command = {
  id: string;
  state: string;
  history: { state: string; at: string; reason?: string }[];
};

const terminal = ['SUCCEEDED', 'FAILED', 'REJECTED', 'CANCELLED', 'EXPIRED', 'INDETERMINATE'];

describe.skipIf(noLxd !== '')(`a container of a real LXD${noLxd}`, () => {
  let lxd: RealLxd;
  let stack: Stack;
  let daemon: Run;
  const transcript: string[] = [];

  beforeAll(async () => {
    lxd = await startLxd();
    stack = await startStack();
    const enrolment = await stack.api.post<{ token: string }>('enrolments', {
      cluster: 'house',
      node: 'box',
    });
    const folder = join(stack.folder, 'daemon');
    await mkdir(folder);
    await writeFile(join(folder, 'daemon.yaml'), `lxd: {socket: ${lxd.socket}}\n`);
    daemon = runProgram(['daemon'], {
      KR_DATA_DIR: folder,
      KR_MQTT_URL: stack.runtime().mqttUrl,
      KR_CLUSTER: 'house',
      KR_NODE: 'box',
      KR_ENROL_TOKEN: enrolment.body.token,
      KR_SAMPLE_INTERVAL_MS: '1000',
    });
    await until(async () => (await node())?.['state'] === 'awake', {
      withinMs: 60_000,
      what: 'the node',
    });
  }, 300_000);
  afterAll(async () => {
    process.stdout.write(`${transcript.join('\n')}\n`);
    await daemon.stop();
    await stack.remove();
    await lxd.stop();
  }, 120_000);

  const node = async (): Promise<Json | undefined> =>
    (await stack.api.get<{ items: Json[] }>('nodes?cluster=house')).items.find(
      ({ id }) => id === 'box',
    );
  const guest = async (): Promise<(Json & Partial<GuestSample>) | undefined> =>
    (await stack.api.get<{ items: Json[] }>('guests?cluster=house')).items.find(
      ({ id }) => id === 'box.web',
    );

  async function command(kind: string, args: object = {}): Promise<Command> {
    const body = { cluster: 'house', kind, node: 'box', guest: 'box.web', args };
    const asked = await stack.api.post<Command>('commands', body);
    expect(asked).toMatchObject({ status: 202 });
    let done: Command | undefined;
    await until(
      async () => {
        done = await stack.api.get<Command>(`commands/${asked.body.id}`);
        return terminal.includes(done.state);
      },
      { withinMs: 120_000, what: `${kind} to end` },
    );
    if (!done) throw new Error('no answer');
    const times = done.history.map(({ at }) => Date.parse(at));
    const tookMs = (times.at(-1) ?? 0) - (times[0] ?? 0);
    const steps = done.history.map(({ state }) => state).join(' > ');
    const reason = done.history.at(-1)?.reason;
    transcript.push(
      `${kind} ${JSON.stringify(args)}: ${steps} in ${tookMs} ms${reason ? ` (${reason})` : ''}`,
    );
    return done;
  }
  const succeeds = async (kind: string, args?: object): Promise<void> => {
    const done = await command(kind, args);
    expect({ kind, state: done.state, why: done.history.at(-1)?.reason }).toMatchObject({
      state: 'SUCCEEDED',
    });
  };
  const seen = (state: string): Promise<void> =>
    until(async () => (await guest())?.['state'] === state, { withinMs: 30_000, what: state });

  it('lives and ends by commands alone', { timeout: 900_000 }, async () => {
    const args = { image: lxd.image, kind: 'container', cpuCount: 1, memoryBytes: 64 * 2 ** 20 };
    // A real cluster's server looks around for 5 minutes before it changes anything (SAFETY T3).
    const early = await command('guest.create', args);
    expect(early.history.at(-1)?.reason).toContain('KR_STARTING');
    expect(await lxd.lxc('list', '-f', 'csv', '-c', 'n')).toBe('');
    const wait = Number(/(\d+) s from now/.exec(early.history.at(-1)?.reason ?? '')?.[1]);
    const readyAt = performance.now() + (wait + 1) * 1_000;
    await until(async () => performance.now() > readyAt, {
      withinMs: 320_000,
      what: 'the server to have looked around',
    });
    // As the wizard of the panel asks before it sends.
    const asked = { cluster: 'house', kind: 'guest.create', node: 'box', guest: 'box.web', args };
    const said = await stack.api.post('commands/dry-run', asked);
    expect(said).toMatchObject({ status: 200, body: { isAllowed: true, denial: null } });
    const limit = { cpuCount: 1, memoryBytes: null };
    await stack.api.send('PUT', '/api/v1/quotas', { body: { clusters: { house: limit } } });
    const large = { ...asked, args: { ...args, cpuCount: 2 } };
    const refused = await stack.api.post('commands', large);
    expect(refused).toMatchObject({ status: 409, body: { code: 'KR_QUOTA' } });
    await succeeds('guest.create', args);
    await seen('running');
    const more = { ...asked, kind: 'guest.scale', args: { cpuCount: 2 } };
    const over = await stack.api.post<{ detail: string }>('commands', more);
    expect(over).toMatchObject({ status: 409, body: { code: 'KR_QUOTA' } });
    transcript.push(`guest.scale over the quota: ${over.body.detail}`);
    await stack.api.send('PUT', '/api/v1/quotas', { body: {} });
    expect(await lxd.lxc('list', '-f', 'csv', '-c', 'ns')).toBe('web,RUNNING\n');

    await until(async () => (await guest())?.memoryUsedBytes !== null, {
      withinMs: 30_000,
      what: 'memory',
    });
    const info = await lxd.lxc('query', '/1.0/instances/web/state');
    const real = JSON.parse(info) as { memory: { usage: number } };
    const told = (await guest())?.memoryUsedBytes ?? 0;
    transcript.push(`memory: told ${told}, lxc ${real.memory.usage}`);
    expect(Math.abs(told - real.memory.usage) / (64 * 2 ** 20)).toBeLessThan(0.1);

    await succeeds('guest.scale', { cpuCount: 2, memoryBytes: 128 * 2 ** 20 });
    expect(await lxd.lxc('config', 'get', 'web', 'limits.memory')).toBe(`${128 * 2 ** 20}B\n`);
    await succeeds('guest.snapshot', { name: 'before' });
    expect(await lxd.lxc('query', '/1.0/instances/web/snapshots')).toContain('before');
    await succeeds('guest.restart');
    await succeeds('guest.stop', { timeoutMs: 30_000 });
    await seen('stopped');
    await succeeds('guest.start');
    await seen('running');
    await succeeds('guest.stop', { force: true });
    await seen('stopped');
    await succeeds('guest.delete');
    expect(await lxd.lxc('list', '-f', 'csv', '-c', 'n')).toBe('');
  });
});
