/**
 * Whether a decoded message may come from the client that sent it. Pure but for the set of
 * sessions it remembers: after a hello whose driver does not belong into its cluster, nothing
 * else of that session is taken, so that no simulated value ever looks like a real node's.
 */
import { isFromNode } from '../../broker/contract/codec.ts';
import { type NodeKey, nodeKey } from '../../broker/contract/ids.ts';
import type { Message } from '../../broker/contract/messages.ts';
import type { Ownership } from '../../broker/port.ts';
import type { IngestRejectionCode } from './counters.ts';

export type IngestRejection = { code: IngestRejectionCode; field: string; hint: string };

/** Per node the one session that is refused. */
export type RefusedSessions = Map<NodeKey, string>;

const wrongIdentity = (field: string, hint: string): IngestRejection => ({
  code: 'KR_WRONG_IDENTITY',
  field,
  hint,
});

function judgeOwner(message: Message, owner: Ownership): IngestRejection | undefined {
  if (message.cluster !== owner.cluster || !owner.nodes.has(message.node)) {
    return wrongIdentity('node', 'this daemon may not speak for it; add it to its enrolment');
  }
  // A token may renew the credential of a daemon that has one. The broker, which knows by what a
  // session was opened, lets no other session enrol; whether a token is open, redeeming finds out.
  if (owner.enrolling && message.name !== 'enrol') {
    return wrongIdentity('client', 'may only enrol with this token');
  }
  if (message.name === 'hello' && message.body.driver.simulated !== owner.simulated) {
    const [driver, cluster] = owner.simulated ? ['real', 'simulated'] : ['simulated', 'real'];
    const hint = `a ${driver} driver may not join a ${cluster} cluster; enrol it in another one`;
    return { code: 'KR_SIMULATED', field: 'body.driver.simulated', hint };
  }
  return undefined;
}

/** `owner` is null behind an external broker, whose ACL has judged the topic. */
export function judge(
  message: Message,
  owner: Ownership | null | undefined,
  refused: RefusedSessions,
): IngestRejection | undefined {
  if (!isFromNode(message)) {
    return { code: 'KR_TOPIC', field: 'topic', hint: 'only the server publishes there' };
  }
  if (owner === undefined) return wrongIdentity('client', 'is not known any more; enrol it again');
  const key = nodeKey(message.cluster, message.node);
  const rejection = owner === null ? undefined : judgeOwner(message, owner);
  if (rejection?.code === 'KR_SIMULATED') refused.set(key, message.session);
  if (rejection) return rejection;
  if (message.name === 'hello') refused.delete(key);
  else if (refused.get(key) === message.session) {
    const hint = 'its hello was refused: the driver does not belong into this cluster';
    return { code: 'KR_SIMULATED', field: 'session', hint };
  }
  return undefined;
}
