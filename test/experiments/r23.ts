/**
 * R23: denial of service against the running product: announced giants, idle and slow sockets,
 * floods of retained messages, wills, QoS 2 and deep topics, a frozen subscriber, bad logins. The
 * memory stays bounded, the attacker is dropped, and a legitimate command is done within 2 s.
 */
import { connect, type Socket } from 'node:net';
import { generate, type Packet } from 'mqtt-packet';
import { raw } from '../broker/wire.ts';
import {
  experiment,
  type Figures,
  pauseMs,
  type Scope,
  spread,
  watchMemory,
} from '../support/experiment.ts';
import { enrolIdentities } from '../support/honest.ts';
import { connectOf, type Identity } from '../support/mqtt-fuzz.ts';
import { until } from '../support/servers.ts';
import { simulate, type Stack, startStack } from '../support/stack.ts';

type Site = { stack: Stack; port: number; who: Identity[]; lastMs: number };
/** Milliseconds until each attacking socket was dropped; null: it was still there at the end. */
type Dropped = (number | null)[];
type Attack = (site: Site) => Promise<Dropped>;

/** A socket that says `bytes` and then does what `then` says; when it was closed by the server. */
function hostile(
  { port, lastMs }: Site,
  address: string,
  use: (socket: Socket) => void,
): Promise<number | null> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: address });
    const startMs = performance.now();
    const timer = setTimeout(() => {
      resolve(null);
      socket.destroy();
    }, lastMs);
    socket.on('error', () => undefined);
    // Unread answers would hide the end of the connection.
    socket.resume();
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(performance.now() - startMs);
    });
    socket.on('connect', () => use(socket));
  });
}

const addressOf = (index: number): string =>
  `127.0.${2 + Math.floor(index / 250)}.${(index % 250) + 1}`;
const many = <T>(count: number, make: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => make(index)));

/** CONNECT announcing 100 MB, with the bytes to prove it. */
const giants: Attack = (site) =>
  many(8, (index) =>
    hostile(site, addressOf(index), (socket) => {
      const head = Buffer.from([0x10, 0x80, 0xc2, 0xd7, 0x2f]);
      const mebibyte = Buffer.alloc(2 ** 20, 0x41);
      socket.write(head);
      for (let sent = 0; sent < 100; sent += 1) socket.write(mebibyte);
    }),
  );

const idleSockets =
  (count: number): Attack =>
  (site) =>
    many(count, (index) => hostile(site, addressOf(index), () => undefined));

const slowConnect: Attack = (site) =>
  many(32, (index) =>
    hostile(site, addressOf(index), (socket) => {
      const bytes = generate(connectOf(site.who[0] as Identity));
      let at = 0;
      const timer = setInterval(() => {
        if (socket.destroyed || at >= bytes.length) return clearInterval(timer);
        socket.write(bytes.subarray(at, (at += 1)));
      }, 1_000);
    }),
  );

/** Authenticated sessions that each pour out packets until they are dropped. */
const flood =
  (packetsOf: (who: Identity, index: number) => Packet[], more: object = {}): Attack =>
  (site) =>
    Promise.all(
      site.who.map(async (who, index) => {
        const startMs = performance.now();
        const session = await raw(site.port);
        session.send(connectOf(who, more));
        const packets = packetsOf(who, index).map((packet) => generate(packet));
        const timer = setInterval(() => {
          if (session.isClosed()) return;
          session.socket.write(Buffer.concat(packets));
        }, 50);
        await until(() => session.isClosed(), { withinMs: site.lastMs }).catch(() => undefined);
        clearInterval(timer);
        const tookMs = session.isClosed() ? performance.now() - startMs : null;
        session.socket.destroy();
        return tookMs;
      }),
    );

const publish = ({ cluster, node }: Identity, more: object = {}): Packet => ({
  cmd: 'publish',
  topic: `kr/v1/${cluster}/${node}/telemetry`,
  payload: Buffer.alloc(700, 0x7b),
  qos: 0,
  dup: false,
  retain: false,
  ...more,
});

const times = (count: number, make: (index: number) => Packet): Packet[] =>
  Array.from({ length: count }, (_, index) => make(index));

/** Subscribes and never reads again; it may stay, since all it gets is what it asks for. */
const frozenSubscriber: Attack = async (site) => {
  await Promise.all(
    site.who.slice(0, 4).map(async (who) => {
      const session = await raw(site.port);
      session.send(connectOf(who));
      await session.got('connack');
      const topics = ['offer', 'sync', 'receipt', 'verdict'];
      const subscriptions = topics.map((name) => ({
        topic: `kr/v1/${who.cluster}/${who.node}/${name}`,
        qos: 1 as const,
      }));
      session.send({ cmd: 'subscribe', messageId: 1, subscriptions });
      await session.got('suback');
      session.socket.pause();
      const timer = setInterval(() => session.send({ cmd: 'pingreq' }), 30);
      await pauseMs(Math.min(site.lastMs, 4_000));
      clearInterval(timer);
      session.socket.destroy();
    }),
  );
  return [];
};

/** 1,000 CONNECTs a second with a wrong password, from one address after the other. */
const badLogins: Attack = async (site) => {
  const dropped: Dropped = [];
  const deadlineMs = performance.now() + Math.min(site.lastMs, 5_000);
  for (let turn = 0; performance.now() < deadlineMs; turn += 1) {
    const batch = many(50, (index) =>
      hostile(site, addressOf(turn * 50 + index), (socket) => {
        const who = { ...(site.who[0] as Identity), secret: 'f'.repeat(64) };
        socket.write(generate(connectOf(who)));
      }),
    );
    dropped.push(...(await batch));
    await pauseMs(20);
  }
  return dropped;
};

