/**
 * Who may say and hear what: one pure, synchronous judgement over exact topics, asked on publish,
 * on subscribe and again before every delivery. Whatever is not named here is denied, so that
 * wildcards, $SYS and $share need no rule of their own.
 */
import { isClusterId } from './contract/ids.ts';
import { isSentByNode, nodeToServer, parseTopic, serverTopic } from './contract/topics.ts';
import type { Ownership } from './port.ts';

/** The backend, when it reaches a stand-alone broker over the wire, is a client as well. */
export type Party = Ownership | 'server';
export type Deed = 'publish' | 'subscribe' | 'receive';

/** The only filters with wildcards anyone is granted, and only the server is. */
export const serverFilters: readonly string[] = nodeToServer.map((name) => `kr/v1/+/+/${name}`);

/** The user of an ingest worker: a client of its own, with the server's password. */
export const ingestUser = (server: string, index: number): string => `${server}-ingest-${index}`;

export const isServerUser = (username: string, server: string): boolean =>
  username === server ||
  (username.startsWith(`${server}-ingest-`) && /-ingest-[1-9]\d?$/.test(username));

/** What an ingest worker listens to of one cluster. */
export const telemetryFilter = (cluster: string): string => `kr/v1/${cluster}/+/telemetry`;

function mayServer(deed: Deed, topic: string): boolean {
  if (deed === 'subscribe') {
    const cluster = topic.split('/')[2] ?? '';
    return (
      serverFilters.includes(topic) || (isClusterId(cluster) && topic === telemetryFilter(cluster))
    );
  }
  if (topic === serverTopic) return deed === 'publish';
  const parts = parseTopic(topic);
  return parts !== undefined && isSentByNode(parts.name) === (deed === 'receive');
}

export function may(party: Party, deed: Deed, topic: string): boolean {
  if (party === 'server') return mayServer(deed, topic);
  if (topic === serverTopic) return deed !== 'publish';
  const parts = parseTopic(topic);
  if (!parts || parts.cluster !== party.cluster || !party.nodes.has(parts.node)) return false;
  // Enrolling is for the one-time token alone, and nothing else is for it.
  const isEnrolment = parts.name === 'enrol' || parts.name === 'enrolled';
  if (isEnrolment !== party.enrolling) return false;
  return isSentByNode(parts.name) === (deed === 'publish');
}
