import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decode,
  decodeServer,
  encode,
  encodeServer,
  type RejectionCode,
} from '../../../broker/contract/codec.ts';
import { packetBytesMax } from '../../../broker/contract/limits.ts';
import type { Envelope } from '../../../broker/contract/messages.ts';
import {
  nodeToServer,
  parseTopic,
  serverToNode,
  serverTopic,
  topicOf,
} from '../../../broker/contract/topics.ts';
import { guestSample, nodeValues, telemetryBody, uuidOf } from '../../support/messages.ts';

const topic = 'kr/v1/home/pve1/telemetry';
const bytes = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
const envelope = (over: object = {}) => ({
  v: 1,
  id: uuidOf(1),
  cluster: 'home',
  node: 'pve1',
  session: uuidOf(2),
  seq: 1,
  sentAtMs: 1_800_000_000_000,
  body: telemetryBody() as unknown,
  ...over,
});
const claim = {
  commandId: uuidOf(3),
  nonce: '0'.repeat(32),
  journalId: uuidOf(4),
  incarnation: 1,
  bootId: null,
  maxEpoch: 0,
};
const of = (name: string): string => `kr/v1/home/pve1/${name}`;

type Wrong = {
  what: string;
  topic?: string;
  payload: Uint8Array;
  code: RejectionCode;
  field: string;
  hint: RegExp;
};

const telemetry = (what: string, body: object, field: string, hint: RegExp): Wrong => ({
  what,
  payload: bytes(envelope({ body: { ...telemetryBody(), ...body } })),
  code: 'KR_BODY',
  field,
  hint,
});
const head = (what: string, over: object, field: string, hint: RegExp): Wrong => ({
  what,
  payload: bytes(envelope(over)),
  code: 'KR_ENVELOPE',
  field,
  hint,
});
const on = (name: string, what: string, body: unknown, [field, hint]: [string, RegExp]): Wrong => ({
  what,
  topic: of(name),
  payload: bytes(envelope({ seq: 0, body })),
  code: 'KR_BODY',
  field,
  hint,
});

const wrong: Wrong[] = [
  {
    what: 'a topic of another product',
    topic: 'zigbee2mqtt/lamp',
    payload: bytes(envelope()),
    code: 'KR_TOPIC',
    field: 'topic',
    hint: /kr\/v1\/<cluster>\/<node>\/<name>/,
  },
  {
    what: 'a reserved cluster in the topic',
    topic: 'kr/v1/server/pve1/telemetry',
    payload: bytes(envelope()),
    code: 'KR_TOPIC',
    field: 'topic',
    hint: /use kr\/v1/,
  },
  {
    what: 'more bytes than a packet may have',
    payload: Buffer.alloc(packetBytesMax + 1, 0x20),
    code: 'KR_TOO_LARGE',
    field: 'payload',
    hint: /at most 262144 bytes/,
  },
  {
    what: 'half a JSON text',
    payload: Buffer.from('{"v":1,'),
    code: 'KR_NOT_JSON',
    field: 'payload',
    hint: /one UTF-8 JSON object/,
  },
  {
    what: 'bytes that are not UTF-8',
    payload: Buffer.from([0x22, 0xff, 0xfe, 0x22]),
    code: 'KR_NOT_JSON',
    field: 'payload',
    hint: /UTF-8/,
  },
  {
    what: 'a list instead of an object',
    payload: bytes([envelope()]),
    code: 'KR_ENVELOPE',
    field: 'payload',
    hint: /is a list: write names with values/,
  },
  head('another version of the wire', { v: 2 }, 'v', /write 1/),
  head('an id that is no UUID', { id: 'mine' }, 'id', /lower-case UUID/),
  head('an upper-case node', { node: 'PVE1' }, 'node', /lower-case letters, digits or hyphens/),
  head('a key the envelope does not have', { priority: 9 }, 'priority', /is not a known key/),
  head('telemetry that is not counted', { seq: 0 }, 'seq', /counts from 1/),
  head('a time with a fraction', { sentAtMs: 1.5 }, 'sentAtMs', /is 1\.5: write a whole number/),
  {
    what: 'a sample of another node',
    payload: bytes(envelope({ node: 'pve2' })),
    code: 'KR_WRONG_IDENTITY',
    field: 'node',
    hint: /node of the topic/,
  },
  {
    what: 'a sample of another cluster',
    payload: bytes(envelope({ cluster: 'work' })),
    code: 'KR_WRONG_IDENTITY',
    field: 'cluster',
    hint: /cluster of the topic/,
  },
  telemetry(
    'percent where a ratio belongs',
    { node: nodeValues({ cpuRatio: 45 }) },
    'body.node.cpuRatio',
    /use at most 1$/,
  ),
  telemetry(
    'a negative size of a guest',
    { guests: [guestSample('100', { memoryUsedBytes: -1 })] },
    'body.guests.0.memoryUsedBytes',
    /use at least 0/,
  ),
  telemetry(
    'a guest id that looks like a path',
    { guests: [guestSample('../100')] },
    'body.guests.0.id',
    /1 to 128 letters/,
  ),
  telemetry(
    'more guests than a node may have',
    { guests: Array.from({ length: 501 }, (_, id) => ({ id: `${id}` })) },
    'body.guests',
    /use at most 500 entries/,
  ),
  on('claim', 'a claim with a nonce too short', { ...claim, nonce: 'abc' }, [
    'body.nonce',
    /32 lower-case hex/,
  ]),
  on('claim', 'a claim with an unknown key', { ...claim, force: true }, [
    'body.force',
    /is not a known key/,
  ]),
  on('report', 'a report of a step that does not exist', { step: 'done' }, [
    'body.step',
    /write one of /,
  ]),
  on('hello', 'a hello without facts', { incarnation: 1 }, ['body.bootId', /./]),
  on('presence', 'a presence for an unknown reason', { online: true, reason: 'mood' }, [
    'body.reason',
    /birth/,
  ]),
];

