/**
 * THE protocol page: message -> sender, QoS, body. The topic is `kr/v1/<cluster>/<node>/<name>`
 * except for `server`, which is retained at `kr/v1/server`. docs/asyncapi.yaml derives from here.
 *
 *   telemetry  node   -> server   a sample; answered by receipt once durable
 *   presence   node   -> server   birth, alive, will, goodbye, shutdown
 *   hello      node   -> server   who I am, what I know of open commands; answered by sync
 *   claim      node   -> server   may I do it now? answered by grant, verdict or silence
 *   report     node   -> server   accepted, started, ...; repeated until verdict names (id, n)
 *   enrol      node   -> server   first contact with a one-time token; answered by enrolled
 *   sync offer grant probe verdict receipt enrolled   server -> node
 *
 * QoS 0 where the protocol itself repeats or repairs (telemetry, receipt), QoS 1 elsewhere; a
 * PUBACK is never a receipt [aedes acks before routing].
 */
import { z } from 'zod';
import { Claim, Offer, Probe } from './command.ts';
import { ClusterId, NodeId, Uuid } from './ids.ts';
import { Hello, Presence } from './presence.ts';
import { Report, Verdict } from './report.ts';
import { Enrol, Enrolled, Receipt, Signed } from './server.ts';
import { Telemetry } from './telemetry.ts';
import type { TopicName } from './topics.ts';

type Entry = {
  readonly sender: 'node' | 'server';
  readonly qos: 0 | 1;
  readonly body: z.ZodType;
  readonly summary: string;
};

export const messages = {
  telemetry: { sender: 'node', qos: 0, body: Telemetry, summary: 'One sample of a node' },
  presence: { sender: 'node', qos: 1, body: Presence, summary: 'Birth, alive, will, goodbye' },
  hello: { sender: 'node', qos: 1, body: Hello, summary: 'Identity, facts, open commands' },
  claim: { sender: 'node', qos: 1, body: Claim, summary: 'Asks to execute an offered command' },
  report: { sender: 'node', qos: 1, body: Report, summary: 'Progress of a command' },
  enrol: { sender: 'node', qos: 1, body: Enrol, summary: 'First contact with a one-time token' },
  sync: { sender: 'server', qos: 1, body: Signed, summary: 'Signed answer to hello' },
  offer: { sender: 'server', qos: 1, body: Offer, summary: 'A command waits to be claimed' },
  grant: { sender: 'server', qos: 1, body: Signed, summary: 'Signed permission to execute once' },
  probe: { sender: 'server', qos: 1, body: Probe, summary: 'Asks what is true now' },
  verdict: { sender: 'server', qos: 1, body: Verdict, summary: 'Settles one report' },
  receipt: { sender: 'server', qos: 0, body: Receipt, summary: 'Samples up to here are durable' },
  enrolled: { sender: 'server', qos: 1, body: Enrolled, summary: 'Final credential and keys' },
} as const satisfies Record<TopicName, Entry>;

/** name -> body type as the receiver sees it after the check. */
export type Bodies = {
  [N in TopicName]: N extends 'telemetry' ? Telemetry : z.infer<(typeof messages)[N]['body']>;
};

export type Envelope<B> = {
  v: 1;
  id: string;
  cluster: string;
  node: string;
  /** One MQTT connection. Server messages repeat the session they speak to, if they know it. */
  session: string;
  /** telemetry: counts per (node, incarnation) from 1; otherwise 0. */
  seq: number;
  sentAtMs: number;
  body: B;
};

export type Message<N extends TopicName = TopicName> = {
  [K in N]: Envelope<Bodies[K]> & { name: K };
}[N];

export const EnvelopeHead = z.strictObject({
  v: z.literal(1),
  id: Uuid,
  cluster: ClusterId,
  node: NodeId,
  session: Uuid,
  seq: z.int().min(0),
  sentAtMs: z.int().min(0),
  body: z.unknown(),
});
