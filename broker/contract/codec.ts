/**
 * Bytes <-> messages. `decode` never throws on foreign input: it answers a message or a
 * rejection that names the field and the way out. Sizes are bounded by the broker's gate before
 * these functions see a byte; the check here covers external brokers.
 */
import type { z } from 'zod';
import './wording.ts';
import { packetBytesMax } from './limits.ts';
import { type Bodies, type Envelope, EnvelopeHead, type Message, messages } from './messages.ts';
import { Signed } from './server.ts';
import { type Numbers, quickTelemetry } from './telemetry-quick.ts';
import { isSentByNode, parseTopic, serverTopic, type TopicName, topicOf } from './topics.ts';

export type RejectionCode =
  | 'KR_TOPIC'
  | 'KR_TOO_LARGE'
  | 'KR_NOT_JSON'
  | 'KR_ENVELOPE'
  | 'KR_WRONG_IDENTITY'
  | 'KR_BODY';

export type Rejection = { code: RejectionCode; field: string; hint: string };
/** `numbers`: of a telemetry message, where they could be taken in passing. */
export type Decoded =
  | { ok: true; message: Message; numbers?: Numbers }
  | { ok: false; rejection: Rejection };

const reject = (code: RejectionCode, field: string, hint: string): Decoded => ({
  ok: false,
  rejection: { code, field, hint },
});

/** The first problem of a failed check, as dotted path and sentence. */
export function firstIssue(error: z.ZodError, prefix: string): { field: string; hint: string } {
  const issue = error.issues[0];
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
  const field = [prefix, ...(issue?.path ?? []), ...unknown]
    .filter((part) => part !== '')
    .join('.');
  return { field, hint: issue?.message ?? 'invalid' };
}

const text = new TextDecoder('utf-8', { fatal: true });

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(text.decode(bytes));
  } catch {
    return undefined;
  }
}

/** Decodes any node topic, in either direction; the caller knows which senders it accepts. */
export function decode(topic: string, bytes: Uint8Array): Decoded {
  const parts = parseTopic(topic);
  if (!parts) return reject('KR_TOPIC', 'topic', 'use kr/v1/<cluster>/<node>/<name>');
  if (bytes.byteLength > packetBytesMax) {
    return reject('KR_TOO_LARGE', 'payload', `send at most ${packetBytesMax} bytes`);
  }
  const json = parseJson(bytes);
  if (json === undefined) return reject('KR_NOT_JSON', 'payload', 'send one UTF-8 JSON object');
  const head = EnvelopeHead.safeParse(json);
  if (!head.success) {
    const { field, hint } = firstIssue(head.error, '');
    return reject('KR_ENVELOPE', field === '' ? 'payload' : field, hint);
  }
  if (head.data.cluster !== parts.cluster) {
    return reject('KR_WRONG_IDENTITY', 'cluster', 'must equal the cluster of the topic');
  }
  if (head.data.node !== parts.node) {
    return reject('KR_WRONG_IDENTITY', 'node', 'must equal the node of the topic');
  }
  const quick = parts.name === 'telemetry' ? quickTelemetry(head.data.body) : undefined;
  const body = quick
    ? { success: true as const, data: quick.body }
    : messages[parts.name].body.safeParse(head.data.body);
  if (!body.success) {
    const { field, hint } = firstIssue(body.error, 'body');
    return reject('KR_BODY', field, hint);
  }
  if (parts.name === 'telemetry' && head.data.seq < 1) {
    return reject('KR_ENVELOPE', 'seq', 'telemetry counts from 1');
  }
  return {
    ok: true,
    message: { ...head.data, body: body.data, name: parts.name } as Message,
    ...(quick && { numbers: quick.numbers }),
  };
}

export type Outgoing = { topic: string; payload: string; qos: 0 | 1; retain: boolean };

/** The wire form of a message; what we send is built by typed code, so it is not checked again. */
export function encode<N extends TopicName>(name: N, envelope: Envelope<Bodies[N]>): Outgoing {
  const { v, id, cluster, node, session, seq, sentAtMs, body } = envelope;
  return {
    topic: topicOf(cluster, node, name),
    payload: JSON.stringify({ v, id, cluster, node, session, seq, sentAtMs, body }),
    qos: messages[name].qos,
    retain: false,
  };
}

/** The retained self-description of the server. */
export const encodeServer = (signed: Signed): Outgoing => ({
  topic: serverTopic,
  payload: JSON.stringify(signed),
  qos: 1,
  retain: true,
});

export function decodeServer(bytes: Uint8Array): Signed | undefined {
  const parsed = Signed.safeParse(parseJson(bytes));
  return parsed.success ? parsed.data : undefined;
}

export const isFromNode = (message: Message): boolean => isSentByNode(message.name);
