/** What a hello says goes into its node's row: the newest start of the newest journal wins. */
import type { Hello } from '../../broker/contract/presence.ts';
import type { CommandRows } from '../store/command-store.ts';
import { ConflictError } from '../store/sql/errors.ts';
import type { Nodes } from '../store/sql/schema.ts';

export type Noted = {
  /** False for a hello that an older start of the same daemon sent. */
  isCurrent: boolean;
  isNewBoot: boolean;
  /** Another journal than before: what it forgot, nobody knows. */
  isNewJournal: boolean;
};

export async function noteHello(
  rows: CommandRows,
  known: Nodes,
  { hello, nowMs }: { hello: Hello; nowMs: number },
): Promise<Noted> {
  const isNewJournal = known.journal_id !== null && known.journal_id !== hello.journalId;
  const isNewBoot = hello.bootId !== null && known.boot_id !== hello.bootId;
  if (!isNewJournal && hello.incarnation < known.incarnation) {
    return { isCurrent: false, isNewBoot: false, isNewJournal: false };
  }
  const said: Partial<Nodes> = {
    driver: JSON.stringify(hello.driver),
    boot_id: hello.bootId ?? known.boot_id,
    journal_id: hello.journalId,
    journal_confirmed: isNewJournal ? 0 : known.journal_confirmed,
    incarnation: hello.incarnation,
    max_epoch: Math.max(known.max_epoch, hello.maxEpoch),
    facts: JSON.stringify(hello.facts),
    facts_at_ms: nowMs,
    wake_table_version: hello.wakeTableVersion,
    last_seen_at_ms: nowMs,
  };
  if (!(await rows.updateNode(known, said, { ver: known.ver }))) {
    throw new ConflictError(`node ${known.cluster}/${known.id} changed meanwhile`);
  }
  return { isCurrent: true, isNewBoot, isNewJournal };
}
