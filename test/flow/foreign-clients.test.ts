/**
 * mosquitto_pub and mosquitto_sub, which know nothing of us, against the embedded broker and
 * against a real Mosquitto with the files of `kernreaktor broker acl`: the same rights on both.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { mosquittoFiles, mosquittoHash, mosquittoSaltBytes } from '../../broker/acl.ts';
import { connectServerLink } from '../../broker/server-link.ts';
import { nodeToServer, serverToNode, serverTopic } from '../../broker/contract/topics.ts';
import type { Ownership, ServerLink } from '../../broker/port.ts';
import { realClock, secretOf, startBroker } from '../broker/wire.ts';
import { seededRandom } from '../support/clock.ts';
import { memoryLog } from '../support/log.ts';
import { mosquittoTools, startMosquitto, until } from '../support/servers.ts';

type Target = { port: number; link: ServerLink };

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

const owner = (daemon: string, nodes: string[]): Ownership => ({
  cluster: 'home',
  daemon,
  simulated: false,
  enrolling: false,
  nodes: new Set(nodes),
});
/** `watch` speaks for both nodes as well: it hears what reaches them without replacing a session. */
const daemons = [
  owner('pve1', ['pve1']),
  owner('pve2', ['pve2']),
  owner('watch', ['pve1', 'pve2']),
];

async function onAedes(): Promise<Target> {
  const { broker, port, directory } = await startBroker();
  ends.push(() => broker.close());
  for (const daemon of daemons) directory.add(daemon);
  return { port, link: broker };
}

const salted = (secret: string): string =>
  mosquittoHash(secret, seededRandom(secret.length).bytes(mosquittoSaltBytes));

async function onMosquitto(): Promise<Target> {
  const username = 'kernreaktor-server';
  const users = daemons.map((ownership) => ({
    ownership,
    mqttHash: salted(secretOf(`home/${ownership.daemon}`)),
  }));
  const files = mosquittoFiles(users, { username, mqttHash: salted('server secret') });
  const server = await startMosquitto(
    [
      'allow_anonymous false',
      'use_username_as_clientid true',
      'max_packet_size 262144',
      'max_qos 1',
      'password_file %FOLDER%/passwords',
      'acl_file %FOLDER%/acl',
    ],
    files,
  );
  ends.push(() => server.stop());
  const credential = { clientId: username, username, password: 'server secret' };
  const common = { clock: realClock, random: seededRandom(1), log: memoryLog() };
  const link = await connectServerLink({ url: server.url, ...credential, ...common });
  ends.push(() => link.close());
  expect(link.isConnected()).toBe(true);
  return { port: server.port, link };
}

const loginOf = (port: number, node: string, over: { id?: string; secret?: string } = {}) => {
  const user = `home/${node}`;
  const { id = user, secret = secretOf(user) } = over;
  return ['-h', '127.0.0.1', '-p', `${port}`, '-i', id, '-u', user, '-P', secret];
};

/** The exit code of one mosquitto_pub. */
function publish(login: string[], topic: string, payload: string) {
  const { pub, env } = mosquittoTools();
  const args = [...login, '-t', topic, '-m', payload, '-q', '1'];
  return new Promise<number>((resolve) => {
    execFile(pub, args, { env, timeout: 20_000 }, (error) => {
      resolve(typeof error?.code === 'number' ? error.code : error ? -1 : 0);
    });
  });
}

/** A mosquitto_sub that prints `topic payload`; its lines grow as messages come. */
function listen(login: string[], topics: string[]) {
  const { sub, env } = mosquittoTools();
  const args = [...login, '-v', '-q', '1', ...topics.flatMap((topic) => ['-t', topic])];
  const child: ChildProcess = spawn(sub, args, { env, stdio: ['ignore', 'pipe', 'ignore'] });
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const exited = once(child, 'exit');
  ends.push(async () => {
    child.kill();
    await exited;
  });
  return {
    lines: () => text.split('\n').filter((line) => line !== ''),
    hasExited: () => child.exitCode !== null,
  };
}

const own = (name: string) => `kr/v1/home/pve1/${name}`;
const foreign = (name: string) => `kr/v1/home/pve2/${name}`;
const every = [...nodeToServer, ...serverToNode];
const spoken = nodeToServer.filter((name) => name !== 'enrol');
const heard = serverToNode.filter((name) => name !== 'enrolled');

