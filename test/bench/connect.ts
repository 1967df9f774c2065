/**
 * The broker against Mosquitto, in one run, by one generator: a storm of reconnecting clients with
 * TLS and a credential each, memory of an idle connection, CPU of a message at a steady rate, and
 * how many are *delivered* when everyone sends as fast as the sockets take it. Ours twice: consumed
 * in-process, as the backend does, and by a subscriber over TCP, as Mosquitto must be.
 *
 *   npm run bench:connect -- --clients 2048 --rate 2000 --seconds 10
 *
 * Exits with 99 when at the steady rate a message is not delivered. The last line is one JSON object.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { createHash, pbkdf2Sync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { generate } from 'mqtt-packet';
import { createFrameScanner, packetType } from '../../broker/frames.ts';
import { ensureTls } from '../../broker/tls.ts';
import { usageOf } from '../../simulator/usage.ts';
import { fetchServers } from '../support/debian.ts';
import { startMosquitto } from '../support/servers.ts';
import type { Counted, Listening, Start } from './broker-process.ts';
import { type Done, nameOf, type Order, type Target } from './swarm.ts';

const { values: asked } = parseArgs({
  options: {
    clients: { type: 'string', default: '2048' },
    rate: { type: 'string', default: '2000' },
    seconds: { type: 'string', default: '10' },
    bytes: { type: 'string', default: '1024' },
    floods: { type: 'string', default: '64' },
  },
});
const whole = (name: keyof typeof asked): number => {
  const value = Number(asked[name]);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Error(`--${name}: write a whole number above 0`);
};
const options = {
  clients: whole('clients'),
  rate: whole('rate'),
  seconds: whole('seconds'),
  bytes: whole('bytes'),
  floods: whole('floods'),
};

/** Without the loader of compiled types nothing else of this process is handed on. */
const start = (file: string): ChildProcess =>
  fork(join(import.meta.dirname, file), [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });

async function told<A>(child: ChildProcess, what: object): Promise<A> {
  const answer = once(child, 'message');
  child.send(what);
  return (await answer)[0] as A;
}

/** What is measured of one broker. */
type Subject = {
  pid: number;
  target: Target;
  /** Messages that reached the consumer so far. */
  delivered(): Promise<number>;
  stop(): Promise<void>;
};

/** A consumer over TCP that only counts: it takes no part in what a message costs the broker. */
async function countOver(port: number, secret: string) {
  const socket = connectTcp({ host: '127.0.0.1', port, noDelay: true });
  await once(socket, 'connect');
  let delivered = 0;
  const scan = createFrameScanner<never>((type) => {
    if (type === packetType.publish) delivered += 1;
    return undefined;
  });
  const session = { clientId: 'server', username: 'server', password: Buffer.from(secret) };
  const level = { protocolId: 'MQTT', protocolVersion: 4, clean: true, keepalive: 120 } as const;
  socket.write(generate({ cmd: 'connect', ...level, ...session }));
  const [connack] = (await once(socket, 'data')) as [Buffer];
  if (connack[3] !== 0) throw new Error(`the consumer was refused: ${connack.toString('hex')}`);
  const filter = { topic: 'kr/v1/+/+/telemetry', qos: 0 } as const;
  socket.write(generate({ cmd: 'subscribe', messageId: 1, subscriptions: [filter] }));
  const [suback] = (await once(socket, 'data')) as [Buffer];
  if (suback[4] !== 0) throw new Error(`the subscription was refused: ${suback.toString('hex')}`);
  socket.on('data', scan);
  return { delivered: () => Promise.resolve(delivered), close: () => socket.destroy() };
}

type Doors = { folder: string; secret: string; caFile: string };

async function ours({ folder, secret, caFile }: Doors, isTls: boolean, inProcess: boolean) {
  const child = start('broker-process.ts');
  const order: Start = { folder, clients: options.clients, secret, inProcess };
  const { tcpPort, tlsPort, ca } = await told<Listening>(child, order);
  await writeFile(caFile, ca);
  const consumer = inProcess ? null : await countOver(tcpPort, secret);
  const target: Target = isTls
    ? { host: '127.0.0.1', port: tlsPort, caFile, secret }
    : { host: '127.0.0.1', port: tcpPort, caFile: null, secret };
  const subject: Subject = {
    pid: child.pid ?? 0,
    target,
    delivered: async () =>
      consumer ? consumer.delivered() : (await told<Counted>(child, {})).delivered,
    async stop() {
      consumer?.close();
      const gone = once(child, 'exit');
      child.disconnect();
      await gone;
    },
  };
  return subject;
}

/** One line of Mosquitto's password file: PBKDF2-SHA512, 101 rounds, as mosquitto_passwd writes. */
function passwordLine(user: string, secret: string): string {
  const salt = randomBytes(12);
  const hash = pbkdf2Sync(secret, salt, 101, 64, 'sha512');
  return `${user}:$7$101$${salt.toString('base64')}$${hash.toString('base64')}`;
}

