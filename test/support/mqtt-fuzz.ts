/**
 * MQTT packets that nobody should send, drawn by seed: from a grammar with edge values, and by
 * damage to the bytes of packets that were already interesting. A packet that our own copy of the
 * parser judges in a new way joins the corpus, so that later damage starts from there.
 */
import { generate, type Packet, parser } from 'mqtt-packet';
import type { Chance } from './experiment.ts';
import { helloBody, message, telemetryBody, uuidOf } from './messages.ts';

export type Identity = { cluster: string; node: string; daemon: string; secret: string };

const edgeNumbers = [0, 1, 2, 127, 128, 255, 16_383, 65_535];
const names = 'telemetry presence hello claim report enrol sync offer grant probe verdict'.split(
  ' ',
);
const edgeValues: unknown[] = [
  null,
  -1,
  0,
  1e308,
  -1e308,
  2 ** 53,
  0.5,
  '',
  'x'.repeat(5_000),
  '\u0000',
  '__proto__',
  [],
  {},
  [[[[[[]]]]]],
  true,
];

function topicOf(draw: Chance, { cluster, node }: Identity): string {
  const own = `kr/v1/${cluster}/${node}/${draw.pick(names)}`;
  const strange = [
    `kr/v1/${cluster}/other/${draw.pick(names)}`,
    `kr/v1/${cluster}/+/telemetry`,
    'kr/v1/server',
    '#',
    '$SYS/heartbeat',
    `$share/g/${own}`,
    '/'.repeat(draw.pick([1, 8, 9, 200, 30_000])),
    `${own}/__proto__/constructor`,
    'é\u0000\uffff',
    'x'.repeat(draw.pick([1, 1_000, 65_535])),
    '',
  ];
  return draw.is(0.75) ? own : draw.pick(strange);
}

/** One key of a real body, somewhere in it, gets a value nobody expects, or none. */
function spoil(draw: Chance, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || draw.is(0.15)) return draw.pick(edgeValues);
  const copy: Record<string, unknown> = { ...(value as Record<string, unknown>) };
  const key = draw.pick(Object.keys(copy)) ?? 'extra';
  const roll = draw.below(4);
  if (roll === 0) delete copy[key];
  else if (roll === 1)
    copy[draw.pick(['__proto__', 'constructor', 'extra'])] = draw.pick(edgeValues);
  else copy[key] = spoil(draw, copy[key]);
  return Array.isArray(value) && draw.is(0.5) ? Object.values(copy) : copy;
}

function payloadOf(draw: Chance, { cluster, node }: Identity): Buffer {
  const head = { cluster, node, seq: draw.pick([0, 1, 2 ** 40]) };
  const real = draw.pick([
    () => message('telemetry', telemetryBody({ incarnation: draw.pick([1, 2 ** 31]) }), head),
    () => message('hello', helloBody(), head),
    () => message('presence', { online: true, reason: 'birth', load: null }, head),
    () => message('claim', claimBody(draw), head),
  ]);
  const { name: _name, ...wire } = real() as Record<string, unknown>;
  const text = JSON.stringify(draw.is(0.8) ? spoil(draw, wire) : wire) ?? '';
  if (draw.is(0.85)) return Buffer.from(text);
  const broken = [
    '',
    '{',
    '['.repeat(20_000),
    'NaN',
    `${text}${text}`,
    text.slice(0, draw.below(text.length + 1)),
    '\ud800',
  ];
  return Buffer.from(draw.pick(broken));
}

const claimBody = (draw: Chance) => ({
  commandId: uuidOf(draw.below(9)),
  nonce: '0'.repeat(32),
  journalId: uuidOf(1),
  incarnation: 1,
  bootId: uuidOf(2),
  maxEpoch: draw.pick([0, 1, 2 ** 40]),
});

const idOf = (draw: Chance): number => draw.pick(edgeNumbers) || 1;

/** Any packet of the grammar after CONNECT; `calm` ones keep a session alive. */
function grammar(draw: Chance, who: Identity, calm: boolean): Packet {
  const publish = (): Packet => ({
    cmd: 'publish',
    topic: calm
      ? `kr/v1/${who.cluster}/${who.node}/${draw.pick(names.slice(0, 5))}`
      : topicOf(draw, who),
    payload: payloadOf(draw, who),
    qos: calm ? draw.pick([0, 1] as const) : draw.pick([0, 1, 1, 2] as const),
    dup: draw.is(0.1),
    retain: !calm && draw.is(0.1),
    messageId: idOf(draw),
  });
  const topic = (): string =>
    calm ? `kr/v1/${who.cluster}/${who.node}/offer` : topicOf(draw, who);
  const qos = draw.pick([0, 1] as const);
  const subscribe = (): Packet => ({
    cmd: 'subscribe',
    messageId: idOf(draw),
    subscriptions: Array.from({ length: 1 + draw.below(3) }, () => ({ topic: topic(), qos })),
  });
  const others: (() => Packet)[] = [
    subscribe,
    () => ({ cmd: 'unsubscribe', messageId: idOf(draw), unsubscriptions: [topic()] }),
    () => ({ cmd: 'pingreq' }),
    () => ({ cmd: 'puback', messageId: idOf(draw) }),
  ];
  const wild: (() => Packet)[] = [
    () => ({ cmd: 'pubrec', messageId: idOf(draw) }),
    () => ({ cmd: 'pubrel', messageId: idOf(draw) }),
    () => ({ cmd: 'pubcomp', messageId: idOf(draw) }),
    () => ({ cmd: 'suback', messageId: idOf(draw), granted: [0] }),
    () => ({ cmd: 'pingresp' }),
    () => ({ cmd: 'connack', returnCode: 0, sessionPresent: false }),
    () => connectOf(who),
    () => ({ cmd: 'disconnect' }),
  ];
  if (draw.is(0.6)) return publish();
  return draw.pick(calm ? others : [...others, ...wild])();
}

