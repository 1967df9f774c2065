/**
 * What Home Assistant is told of nodes and guests: one retained discovery message a device (MQTT
 * device discovery, Home Assistant 2024.11 and newer), topics and states. Pure. A value that is not
 * known is null, which Home Assistant shows as unknown, never 0.
 */
import { type GuestRecord, type NodeRecord, nodeStates } from '../state/fleet.ts';
import { isHeard, nodeState } from '../state/node-state.ts';

/** All our topics begin with this; Home Assistant's with its own prefix. */
export const baseTopic = 'kernreaktor';
export const bridgeTopic = `${baseTopic}/bridge/availability`;
export const wakeFilter = `${baseTopic}/+/+/wake`;
export const pressed = 'PRESS';

const plain = (text: string): string => text.replaceAll(/[^A-Za-z0-9_-]/g, '_');
const nodeId = (cluster: string, node: string): string => `kernreaktor_${cluster}_${node}`;
const guestId = (cluster: string, guest: string): string =>
  `kernreaktor_${cluster}_guest_${plain(guest)}`;

export type Device = {
  /** Of the discovery message, below the prefix. */
  configPath: string;
  config: object;
  stateTopic: string;
  state: object;
  availabilityTopic: string;
  isAvailable: boolean;
};

type Origin = { version: string; url: string | null };

const origin = ({ version, url }: Origin) => ({
  name: 'Kernreaktor',
  sw: version,
  ...(url !== null && { url }),
});

type Measure = { name: string; key: string; unit?: string; deviceClass?: string };

/** `isAlways`: also while the node is off, when its measures say nothing. */
const sensor = (
  { name, key, unit, deviceClass }: Measure,
  { id, stateTopic, availability }: { id: string; stateTopic: string; availability: string[] },
) => ({
  p: 'sensor',
  name,
  unique_id: `${id}_${key}`,
  state_topic: stateTopic,
  value_template: `{{ value_json.${key} }}`,
  ...(unit !== undefined && { unit_of_measurement: unit, state_class: 'measurement' }),
  ...(deviceClass !== undefined && { device_class: deviceClass }),
  availability: availability.map((topic) => ({ topic })),
  availability_mode: 'all',
});

const nodeMeasures: readonly Measure[] = [
  { name: 'CPU', key: 'cpu', unit: '%' },
  { name: 'Memory', key: 'memory', unit: '%' },
  { name: 'Power', key: 'power', unit: 'W', deviceClass: 'power' },
  { name: 'Temperature', key: 'temperature', unit: '°C', deviceClass: 'temperature' },
  { name: 'Guests', key: 'guests', unit: 'guests' },
];
const guestMeasures: readonly Measure[] = [
  { name: 'CPU', key: 'cpu', unit: '%' },
  { name: 'Memory', key: 'memory', unit: '%' },
  { name: 'Node', key: 'node' },
];

const percent = (ratio: number | null | undefined): number | null =>
  ratio === null || ratio === undefined ? null : Math.round(ratio * 1_000) / 10;
const share = (used: number | null | undefined, total: number | null | undefined): number | null =>
  used === null || used === undefined || !total ? null : percent(used / total);

export const wakeTopic = (cluster: string, node: string): string =>
  `${baseTopic}/${cluster}/${node}/wake`;

/** The cluster and node of a wake button's topic; null when it is none. */
export function wakeTarget(topic: string): { cluster: string; node: string } | null {
  const [first, cluster = '', node = '', last, ...more] = topic.split('/');
  const isOurs = first === baseTopic && last === 'wake' && more.length === 0;
  return isOurs && cluster !== '' && node !== '' ? { cluster, node } : null;
}

function nodeComponents(id: string, topic: string, cluster: string, node: string) {
  const whileHeard = {
    id,
    stateTopic: `${topic}/state`,
    availability: [bridgeTopic, `${topic}/availability`],
  };
  const always = { ...whileHeard, availability: [bridgeTopic] };
  const enumeration = { device_class: 'enum', options: nodeStates };
  return {
    state: { ...sensor({ name: 'State', key: 'state' }, always), ...enumeration },
    ...Object.fromEntries(
      nodeMeasures.map((measure) => [measure.key, sensor(measure, whileHeard)]),
    ),
    // Pressed when the node is off: only this server must be there.
    wake: {
      p: 'button',
      name: 'Wake',
      unique_id: `${id}_wake`,
      command_topic: wakeTopic(cluster, node),
      payload_press: pressed,
      retain: false,
      availability: [{ topic: bridgeTopic }],
    },
    answer: sensor({ name: 'Last wake', key: 'answer' }, always),
  };
}

export function nodeDevice(
  record: NodeRecord,
  { nowMs, answer, from }: { nowMs: number; answer: string | null; from: Origin },
): Device {
  const { cluster, node, values } = record;
  const id = nodeId(cluster, node);
  const topic = `${baseTopic}/${cluster}/${node}`;
  const device = { ids: [id], name: node, mf: 'Kernreaktor', mdl: `node of ${cluster}` };
  return {
    configPath: `device/${id}/config`,
    config: {
      dev: device,
      o: origin(from),
      cmps: nodeComponents(id, topic, cluster, node),
      qos: 1,
    },
    stateTopic: `${topic}/state`,
    state: {
      state: nodeState(record, nowMs),
      cpu: percent(values?.cpuRatio),
      memory: share(values?.memoryUsedBytes, values?.memoryTotalBytes),
      power: values?.powerWatts ?? null,
      temperature: values?.temperatureCelsius ?? null,
      guests: record.guests?.filter((guest) => guest.state === 'running').length ?? null,
      answer,
    },
    availabilityTopic: `${topic}/availability`,
    isAvailable: isHeard(record, nowMs),
  };
}

export function guestDevice(
  record: GuestRecord,
  { isAvailable, from }: { isAvailable: boolean; from: Origin },
): Device {
  const { cluster, id: guest, name, kind, node } = record;
  const id = guestId(cluster, guest);
  const topic = `${baseTopic}/${cluster}/guests/${plain(guest)}`;
  const about = {
    id,
    stateTopic: `${topic}/state`,
    availability: [bridgeTopic, `${topic}/availability`],
  };
  const device = {
    ids: [id],
    name: name || guest,
    mf: 'Kernreaktor',
    mdl: `${kind} of ${cluster}`,
    via_device: nodeId(cluster, node),
  };
  const measures = [{ name: 'State', key: 'state' }, ...guestMeasures];
  const cmps = Object.fromEntries(measures.map((one) => [one.key, sensor(one, about)]));
  return {
    configPath: `device/${id}/config`,
    config: { dev: device, o: origin(from), cmps, qos: 1 },
    stateTopic: `${topic}/state`,
    state: {
      state: record.state,
      node,
      cpu: percent(record.cpuRatio),
      memory: share(record.memoryUsedBytes, record.memoryTotalBytes),
    },
    availabilityTopic: `${topic}/availability`,
    isAvailable,
  };
}
