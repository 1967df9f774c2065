/** Messages and records for tests, valid by default and changed where a test cares. */
import type { Bodies, Envelope, Message } from '../../broker/contract/messages.ts';
import { guestMetrics, nodeMetrics } from '../../broker/contract/metrics.ts';
import type {
  GuestSample,
  GuestValues,
  NodeValues,
  Telemetry,
} from '../../broker/contract/telemetry.ts';
import type { TopicName } from '../../broker/contract/topics.ts';
import { NodeFacts } from '../../broker/contract/facts.ts';
import type { Hello } from '../../broker/contract/presence.ts';

export const uuidOf = (n: number): string =>
  `00000000-0000-7000-8000-${n.toString(16).padStart(12, '0')}`;

export const nodeValues = (values: Partial<NodeValues> = {}): NodeValues => ({
  ...(Object.fromEntries(nodeMetrics.map(({ name }) => [name, null])) as NodeValues),
  cpuRatio: 0.2,
  cpuCount: 8,
  memoryUsedBytes: 8 * 2 ** 30,
  memoryTotalBytes: 32 * 2 ** 30,
  ...values,
});

export const guestSample = (id: string, values: Partial<GuestSample> = {}): GuestSample => ({
  ...(Object.fromEntries(guestMetrics.map(({ name }) => [name, null])) as GuestValues),
  id,
  kind: 'vm',
  name: `guest-${id}`,
  state: 'running',
  tags: [],
  lock: null,
  haState: null,
  cpuRatio: 0.5,
  cpuCount: 2,
  memoryUsedBytes: 2 ** 30,
  memoryTotalBytes: 2 * 2 ** 30,
  ...values,
});

export const telemetryBody = (body: Partial<Telemetry> = {}): Telemetry => ({
  incarnation: 1,
  sampledAtMs: 1_800_000_000_000,
  intervalMs: 5_000,
  node: nodeValues(),
  guests: [],
  versions: { daemon: '0.1.0', hypervisor: null, kernel: null },
  membersOnline: null,
  ...body,
});

export const helloBody = (body: Partial<Hello> = {}): Hello => ({
  incarnation: 1,
  bootId: uuidOf(0xb001),
  journalId: uuidOf(0x10a1),
  maxEpoch: 0,
  driver: { name: 'memory', version: null, simulated: true, capabilities: [] },
  facts: NodeFacts.parse({}),
  guests: null,
  openCommands: [],
  wakeTableVersion: null,
  localHold: false,
  ...body,
});

export function message<N extends TopicName>(
  name: N,
  body: Bodies[N],
  head: Partial<Envelope<unknown>> = {},
): Message<N> {
  return {
    v: 1,
    id: uuidOf(1),
    cluster: 'home',
    node: 'n1',
    session: uuidOf(0x5e55),
    seq: name === 'telemetry' ? 1 : 0,
    sentAtMs: 1_800_000_000_000,
    ...head,
    name,
    body,
  } as unknown as Message<N>;
}