export const connectOf = (who: Identity, more: object = {}): Packet => ({
  cmd: 'connect',
  protocolId: 'MQTT',
  protocolVersion: 4,
  clean: true,
  keepalive: 60,
  clientId: `${who.cluster}/${who.daemon}`,
  username: `${who.cluster}/${who.daemon}`,
  password: Buffer.from(who.secret),
  ...more,
});

function strangeConnect(draw: Chance, who: Identity): Packet {
  const text = (): string =>
    draw.pick(['', 'a', '+', '#', '__proto__', 'x'.repeat(3_000), 'é\u0000']);
  return connectOf(who, {
    clean: draw.is(0.5),
    keepalive: draw.pick(edgeNumbers),
    ...(draw.is(0.4) && { clientId: text() }),
    ...(draw.is(0.4) && { username: text() }),
    ...(draw.is(0.4) && { password: Buffer.from(text()) }),
    ...(draw.is(0.3) && { protocolVersion: draw.pick([3, 5, 131]) }),
    ...(draw.is(0.3) && {
      will: {
        topic: topicOf(draw, who) || 'w',
        payload: payloadOf(draw, who).subarray(0, draw.pick([0, 100, 3_000])),
        qos: draw.pick([0, 1, 2] as const),
        retain: draw.is(0.5),
      },
    }),
  });
}

function bytesOf(packet: Packet): Buffer | undefined {
  try {
    return generate(packet);
  } catch {
    // The generator refuses to spell what no sender may say; damage to the bytes gets there.
    return undefined;
  }
}

function damage(draw: Chance, bytes: Buffer, other: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  const at = draw.below(Math.min(copy.length, draw.is(0.5) ? 12 : copy.length) || 1);
  switch (draw.below(7)) {
    case 0:
      copy[at] = (copy[at] ?? 0) ^ (1 << draw.below(8));
      return copy;
    case 1:
      copy[at] = draw.pick(edgeNumbers) & 0xff;
      return copy;
    case 2:
      return copy.subarray(0, at);
    case 3:
      return Buffer.concat([
        copy.subarray(0, at),
        draw.bytes(1 + draw.below(8)),
        copy.subarray(at),
      ]);
    case 4:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + 1 + draw.below(4))]);
    case 5:
      return Buffer.concat([copy.subarray(0, at), other.subarray(draw.below(other.length || 1))]);
    default:
      // The announced length alone, which is what the gate must not believe.
      copy[1] = draw.pick([0, 1, 0x7f, 0x80, 0xff]);
      return copy;
  }
}

export type Batch = {
  /** Sent first; what follows waits for CONNACK, since the gate lets nothing large by before. */
  greeting: Buffer | null;
  bytes: Buffer;
  /** Packets that the parser takes, and the first one that it does not. */
  packets: number;
};

const corpusMax = 2_000;

export function createFuzzer(draw: Chance) {
  const corpus: Buffer[] = [];
  const seen = new Set<string>();

  /** What our copy of the parser says of it: the kinds it found, and why it stopped. */
  function judge(bytes: Buffer): { kinds: string; error: string | null } {
    const parse = parser();
    let [kinds, error] = ['', null as string | null];
    parse.on('packet', ({ cmd }: Packet) => (kinds += `${cmd} `));
    parse.on('error', (problem: Error) => (error ??= problem.message.replaceAll(/\d+/g, 'N')));
    parse.parse(bytes);
    return { kinds, error };
  }
  function learn(bytes: Buffer): string | null {
    const { kinds, error } = judge(bytes);
    const signature = `${kinds}${error ?? ''}`;
    if (!seen.has(signature) && corpus.length < corpusMax) {
      seen.add(signature);
      corpus.push(bytes);
    }
    return error;
  }
  function wild(who: Identity): Buffer {
    const drawn = bytesOf(grammar(draw, who, false)) ?? Buffer.from([0xc0, 0]);
    if (draw.is(0.5)) return drawn;
    const base = corpus.length > 0 && draw.is(0.5) ? draw.pick(corpus) : drawn;
    return damage(draw, base, corpus.length > 0 ? draw.pick(corpus) : drawn);
  }
  /** Ends with the first packet that the parser refuses, since no server reads beyond it. */
  function fill(greeting: Buffer | null, length: number, next: () => Buffer): Batch {
    const all: Buffer[] = [];
    while (all.length < length) {
      const bytes = next();
      all.push(bytes);
      if (learn(bytes) !== null) break;
    }
    return { greeting, bytes: Buffer.concat(all), packets: all.length };
  }
  const greeting = (who: Identity): Buffer => generate(connectOf(who));
  return {
    errorsSeen: () => seen.size,
    preAuth(who: Identity): Batch {
      const drawn = bytesOf(strangeConnect(draw, who)) ?? greeting(who);
      const first = draw.is(0.5) ? drawn : damage(draw, drawn, greeting(who));
      const { bytes, packets } = fill(null, 1 + draw.below(8), () => wild(who));
      return { greeting: null, bytes: Buffer.concat([first, bytes]), packets: packets + 1 };
    },
    postAuth: (who: Identity): Batch => fill(greeting(who), 100, () => wild(who)),
    /** Nothing in it ends a session by itself: the state behind it is what is tried. */
    sequence: (who: Identity): Batch =>
      fill(greeting(who), 150, () => bytesOf(grammar(draw, who, true)) ?? Buffer.from([0xc0, 0])),
  };
}