describe('decode refuses with code, field and way out', () => {
  it.each(wrong)('$what', ({ topic: where = topic, payload, code, field, hint }) => {
    const decoded = decode(where, payload);
    expect(decoded).toMatchObject({ ok: false, rejection: { code, field } });
    expect(decoded.ok ? '' : decoded.rejection.hint).toMatch(hint);
  });

  it('covers at least the twenty kinds promised', () => {
    expect(wrong.length).toBeGreaterThanOrEqual(20);
  });
});

describe('decode', () => {
  it('never throws, whatever the topic and the bytes', () => {
    const topics = fc.oneof(fc.string(), fc.constantFrom(...nodeToServer.map(of)));
    fc.assert(
      fc.property(topics, fc.uint8Array({ maxLength: 300 }), (where, payload) => {
        expect(typeof decode(where, payload).ok).toBe('boolean');
      }),
    );
  });

  it('never throws on any JSON in any field of the envelope and its body', () => {
    const names = fc.constantFrom(...nodeToServer, ...serverToNode);
    const fields = fc.constantFrom('v', 'id', 'cluster', 'session', 'seq', 'body', '__proto__');
    fc.assert(
      fc.property(names, fields, fc.jsonValue(), (name, field, value) => {
        const changed = { ...envelope(), [field]: value };
        expect(typeof decode(of(name), bytes(changed)).ok).toBe('boolean');
      }),
    );
  });

  it('strips what it does not know from telemetry, and fills what is missing with null', () => {
    const sample = { ...guestSample('100'), color: 'red' } as Record<string, unknown>;
    delete sample['cpuRatio'];
    const decoded = decode(
      topic,
      bytes(envelope({ body: { ...telemetryBody(), guests: [sample], weather: 'rain' } })),
    );
    if (!decoded.ok || decoded.message.name !== 'telemetry') throw new Error('refused');
    const [guest] = decoded.message.body.guests ?? [];
    expect(guest).toMatchObject({ id: '100', cpuRatio: null });
    expect(guest).not.toHaveProperty('color');
    expect(decoded.message.body).not.toHaveProperty('weather');
  });

  it('leaves the prototype of every object alone', () => {
    const text = JSON.stringify(envelope()).replace('"body":{', '"body":{"__proto__":{"bad":1},');
    const decoded = decode(topic, Buffer.from(text));
    expect(decoded.ok).toBe(true);
    expect(({} as { bad?: number }).bad).toBeUndefined();
    expect(decoded.ok && 'bad' in decoded.message.body).toBe(false);
  });

  it('gives back what encode was given', () => {
    const ids = fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,20}$/);
    const value = fc.option(fc.double({ min: 0, max: 1, noNaN: true }).map((v) => v + 0));
    fc.assert(
      fc.property(ids, fc.nat(), value, fc.nat(500), (node, seq, cpuRatio, count) => {
        const guests = Array.from({ length: count % 7 }, (_, index) => guestSample(`g${index}`));
        const body = telemetryBody({ node: nodeValues({ cpuRatio }), guests });
        const sent = envelope({ node, seq: seq + 1, body }) as Envelope<typeof body>;
        const { topic: where, payload, qos, retain } = encode('telemetry', sent);
        expect([where, qos, retain]).toEqual([`kr/v1/home/${node}/telemetry`, 0, false]);
        const decoded = decode(where, Buffer.from(payload));
        expect(decoded).toMatchObject({ ok: true });
        expect(decoded.ok && decoded.message).toEqual({ ...sent, name: 'telemetry' });
      }),
    );
  });

  it('carries the self-description of the server as signed bytes, retained', () => {
    const signed = { signed: '{}', keyId: '0'.repeat(16), signature: `${'A'.repeat(86)}==` };
    const sent = encodeServer(signed);
    expect(sent).toMatchObject({ topic: serverTopic, retain: true, qos: 1 });
    expect(decodeServer(Buffer.from(sent.payload))).toEqual(signed);
    expect(decodeServer(Buffer.from('{}'))).toBeUndefined();
    expect(decodeServer(Buffer.from([0xff]))).toBeUndefined();
  });
});

describe('topics', () => {
  it('are taken apart as they were put together', () => {
    for (const name of [...nodeToServer, ...serverToNode]) {
      const made = topicOf('home', 'pve1', name);
      expect(parseTopic(made)).toEqual({ cluster: 'home', node: 'pve1', name });
    }
  });

  it.each([
    serverTopic,
    'kr/v1/home/pve1',
    'kr/v1/home/pve1/telemetry/',
    'kr/v1/home/pve1/telemetry/more',
    '/kr/v1/home/pve1/telemetry',
    'kr/v2/home/pve1/telemetry',
    'kr/v1/daemons/pve1/telemetry',
    'kr/v1/home/+/telemetry',
    'kr/v1/home/-pve1/telemetry',
    'kr/v1/home/pve1/constructor',
    'kr/v1/__proto__/pve1/telemetry',
  ])('refuses %s', (text) => {
    expect(parseTopic(text)).toBeUndefined();
  });
});
