/**
 * Answers the `enrol` of a session that a one-time token opened with the daemon's credential, the
 * same however often it is asked; the daemon then returns under its own name, which ends the token.
 */
import { encode } from '../broker/contract/codec.ts';
import type { Message } from '../broker/contract/messages.ts';
import type { Clock, Log, NewId } from '../broker/contract/ports.ts';
import type { ServerKey } from '../broker/contract/server.ts';
import type { ServerLink } from '../broker/port.ts';
import type { Enrolments } from './store/sql/enrolments.ts';

export type EnrolmentAnswerDeps = {
  link: Pick<ServerLink, 'publish'>;
  enrolments: Pick<Enrolments, 'redeem'>;
  identity: { serverId: string; serverKeys: readonly ServerKey[] };
  clock: Clock;
  newId: NewId;
  log: Log;
};

export const createEnrolmentAnswer =
  (deps: EnrolmentAnswerDeps) =>
  async (message: Message<'enrol'>): Promise<void> => {
    const { cluster, node, session, body } = message;
    const redeemed = await deps.enrolments.redeem({ cluster, daemon: node });
    if (!redeemed.ok) {
      deps.log.warn({ cluster, node, code: redeemed.refusal.code }, 'enrolment refused');
      return;
    }
    const { daemon, secret, simulated, nodes } = redeemed;
    const others = nodes.length > 1 ? { nodes } : {};
    const { serverId, serverKeys } = deps.identity;
    await deps.link.publish(
      encode('enrolled', {
        v: 1,
        id: deps.newId(),
        cluster,
        node,
        session,
        seq: 0,
        sentAtMs: deps.clock.wallMs(),
        body: { daemon, secret, serverId, serverKeys: [...serverKeys], simulated, ...others },
      }),
    );
    deps.log.info({ cluster, node, daemonVersion: body.daemonVersion }, 'daemon enrolled');
  };
