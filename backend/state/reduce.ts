/**
 * The fold: one input into the one picture. Changes `fleet` in place and returns nothing to act
 * on. An older sample never overwrites a newer one, and a will counts only for the session it
 * names.
 */
import type { NodeFacts } from '../../broker/contract/facts.ts';
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import { type GuestSample, silentGuest } from '../../broker/contract/telemetry.ts';
import { sampleIntervalDefaultMs } from '../../broker/contract/limits.ts';
import type { Fleet, GuestRecord, NodeRecord } from './fleet.ts';
import type { NodeAdministration, StateInput } from './inputs.ts';

/** A node of which nothing is known yet. */
export const unseenNode = (cluster: string, node: string): NodeRecord => ({
  cluster,
  node,
  session: null,
  online: false,
  offlineSinceMs: null,
  incarnation: 0,
  seq: 0,
  sampleAtMs: null,
  sampledAtWallMs: null,
  intervalMs: sampleIntervalDefaultMs,
  values: null,
  guests: null,
  versions: null,
  membersOnline: null,
  driver: null,
  bootId: null,
  journalId: null,
  facts: null,
  guestFactsJson: null,
  load: null,
  localHold: false,
  desired: 'awake',
  maintenance: false,
  protected: false,
  activeKind: null,
  hasSaidHello: false,
  votesSinceMs: null,
});

/** A virtual machine that runs and of which nothing was measured. */
export const unmeasuredGuest = (id: string): GuestSample => ({
  ...silentGuest,
  id,
  name: id,
  kind: 'vm',
  state: 'running',
  tags: [],
  lock: null,
  haState: null,
});

function recordOf(fleet: Fleet, cluster: string, node: string): NodeRecord {
  const key = nodeKey(cluster, node);
  const known = fleet.nodes.get(key);
  if (known) return known;
  const record = unseenNode(cluster, node);
  fleet.nodes.set(key, record);
  const members = fleet.nodesByCluster.get(cluster);
  if (members) members.set(node, record);
  else fleet.nodesByCluster.set(cluster, new Map([[node, record]]));
  return record;
}

const guestKey = (cluster: string, guest: string): string => `${cluster}/${guest}`;

/** While a guest moves, both nodes may list it; the one that runs it has it. */
export const outranks = (
  sample: GuestSample,
  node: string,
  known: GuestRecord | undefined,
): boolean =>
  known === undefined ||
  known.node === node ||
  known.state !== 'running' ||
  sample.state === 'running';

/**
 * Written out, because 40,000 of these live here: a literal keeps its fields in the object, a
 * spread or an assignment keeps them beside it at twice the memory.
 */
const guestRecord = (sample: GuestSample, node: NodeRecord): GuestRecord => ({
  id: sample.id,
  cluster: node.cluster,
  node: node.node,
  sampleAtMs: node.sampleAtMs ?? 0,
  kind: sample.kind,
  name: sample.name,
  state: sample.state,
  tags: sample.tags,
  lock: sample.lock,
  haState: sample.haState,
  cpuRatio: sample.cpuRatio,
  cpuCount: sample.cpuCount,
  memoryUsedBytes: sample.memoryUsedBytes,
  memoryTotalBytes: sample.memoryTotalBytes,
  swapUsedBytes: sample.swapUsedBytes,
  diskReadBytesPerSecond: sample.diskReadBytesPerSecond,
  diskWriteBytesPerSecond: sample.diskWriteBytesPerSecond,
  networkInBytesPerSecond: sample.networkInBytesPerSecond,
  networkOutBytesPerSecond: sample.networkOutBytesPerSecond,
  uptimeMs: sample.uptimeMs,
  cpuPressureRatio: sample.cpuPressureRatio,
  ioPressureRatio: sample.ioPressureRatio,
  memoryPressureRatio: sample.memoryPressureRatio,
  memoryFullPressureRatio: sample.memoryFullPressureRatio,
});

export const isSameList = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((text, index) => text === b[index]);

/**
 * A second sample of the same guest, into the object that is there: 20,000 of them come a second.
 * What says the same stays, so that a sample leaves nothing behind that outlives it.
 */
function refresh(record: GuestRecord, sample: GuestSample, sampleAtMs: number): void {
  record.sampleAtMs = sampleAtMs;
  record.kind = sample.kind;
  if (record.name !== sample.name) record.name = sample.name;
  record.state = sample.state;
  if (!isSameList(record.tags, sample.tags)) record.tags = sample.tags;
  record.lock = sample.lock;
  record.haState = sample.haState;
  record.cpuRatio = sample.cpuRatio;
  record.cpuCount = sample.cpuCount;
  record.memoryUsedBytes = sample.memoryUsedBytes;
  record.memoryTotalBytes = sample.memoryTotalBytes;
  record.swapUsedBytes = sample.swapUsedBytes;
  record.diskReadBytesPerSecond = sample.diskReadBytesPerSecond;
  record.diskWriteBytesPerSecond = sample.diskWriteBytesPerSecond;
  record.networkInBytesPerSecond = sample.networkInBytesPerSecond;
  record.networkOutBytesPerSecond = sample.networkOutBytesPerSecond;
  record.uptimeMs = sample.uptimeMs;
  record.cpuPressureRatio = sample.cpuPressureRatio;
  record.ioPressureRatio = sample.ioPressureRatio;
  record.memoryPressureRatio = sample.memoryPressureRatio;
  record.memoryFullPressureRatio = sample.memoryFullPressureRatio;
}

/** True when just these guests are here, in this order: the usual case. */
function refreshGuests(fleet: Fleet, record: NodeRecord, seen: readonly GuestSample[]): boolean {
  const { cluster, guests: known } = record;
  if (known === null || known.length !== seen.length) return false;
  return seen.every((sample, index) => {
    const placed = fleet.guests.get(guestKey(cluster, sample.id));
    if (placed === undefined || placed !== known[index]) return false;
    refresh(placed, sample, record.sampleAtMs ?? 0);
    return true;
  });
}

