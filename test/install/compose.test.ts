/**
 * docker-compose.yml as a newcomer runs it, with a real Docker: the stack up and healthy, a command
 * through it, down and up again with nothing lost. Images cannot be pulled here: Debian's MariaDB
 * stands in for the official image, and InfluxDB and Grafana are not started.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nodeIdOfHost } from '../../broker/contract/ids.ts';
import { type Docker, noDocker, startDocker } from '../support/docker.ts';
import { pinOf } from '../support/pins.ts';
import { freePort, until } from '../support/servers.ts';

const root = join(import.meta.dirname, '..', '..');
const node = nodeIdOfHost(hostname());
const password = 'a long and rather odd sentence 7';

/** A guest of this host, as an administrator's own programs show and start it. */
const programs = {
  'daemon.yaml':
    'script:\n  guests: /etc/kernreaktor/guests\n  actions: {guest.start: /etc/kernreaktor/start}\n',
  guests: `#!/bin/sh
state=stopped; [ -f /executor/running ] && state=running
printf '[{"id":"100","kind":"container","name":"web","state":"%s","metrics":{}}]' $state\n`,
  start: `#!/bin/sh
echo "$KR_COMMAND_ID" >> /executor/effects; touch /executor/running\n`,
};

type NodeRow = { id: string; state: string; guestCount: number };
type Points = { series: { points: [number, number | null][] }[] };

