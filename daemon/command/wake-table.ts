/**
 * The signed list of who may sleep in this broadcast domain, kept on disk so that it outlives the
 * server that signed it, and whom we have woken by it. Invariant: what was not signed by a known
 * server key for this cluster is not believed, also when it comes from our own disk.
 */
import { z } from 'zod';
import { NodeId } from '../../broker/contract/ids.ts';
import type { Log } from '../../broker/contract/ports.ts';
import {
  Signed,
  type ServerKey,
  type SyncContent,
  type WakeTable,
} from '../../broker/contract/server.ts';
import { oneByOne } from '../turns.ts';
import type { FilePort } from './files.ts';
import { checkTable } from './signature.ts';

const fileName = 'wake-table';
const temporaryName = 'wake-table.new';

const Woken = z.object({ bootId: z.string().nullable(), nodes: z.array(NodeId) });
type Woken = z.infer<typeof Woken>;
const Kept = z.object({ node: NodeId, sync: Signed, woken: Woken });
type Kept = z.infer<typeof Kept>;

export type WakeTableStore = {
  /** null without one, or without one that can be believed. */
  current(): { content: SyncContent; table: WakeTable } | null;
  /** The server is there: a new table replaces the old one, and the next outage is another one. */
  keep(node: string, sync: Signed, content: SyncContent): Promise<void>;
  /** In this boot of this host, since the server was last here. */
  hasWoken(node: string, bootId: string | null): boolean;
  /** Durable before a packet leaves. */
  note(node: string, bootId: string | null, hasWoken: boolean): Promise<void>;
};

export type TableDeps = {
  files: FilePort;
  cluster: string;
  serverKeys: () => readonly ServerKey[];
  log: Log;
};

async function read({ files, log }: TableDeps): Promise<Kept | null> {
  const bytes = await files.read(fileName);
  if (bytes === null) return null;
  try {
    return Kept.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (error) {
    log.warn({ err: error }, 'the kept wake table cannot be read: the next sync brings another');
    return null;
  }
}

async function write({ files }: TableDeps, kept: Kept): Promise<void> {
  await files.remove(temporaryName);
  await files.append(temporaryName, Buffer.from(JSON.stringify(kept)));
  await files.sync(temporaryName);
  await files.rename(temporaryName, fileName);
  await files.syncFolder();
}

const nobody: Woken = { bootId: null, nodes: [] };

export async function openWakeTable(deps: TableDeps): Promise<WakeTableStore> {
  let kept = await read(deps);
  const believe = ({ node, sync }: Kept): SyncContent | null => {
    const checked = checkTable(deps.serverKeys(), sync, { cluster: deps.cluster, node });
    return checked.ok ? checked.content : null;
  };
  let content = kept && believe(kept);
  const replace = async (next: Kept, said: SyncContent): Promise<void> => {
    await write(deps, next);
    [kept, content] = [next, said];
  };
  // One daemon may speak for a whole cluster, whose members are told at the same time.
  const inTurn = oneByOne();
  return {
    current: () => (content?.wakeTable ? { content, table: content.wakeTable } : null),
    keep: (node, sync, said) =>
      inTurn(async () => {
        if (!said.wakeTable) return;
        const isSame =
          content?.wakeTable?.version === said.wakeTable.version && content.hold === said.hold;
        if (isSame && kept?.woken.nodes.length === 0) return;
        await replace({ node, sync, woken: nobody }, said);
      }),
    hasWoken: (node, bootId) => kept?.woken.bootId === bootId && kept.woken.nodes.includes(node),
    note: (node, bootId, hasWoken) =>
      inTurn(async () => {
        if (!kept || !content) return;
        const before = kept.woken.bootId === bootId ? kept.woken.nodes : [];
        const others = before.filter((one) => one !== node);
        const nodes = hasWoken ? [...others, node] : others;
        await replace({ ...kept, woken: { bootId, nodes } }, content);
      }),
  };
}