function placeGuests(fleet: Fleet, record: NodeRecord, guests: readonly GuestRecord[]): void {
  const present = new Set<string>();
  for (const guest of guests) {
    present.add(guest.id);
    const key = guestKey(record.cluster, guest.id);
    if (outranks(guest, record.node, fleet.guests.get(key))) fleet.guests.set(key, guest);
  }
  for (const gone of record.guests ?? []) {
    const key = guestKey(record.cluster, gone.id);
    if (!present.has(gone.id) && fleet.guests.get(key)?.node === record.node) {
      fleet.guests.delete(key);
    }
  }
}

const sameMembers = (a: readonly string[] | null, b: readonly string[] | null): boolean =>
  a === b || (a !== null && b !== null && a.length === b.length && a.every((id) => b.includes(id)));

/** What of a description says who votes; when a device was seen is no change of it. */
function votesOf(facts: NodeFacts | null): string {
  if (!facts?.quorum) return '';
  const { quorate, expectedVotes, quorumVotes, members, qdevice } = facts.quorum;
  const seen = members.map(({ node, votes, online }) => `${node} ${votes} ${online}`).sort();
  const device = qdevice && [qdevice.votes, qdevice.alive, qdevice.voting];
  return JSON.stringify([quorate, expectedVotes, quorumVotes, seen, device]);
}

function reduceTelemetry(fleet: Fleet, input: StateInput & { kind: 'telemetry' }): void {
  const { cluster, node, session, seq, sentAtMs, body } = input.message;
  const record = recordOf(fleet, cluster, node);
  const isOlder =
    body.incarnation < record.incarnation ||
    (body.incarnation === record.incarnation && seq <= record.seq);
  if (isOlder) {
    fleet.supersededSamples += 1;
    return;
  }
  record.session = session;
  record.online = true;
  record.offlineSinceMs = null;
  record.incarnation = body.incarnation;
  record.seq = seq;
  // Both stamps are of one clock, the daemon's, so their difference is a true age.
  record.sampleAtMs = input.atMs - Math.max(0, sentAtMs - body.sampledAtMs);
  record.sampledAtWallMs = body.sampledAtMs;
  record.intervalMs = body.intervalMs;
  record.values = body.node;
  record.powerSource = body.powerSource ?? null;
  record.versions = body.versions;
  if (!sameMembers(record.membersOnline, body.membersOnline)) record.votesSinceMs = input.atMs;
  record.membersOnline = body.membersOnline;
  if (body.guests !== null && refreshGuests(fleet, record, body.guests)) return;
  const guests = body.guests?.map((guest) => guestRecord(guest, record)) ?? null;
  if (guests !== null) placeGuests(fleet, record, guests);
  record.guests = guests;
}

function endSession(record: NodeRecord, atMs: number): void {
  record.online = false;
  record.offlineSinceMs ??= atMs;
}

function reducePresence(fleet: Fleet, input: StateInput & { kind: 'presence' }): void {
  const { cluster, node, session, body } = input.message;
  const record = recordOf(fleet, cluster, node);
  if (body.online) {
    record.session = session;
    record.online = true;
    record.offlineSinceMs = null;
    if (body.load) record.load = body.load;
    return;
  }
  if (record.session === session) endSession(record, input.atMs);
}

function reduceHello(fleet: Fleet, input: StateInput & { kind: 'hello' }): void {
  const { cluster, node, session, body } = input.message;
  const record = recordOf(fleet, cluster, node);
  record.session = session;
  record.online = true;
  record.offlineSinceMs = null;
  if (body.incarnation > record.incarnation) {
    record.incarnation = body.incarnation;
    record.seq = 0;
    // A new process has watched nothing yet: its own guard would refuse what we let through.
    if (body.facts?.quorum) record.votesSinceMs = input.atMs;
  }
  record.driver = body.driver;
  record.bootId = body.bootId;
  record.journalId = body.journalId;
  if (votesOf(record.facts) !== votesOf(body.facts)) record.votesSinceMs = input.atMs;
  record.facts = body.facts;
  record.guestFactsJson = body.guests && JSON.stringify(body.guests);
  record.localHold = body.localHold;
}

function administer(record: NodeRecord, known: NodeAdministration): void {
  record.desired = known.desired;
  record.maintenance = known.maintenance;
  record.protected = known.protected;
  record.evacuation = known.evacuation ?? null;
  record.activeKind = known.activeKind;
  record.hasSaidHello = known.hasSaidHello ?? false;
}

function reduceAdministration(fleet: Fleet, input: StateInput & { kind: 'administration' }): void {
  fleet.clusters = new Map(input.clusters.map((cluster) => [cluster.id, cluster]));
  const known = new Set<NodeKey>();
  for (const node of input.nodes) {
    known.add(nodeKey(node.cluster, node.node));
    administer(recordOf(fleet, node.cluster, node.node), node);
  }
  for (const [key, record] of fleet.nodes) {
    if (known.has(key)) continue;
    placeGuests(fleet, record, []);
    fleet.nodes.delete(key);
    fleet.nodesByCluster.get(record.cluster)?.delete(record.node);
  }
}

/** Folds one input into the picture, in place. */
export function reduce(fleet: Fleet, input: StateInput): void {
  switch (input.kind) {
    case 'telemetry':
      return reduceTelemetry(fleet, input);
    case 'presence':
      return reducePresence(fleet, input);
    case 'hello':
      return reduceHello(fleet, input);
    case 'administration':
      return reduceAdministration(fleet, input);
  }
}
