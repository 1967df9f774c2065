/**
 * Which nodes can be spoken to now, and in which session: fed by every message of the command
 * protocol at once, while the fleet picture follows a tick later and fills what was never heard
 * here (after a restart behind an external broker). In memory only; losing it costs time.
 */
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import type { Message } from '../../broker/contract/messages.ts';
import type { Clock } from '../../broker/contract/ports.ts';
import type { Fleet } from '../state/fleet.ts';

export type Contact = {
  /** null: known to be gone, or never heard. */
  session: string | null;
  online: boolean;
  /** When its session ended, monotonic ms. */
  offlineSinceMs: number | null;
  /** It said goodbye because it is about to switch its host off. */
  isShuttingDown: boolean;
};

export type Reach = {
  heard(message: Message<'claim' | 'report' | 'hello'>): void;
  presence(message: Message<'presence'>): void;
  contact(cluster: string, node: string): Contact;
  isOnline(cluster: string, node: string): boolean;
  /** How long this server has been able to hear anyone. */
  listeningForMs(): number;
};

const unheard: Contact = {
  session: null,
  online: false,
  offlineSinceMs: null,
  isShuttingDown: false,
};

export function createReach(clock: Clock, fleet: () => Fleet): Reach {
  const contacts = new Map<NodeKey, Contact>();
  const openedMs = clock.monotonicMs();
  const contact = (cluster: string, node: string): Contact => {
    const key = nodeKey(cluster, node);
    const known = contacts.get(key);
    const record = fleet().nodes.get(key);
    // Its birth may be lost and its telemetry come through: a newer session of the picture wins.
    const isRevived = known && !known.online && record?.online && record.session !== known.session;
    if (known && !isRevived) return known;
    if (!record) return unheard;
    const { session, online, offlineSinceMs } = record;
    return { session, online, offlineSinceMs, isShuttingDown: false };
  };
  const setOnline = (key: NodeKey, session: string): void => {
    contacts.set(key, { session, online: true, offlineSinceMs: null, isShuttingDown: false });
  };
  const setOffline = (
    { cluster, node }: { cluster: string; node: string },
    session: string,
    isShuttingDown: boolean,
  ): void => {
    const key = nodeKey(cluster, node);
    const known = contact(cluster, node);
    // The end of a session that was replaced says nothing about the present one.
    if (known.session !== session) return;
    // The will that follows a goodbye adds nothing; the first word keeps its time and reason.
    if (contacts.has(key) && !known.online) return;
    const offlineSinceMs = clock.monotonicMs();
    contacts.set(key, { session, online: false, offlineSinceMs, isShuttingDown });
  };
  return {
    contact,
    isOnline: (cluster, node) => contact(cluster, node).online,
    listeningForMs: () => clock.monotonicMs() - openedMs,
    heard({ name, cluster, node, session }) {
      const key = nodeKey(cluster, node);
      // Only a hello opens a session: a delayed report of an ended one must not revive it.
      if (name === 'hello' || !contacts.has(key)) setOnline(key, session);
    },
    presence({ cluster, node, session, body }) {
      const key = nodeKey(cluster, node);
      if (body.online) {
        if (body.reason === 'birth' || !contacts.has(key)) setOnline(key, session);
        return;
      }
      setOffline({ cluster, node }, session, body.reason === 'shutdown');
    },
  };
}
