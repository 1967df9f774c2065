/** The command store over SQL, as its contract wants to see it. */
import { verifyChain } from '../../backend/audit/chain.ts';
import { commandStore } from '../../backend/store/sql/command-rows.ts';
import type { Database } from '../../backend/store/sql/database.ts';
import type { Bench } from './command-store.contract.ts';

export const sqlBench = (database: Database, second: Database): Bench => ({
  store: commandStore(database),
  other: commandStore(second),
  async addCluster(row) {
    await database.db.insertInto('clusters').values(row).execute();
  },
  verifyChain: (chain) => verifyChain(database.db, chain),
  async close() {
    await database.close();
    if (second !== database) await second.close();
  },
});