const attacks = (isShort: boolean): [string, Attack][] => [
  ['8 CONNECTs of 100 MB', giants],
  [`${isShort ? 1_000 : 8_000} idle sockets`, idleSockets(isShort ? 1_000 : 8_000)],
  ['CONNECT at 1 byte/s', slowConnect],
  [
    'retained flood',
    flood((who) => times(50, (n) => publish(who, { retain: true, topic: `r/${n}` }))),
  ],
  ['publish flood', flood((who) => times(200, () => publish(who)))],
  [
    'will outside of its topic',
    flood(() => [], { will: { topic: 'x', payload: Buffer.alloc(3_000), qos: 1, retain: true } }),
  ],
  ['QoS 2 flood', flood((who) => times(50, (n) => publish(who, { qos: 2, messageId: n + 1 })))],
  ['deep topics', flood((who) => times(5, () => publish(who, { topic: '/'.repeat(20_000) })))],
  ['frozen subscriber', frozenSubscriber],
  ['bad logins', badLogins],
];

/** The time of a whole command, asked for again and again while the attack goes on. */
async function commandTimes(stack: Stack, run: { isOver: boolean }): Promise<number[]> {
  const ms: number[] = [];
  while (!run.isOver || ms.length === 0) {
    const startMs = performance.now();
    const kind = ms.length % 2 === 0 ? 'guest.stop' : 'guest.start';
    const wish = { cluster: 'sim-001', kind, node: 'n0001', guest: '101', args: {} };
    const { status, body } = await stack.api.post('commands', wish);
    if (status !== 202) throw new Error(`${status} ${JSON.stringify(body)}`);
    const id = String(body['id']);
    let state: unknown;
    await until(
      async () => {
        state = (await stack.api.get(`commands/${id}`))['state'];
        return /SUCCEEDED|FAILED|REJECTED|EXPIRED|CANCELLED|INDETERMINATE/.test(String(state));
      },
      { what: 'the end of a legitimate command' },
    );
    if (state !== 'SUCCEEDED') throw new Error(`a legitimate command is ${String(state)}`);
    ms.push(performance.now() - startMs);
    // The picture must show what was done before the next guard looks at it.
    await pauseMs(1_200);
  }
  return ms;
}

/** Hello and first sample come in either order, and a command needs both. */
async function areAtWork({ api }: Stack): Promise<boolean> {
  type Row = { state: string; guestCount: number | null };
  const { items } = await api.get<{ items: Row[] }>('nodes');
  const working = items.filter(({ state, guestCount }) => state === 'awake' && guestCount === 4);
  if (working.length < 4) return false;
  const node = await api.get<{ capabilities: string[] }>('clusters/sim-001/nodes/n0001');
  return node.capabilities.includes('guest.stop');
}

async function run({ n, say }: Scope): Promise<Figures> {
  const isShort = n < 2;
  const stack = await startStack({ KR_LOG_LEVEL: 'warn' });
  const fleet = '--nodes 4 --guests 4 --interval 1 --minutes 600 --time-scale 60';
  const simulation = simulate(stack, fleet.split(' '));
  const results: Record<string, unknown>[] = [];
  const violations: string[] = [];
  try {
    await until(() => areAtWork(stack), { withinMs: 60_000, what: 'four nodes at work' });
    const who = await enrolIdentities(stack, 'hostile', 8);
    const port = Number(new URL(stack.runtime().mqttUrl).port);
    const site: Site = { stack, port, who, lastMs: isShort ? 7_000 : 20_000 };
    const calm = await commandTimes(stack, { isOver: true });
    const memory = watchMemory(() => stack.run().pid);
    for (const [name, attack] of attacks(isShort)) {
      const flag = { isOver: false };
      const legit = commandTimes(stack, flag);
      const own = watchMemory(() => stack.run().pid);
      const dropped = await attack(site).finally(() => (flag.isOver = true));
      const commandMs = await legit;
      const times = dropped.filter((ms) => ms !== null);
      const result = {
        name,
        sockets: dropped.length,
        stillThere: dropped.length - times.length,
        droppedMs: spread(times),
        commandMs: spread(commandMs),
        memoryMib: own.stop(),
      };
      results.push(result);
      say(JSON.stringify(result));
      if (stack.run().isOver()) violations.push(`${name}: the server ended`);
      if (Math.max(...commandMs) > 2_000) violations.push(`${name}: a command took over 2 s`);
      if (result.stillThere > 0) violations.push(`${name}: ${result.stillThere} not dropped`);
      if (Math.max(0, ...times) > 6_000) violations.push(`${name}: dropped after over 5 s`);
    }
    const memoryMib = memory.stop();
    if (memoryMib.peakMib - memoryMib.baseMib > 256) violations.push('memory grew by over 256 MiB');
    return { calmCommandMs: spread(calm), memoryMib, attacks: results, violations };
  } finally {
    simulation.run.signal('SIGKILL');
    await simulation.run.exited;
    await stack.remove();
  }
}

export const r23 = experiment(import.meta, { name: 'R23', short: 1, long: 2, run });