describe.each([
  ['the embedded broker', onAedes],
  ['Mosquitto with the generated files', onMosquitto],
])('foreign clients on %s', (_name, start) => {
  it('publish on their own topics and on no other', async () => {
    const { port, link } = await start();
    const got: string[] = [];
    link.onMessage(({ topic, payload }) => got.push(`${topic} ${Buffer.from(payload).toString()}`));
    const login = loginOf(port, 'pve1');
    for (const name of spoken) expect(await publish(login, own(name), 'mine')).toBe(0);
    await until(() => got.length === spoken.length);
    expect(got.toSorted()).toEqual(spoken.map((name) => `${own(name)} mine`).toSorted());

    // Who would hear what must not be said.
    const watch = listen(loginOf(port, 'watch'), [
      ...heard.map(own),
      ...heard.map(foreign),
      serverTopic,
    ]);
    await until(async () => {
      await link.publish({ topic: own('sync'), payload: 'ready', qos: 1, retain: false });
      return watch.lines().length > 0;
    });
    const forbidden = [
      ...[...serverToNode, 'enrol'].map(own),
      ...every.map(foreign),
      'kr/v1/work/pve1/telemetry',
      serverTopic,
      '$SYS/broker/uptime',
      'kr/v1/home/pve1',
      'anything',
    ];
    for (const topic of forbidden) await publish(login, topic, 'forged');
    await link.publish({ topic: foreign('sync'), payload: 'ready', qos: 1, retain: false });
    expect(await publish(loginOf(port, 'pve2'), foreign('report'), 'last')).toBe(0);
    await until(() => got.includes(`${foreign('report')} last`));
    expect(got.filter((line) => line.endsWith('forged'))).toEqual([]);
    await until(() => watch.lines().includes(`${foreign('sync')} ready`));
    expect(watch.lines().filter((line) => !line.endsWith(' ready'))).toEqual([]);
  });

  it('hear their own topics and no other, wildcards included', async () => {
    const { port, link } = await start();
    const wanted = [
      '#',
      'kr/v1/#',
      'kr/v1/home/+/sync',
      'kr/v1/+/+/telemetry',
      '$SYS/#',
      ...every.map(foreign),
      ...nodeToServer.map(own),
      'kr/v1/work/pve1/sync',
    ];
    const sub = listen(loginOf(port, 'pve1'), [...wanted, own('receipt')]);
    const send = (topic: string, payload: string) =>
      link.publish({ topic, payload, qos: 1, retain: false });
    await until(async () => {
      await send(own('receipt'), 'ready');
      return sub.lines().length > 0;
    });
    for (const name of serverToNode) await send(foreign(name), 'not yours');
    await send('kr/v1/work/pve1/sync', 'not yours');
    for (const name of spoken) {
      expect(await publish(loginOf(port, 'pve2'), foreign(name), 'not yours')).toBe(0);
    }
    await send(own('receipt'), 'last');
    await until(() => sub.lines().some((line) => line.endsWith(' last')));
    const others = sub
      .lines()
      .filter((line) => !/^kr\/v1\/home\/pve1\/receipt (ready|last)$/.test(line));
    expect(others).toEqual([]);

    const all = listen(loginOf(port, 'pve2'), [...heard.map(foreign), serverTopic]);
    await until(async () => {
      await send(foreign('sync'), 'ready');
      return all.lines().length > 0;
    });
    for (const name of heard) await send(foreign(name), 'yours');
    await link.publish({ topic: serverTopic, payload: 'page', qos: 1, retain: true });
    await until(() => all.lines().includes(`${serverTopic} page`));
    expect(
      all
        .lines()
        .filter((line) => line.endsWith(' yours'))
        .toSorted(),
    ).toEqual(heard.map((name) => `${foreign(name)} yours`).toSorted());
  });

  it('get in with their own secret alone, and end no session of another', async () => {
    const { port, link } = await start();
    const victim = listen(loginOf(port, 'pve1'), [own('sync')]);
    const call = (payload: string) =>
      link.publish({ topic: own('sync'), payload, qos: 1, retain: false });
    await until(async () => {
      await call('ready');
      return victim.lines().length > 0;
    });
    expect(
      await publish(loginOf(port, 'pve2', { secret: 'wrong' }), foreign('hello'), 'x'),
    ).not.toBe(0);
    expect(await publish(['-h', '127.0.0.1', '-p', `${port}`], foreign('hello'), 'x')).not.toBe(0);
    // Another user under the victim's client id: refused here, renamed by Mosquitto.
    await publish(loginOf(port, 'pve2', { id: 'home/pve1' }), foreign('hello'), 'x');
    await call('still here');
    await until(() => victim.lines().includes(`${own('sync')} still here`));
    expect(victim.hasExited()).toBe(false);
  });
});