async function mosquitto({ folder, secret, caFile }: Doors, isTls: boolean): Promise<Subject> {
  const daemons = Array.from({ length: options.clients }, (_, index) => nameOf(index));
  const users = ['server', ...daemons.map((name) => `bench/${name}`)];
  const own = daemons.map(
    (name) => `user bench/${name}\ntopic write kr/v1/bench/${name}/telemetry\n`,
  );
  const { cert, key, ca } = await ensureTls({ folder, names: ['localhost'], nowMs: Date.now() });
  await writeFile(caFile, ca);
  const files = {
    passwords: `${users.map((user) => passwordLine(user, secret)).join('\n')}\n`,
    acl: `user server\ntopic read kr/v1/+/+/telemetry\n${own.join('')}`,
    'cert.pem': cert,
    'key.pem': key,
  };
  const tls = ['certfile %FOLDER%/cert.pem', 'keyfile %FOLDER%/key.pem', 'tls_version tlsv1.3'];
  const lines = [
    'allow_anonymous false',
    'password_file %FOLDER%/passwords',
    'acl_file %FOLDER%/acl',
    'set_tcp_nodelay true',
    'max_queued_messages 0',
    ...(isTls ? tls : []),
  ];
  const server = await startMosquitto(lines, files);
  const consumer = isTls ? null : await countOver(server.port, secret);
  return {
    pid: server.pid,
    target: { host: '127.0.0.1', port: server.port, caFile: isTls ? caFile : null, secret },
    delivered: () => consumer?.delivered() ?? Promise.resolve(0),
    async stop() {
      consumer?.close();
      await server.stop();
    },
  };
}

const rounded = (value: number, digits = 3): number => Number(value.toFixed(digits));

/** CPU of the broker over some work, and what its memory came to. */
async function costOf<T>(pid: number, work: () => Promise<T>) {
  const before = usageOf(pid);
  const result = await work();
  const after = usageOf(pid);
  if (!before || !after) throw new Error('the broker ended');
  return {
    result,
    cpuSeconds: after.cpuSeconds - before.cpuSeconds,
    grownBytes: after.rssBytes - before.rssBytes,
  };
}

const swarm = start('swarm.ts');
const order = (what: Order): Promise<Done> => told<Done>(swarm, what);

/** Everyone comes, is cut, and comes back at once. */
async function storm(subject: Subject) {
  const { target } = subject;
  const { clients } = options;
  const connect = () => order({ do: 'connect', target, clients });
  const first = await costOf(subject.pid, connect);
  await order({ do: 'cut' });
  const again = await costOf(subject.pid, connect);
  await order({ do: 'cut' });
  return {
    connectMs: first.result.ms,
    reconnectMs: again.result.ms,
    reconnectAttempts: again.result.attempts,
    brokerCpuMsPerConnect: rounded((again.cpuSeconds / clients) * 1000),
    idleKiBPerConnection: rounded(first.grownBytes / clients / 1024, 1),
  };
}

/** Waits until no more of what was sent arrives. */
async function settled(subject: Subject, sent: number): Promise<number> {
  let [last, still] = [await subject.delivered(), 0];
  while (last < sent && still < 10) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    const now = await subject.delivered();
    still = now === last ? still + 1 : 0;
    last = now;
  }
  return last;
}

async function messages(subject: Subject) {
  const { clients, rate, seconds, bytes, floods } = options;
  const first = await costOf(subject.pid, () =>
    order({ do: 'connect', target: subject.target, clients }),
  );
  const paced = await costOf(subject.pid, async () => {
    const before = await subject.delivered();
    const { sent } = await order({ do: 'pace', messagesPerSecond: rate, seconds, bytes });
    return { sent, delivered: (await settled(subject, sent + before)) - before };
  });
  const before = await subject.delivered();
  const startMs = performance.now();
  const flooded = await costOf(subject.pid, () =>
    order({ do: 'flood', clients: floods, seconds, bytes }),
  );
  const { sent } = flooded.result;
  const delivered = (await settled(subject, sent + before)) - before;
  const tookSeconds = (performance.now() - startMs) / 1000;
  await order({ do: 'cut' });
  return {
    idleKiBPerConnection: rounded(first.grownBytes / clients / 1024, 1),
    notDeliveredAtRate: paced.result.sent - paced.result.delivered,
    cpuMicrosecondsPerMessage: rounded((paced.cpuSeconds / paced.result.delivered) * 1e6, 1),
    saturation: {
      sent,
      delivered,
      deliveredPerSecond: Math.round(delivered / Math.max(seconds, tookSeconds)),
    },
  };
}

async function withSubject<T>(made: Promise<Subject>, work: (subject: Subject) => Promise<T>) {
  const subject = await made;
  try {
    return await work(subject);
  } finally {
    await subject.stop();
  }
}

await fetchServers();
const folder = await mkdtemp(join(tmpdir(), 'kr-bench-connect-'));
try {
  const secret = createHash('sha256').update(randomBytes(32)).digest('hex');
  const doors: Doors = { folder: join(folder, 'tls'), secret, caFile: join(folder, 'ca.pem') };
  const tls = {
    kernreaktor: await withSubject(ours(doors, true, true), storm),
    mosquitto: await withSubject(mosquitto(doors, true), storm),
  };
  const telemetry = {
    kernreaktorInProcess: await withSubject(ours(doors, false, true), messages),
    kernreaktorOverTcp: await withSubject(ours(doors, false, false), messages),
    mosquittoOverTcp: await withSubject(mosquitto(doors, false), messages),
  };
  const load = Number((await readFile('/proc/loadavg', 'utf8')).split(' ')[0]);
  process.stdout.write(`${JSON.stringify({ ...options, loadAverage: load, tls, telemetry })}\n`);
  const lost = Object.values(telemetry).some(({ notDeliveredAtRate }) => notDeliveredAtRate > 0);
  if (lost) process.exitCode = 99;
} finally {
  swarm.disconnect();
  await rm(folder, { recursive: true, force: true });
}
