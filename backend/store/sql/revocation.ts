/**
 * Taking a daemon's credential away, for a host that was lost, sold or broken into. Its row stays,
 * so that the audit of its deeds keeps a name; an open enrolment of it ends, too. It may be let in
 * again only by a new enrolment.
 */
import { appendAudit } from '../../audit/chain.ts';
import { changed, type Database } from './database.ts';

export type Revocation = { cluster: string; daemon: string; actor: string };

/** False when there is no such daemon with a valid credential. */
export const revokeDaemon = (
  database: Database,
  { cluster, daemon, actor }: Revocation,
  nowMs: number,
): Promise<boolean> =>
  database.transaction(async (trx) => {
    const isRevoked = await changed(
      trx
        .updateTable('daemons')
        .set((eb) => ({ revoked_at_ms: nowMs, ver: eb('ver', '+', 1) }))
        .where('cluster', '=', cluster)
        .where('id', '=', daemon)
        .where('revoked_at_ms', 'is', null),
    );
    if (!isRevoked) return false;
    await trx
      .deleteFrom('enrolments')
      .where('cluster', '=', cluster)
      .where('daemon', '=', daemon)
      .execute();
    await appendAudit(trx, {
      chain: cluster,
      actor,
      action: 'daemon.revoke',
      subject: `daemon:${daemon}`,
      phase: 'done',
      detail: {},
      atMs: nowMs,
    });
    return true;
  });