describe.skipIf(noDocker !== '')(`docker compose${noDocker}`, () => {
  let docker: Docker;
  let environment: Record<string, string>;
  let session = '';
  let url = '';
  const told: string[] = [];

  const compose = async (...args: string[]): Promise<string> => {
    const said = await docker.compose(environment, ...args);
    told.push(`$ docker compose ${args.join(' ')}`, said.trim());
    return said;
  };
  const inspect = async (service: string) => {
    const id = (await docker.compose(environment, 'ps', '-q', service)).trim().split('\n')[0] ?? '';
    return (JSON.parse(await docker.docker('inspect', id)) as Inspected[])[0];
  };
  type Inspected = {
    State: { Status: string; ExitCode: number; Health?: { Status: string } };
    Config: { User: string; Env: string[] };
    HostConfig: { ReadonlyRootfs: boolean; CapAdd: string[] | null; CapDrop: string[] | null };
  };
  const healthy = (service: string) =>
    until(async () => (await inspect(service))?.State.Health?.Status === 'healthy', {
      withinMs: 240_000,
      what: `${service} healthy`,
    }).catch(async (error: unknown) => {
      throw new Error(`${String(error)}\n${await docker.compose(environment, 'logs', service)}`);
    });
  async function call<T>(method: string, path: string, body?: object): Promise<[number, T]> {
    const headers = {
      ...(body && { 'content-type': 'application/json' }),
      // Asked again after a 503, it is still the same command.
      ...(path === 'commands' && { 'idempotency-key': 'the-start-of-100' }),
      ...(session !== '' && { authorization: `Bearer ${session}` }),
    };
    const sent = body && { body: JSON.stringify(body) };
    const answer = await fetch(`${url}/api/v1/${path}`, { method, headers, ...sent });
    return [answer.status, (await answer.json()) as T];
  }
  /** A server whose MariaDB is slow to answer says so by 503, and is asked again. */
  const signIn = async (): Promise<void> => {
    session = '';
    const asked = { username: 'anna', password };
    const answered = async () => {
      const [status, { token = '' }] = await call<{ token?: string }>('POST', 'session', asked);
      session = token;
      return status < 300;
    };
    await until(answered, { withinMs: 120_000, what: 'the session' });
  };
  const row = async (): Promise<NodeRow | undefined> =>
    (await call<{ items?: NodeRow[] }>('GET', 'nodes'))[1].items?.find(({ id }) => id === node);
  const awake = () =>
    until(async () => (await row())?.state === 'awake' && (await row())?.guestCount === 1, {
      withinMs: 120_000,
      what: 'this host awake',
    });

  beforeAll(async () => {
    docker = await startDocker();
    const etc = join(docker.folder, 'etc');
    mkdirSync(etc, { mode: 0o755 });
    const pins = ['guests', 'start'].map((name) => [
      `/etc/kernreaktor/${name}`,
      pinOf(programs[name as keyof typeof programs]),
    ]);
    const policy = JSON.stringify({ scripts: Object.fromEntries(pins) as object });
    for (const [name, text] of Object.entries({ ...programs, 'policy.yaml': policy })) {
      writeFileSync(join(etc, name), text, { mode: 0o755 });
    }
    const port = async (): Promise<string> => `127.0.0.1:${await freePort()}`;
    const [http, mqtts, broker] = [await port(), await port(), await port()];
    url = `http://${http}`;
    environment = {
      COMPOSE_PROJECT_NAME: 'krtest',
      KR_INFLUX_URL: '',
      KR_SAMPLE_INTERVAL_MS: '1000',
      KERNREAKTOR_HTTP: http,
      KERNREAKTOR_HTTPS: await port(),
      KERNREAKTOR_MQTTS: mqtts,
      KERNREAKTOR_BROKER: broker,
      KERNREAKTOR_AGENT_URL: `mqtts://${mqtts}`,
      KERNREAKTOR_ETC: etc,
      KERNREAKTOR_SLIM_PORT: String(await freePort()),
    };
    const file = readFileSync(join(root, 'docker-compose.yml'), 'utf8');
    const mariadb = /image: (mariadb:\S+)/.exec(file)?.[1] ?? '';
    const standIn = join(import.meta.dirname, 'compose', 'mariadb');
    await docker.docker('build', '--network', 'host', '-t', mariadb, standIn);
    await docker.docker('build', '--network', 'host', '-t', 'kernreaktor:local', root);
  }, 1_800_000);
  afterAll(async () => {
    if (docker === undefined) return;
    process.stdout.write(`${told.join('\n')}\n`);
    await docker.compose(environment, '--profile', 'slim', '--profile', 'broker', 'down', '-v');
    await docker.stop();
  }, 600_000);

  it('comes up healthy and lets this host in, with nothing set by hand', async () => {
    await compose('up', '-d', 'agent');
    for (const service of ['mariadb', 'backend', 'executor', 'agent']) await healthy(service);
    const logs = await docker.compose(environment, 'logs', 'backend');
    const token = /set-up token for the first account: (\w+)/.exec(logs)?.[1];
    const setUp = async () =>
      (await call('POST', 'setup', { token, username: 'anna', password }))[0] === 201;
    await until(setUp, { withinMs: 120_000, what: 'the first account' });
    expect(await (await fetch(`${url}/`)).text()).toContain('<div id="app">');
    await signIn();
    await awake();
    await compose('ps');
  }, 600_000);

  it('runs as nobody, on a read-only file system, and shows no secret', async () => {
    const secrets: string[] = [];
    for (const name of [
      'mariadb',
      'mariadb-root',
      'influxdb',
      'influxdb-token',
      'grafana',
      'mqtt',
    ]) {
      const volume = await docker.docker(
        'volume',
        'inspect',
        '-f',
        '{{.Mountpoint}}',
        'krtest_secrets',
      );
      secrets.push(readFileSync(join(volume.trim(), name), 'utf8'));
    }
    expect(new Set(secrets.map((secret) => /^[0-9a-f]{64}$/.test(secret)))).toEqual(
      new Set([true]),
    );
    for (const service of ['init', 'mariadb', 'backend', 'enrol', 'executor', 'agent']) {
      const shown = JSON.stringify(await inspect(service));
      expect(secrets.filter((secret) => shown.includes(secret))).toEqual([]);
      const logs = await docker.compose(environment, 'logs', service);
      expect(secrets.filter((secret) => logs.includes(secret))).toEqual([]);
    }
    for (const service of ['backend', 'agent', 'enrol']) {
      const found = await inspect(service);
      expect([service, found?.Config.User]).toEqual([service, 'kernreaktor']);
      expect(found?.HostConfig).toMatchObject({
        ReadonlyRootfs: true,
        CapAdd: null,
        CapDrop: ['ALL'],
      });
    }
    expect((await inspect('executor'))?.HostConfig.CapAdd).toEqual(['DAC_READ_SEARCH']);
  }, 300_000);

  it('takes a command through, and has lost nothing after down and up', async () => {
    const order = { cluster: 'home', kind: 'guest.start', node, guest: '100', args: {} };
    let id = '';
    const submitted = async () => {
      const [status, answer] = await call<{ id: string }>('POST', 'commands', order);
      id = answer.id;
      return status === 202;
    };
    await until(submitted, { withinMs: 120_000, what: 'a place for the command' });
    const command = async () => (await call<{ state: string }>('GET', `commands/${id}`))[1];
    await until(async () => (await command()).state === 'SUCCEEDED', {
      withinMs: 120_000,
      what: 'the end of the command',
    });
    const before = await command();
    const effects = () =>
      docker.compose(environment, 'exec', '-T', 'executor', 'cat', '/executor/effects');
    expect((await effects()).trim()).toBe(id);
    const toMs = Date.now();
    const history = async (): Promise<number> => {
      const path = `telemetry?cluster=home&node=${node}&metrics=memoryTotalBytes&from=${toMs - 30_000}&to=${toMs - 5_000}&stepMs=1000`;
      const [, { series }] = await call<Points>('GET', path);
      return series[0]?.points.filter(([, value]) => value !== null).length ?? 0;
    };
    const points = await history();
    expect(points).toBeGreaterThan(3);

    await compose('down');
    expect((await docker.docker('ps', '-a', '-q')).trim()).toBe('');
    await compose('up', '-d', 'agent');
    for (const service of ['mariadb', 'backend', 'executor', 'agent']) await healthy(service);
    await signIn();
    await awake();
    expect(await command()).toEqual(before);
    expect(await history()).toBe(points);
    expect((await effects()).trim()).toBe(id);
  }, 600_000);

  it('goes on with a broker in a container of its own, under the same CA', async () => {
    const { KERNREAKTOR_BROKER: broker = '' } = environment;
    Object.assign(environment, {
      COMPOSE_PROFILES: 'broker',
      KR_MQTT_URL: 'mqtts://broker:8883',
      KERNREAKTOR_AGENT_URL: `mqtts://${broker}`,
    });
    await compose('up', '-d', 'broker', 'agent');
    for (const service of ['broker', 'backend', 'agent']) await healthy(service);
    await signIn();
    await awake();
    const logs = await docker.compose(environment, 'logs', 'backend');
    expect(logs).toContain('"mqttUrl":"mqtts://broker:8883"');
    await compose('down');
  }, 600_000);

  it('starts the small one by name alone, and observes this host', async () => {
    Object.assign(environment, { COMPOSE_PROFILES: '', KR_MQTT_URL: '', KR_TLS_HOST: '' });
    await compose('up', '-d', 'slim');
    await healthy('slim');
    const ask = `kernreaktor enrol other n2 && node -e "fetch('http://127.0.0.1:${environment['KERNREAKTOR_SLIM_PORT']}/healthz').then(a => console.log(a.status))"`;
    expect(await docker.compose(environment, 'exec', '-T', 'slim', 'sh', '-c', ask)).toMatch(
      /^[0-9a-f]{64}\s+200/m,
    );
  }, 600_000);
});
