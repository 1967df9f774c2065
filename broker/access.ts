/**
 * Who may say and hear what: one pure, synchronous judgement over exact topics, asked on publish,
 * on subscribe and again before every delivery. Whatever is not named here is denied, so that
 * wildcards, $SYS and $share need no rule of their own.
 */
import { isSentByNode, nodeToServer, parseTopic, serverTopic } from './contract/topics.ts';
import type { Ownership } from './port.ts';

/** The backend, when it reaches a stand-alone broker over the wire, is a client as well. */
export type Party = Ownership | 'server';
export type Deed = 'publish' | 'subscribe' | 'receive';

/** The only filters with wildcards anyone is granted, and only the server is. */
export const serverFilters: readonly string[] = nodeToServer.map((name) => `kr/v1/+/+/${name}`);

function mayServer(deed: Deed, topic: string): boolean {
  if (deed === 'subscribe') return serverFilters.includes(topic);
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
