/**
 * `kr/v1/<cluster>/<node>/<name>`: exact topics, no wildcard for anyone outside. The one topic
 * without a node is the server's retained self-description.
 */
import { isClusterId, isNodeId } from './ids.ts';

export const serverTopic = 'kr/v1/server';

/** Published by daemons. */
export const nodeToServer = ['telemetry', 'presence', 'hello', 'claim', 'report', 'enrol'] as const;
/** Published by the server. */
export const serverToNode = [
  'sync',
  'offer',
  'grant',
  'probe',
  'verdict',
  'receipt',
  'enrolled',
] as const;

export type NodeToServer = (typeof nodeToServer)[number];
export type ServerToNode = (typeof serverToNode)[number];
export type TopicName = NodeToServer | ServerToNode;

export type NodeTopic = { cluster: string; node: string; name: TopicName };

const names: ReadonlySet<string> = new Set([...nodeToServer, ...serverToNode]);
const sentByNode: ReadonlySet<string> = new Set(nodeToServer);

export const isSentByNode = (name: TopicName): name is NodeToServer => sentByNode.has(name);

export const topicOf = (cluster: string, node: string, name: TopicName): string =>
  `kr/v1/${cluster}/${node}/${name}`;

/** The parts of a node topic, or undefined for any other topic. */
export function parseTopic(topic: string): NodeTopic | undefined {
  const [prefix, version, cluster = '', node = '', name = '', ...rest] = topic.split('/');
  if (prefix !== 'kr' || version !== 'v1' || rest.length > 0) return undefined;
  if (!names.has(name)) return undefined;
  if (!isClusterId(cluster) || !isNodeId(node)) return undefined;
  return { cluster, node, name: name as TopicName };
}
