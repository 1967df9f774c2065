/**
 * Whose signature the executor believes when it is a process of its own. The agent enrols, so it
 * is the one that brings the server's keys; they are taken at its first greeting, kept by root,
 * and compared ever after. Invariant: an agent that is taken over later cannot bring keys of its
 * own; only the administrator, who removes the file, can let another server in.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { ClusterId } from '../../../broker/contract/ids.ts';
import type { Log } from '../../../broker/contract/ports.ts';
import { ServerKey } from '../../../broker/contract/server.ts';
import { writeWhole } from '../../durable.ts';
import { oneByOne } from '../../turns.ts';
import { SocketError } from './channel.ts';

const Trusted = z.strictObject({
  cluster: ClusterId,
  serverKeys: z.array(ServerKey).min(1).max(2),
});
type Trusted = z.infer<typeof Trusted>;

export type Trust = {
  keys(): readonly ServerKey[];
  /** @throws SocketError KR_FOREIGN_SERVER when these are not the keys that are believed. */
  admit(offered: Trusted): Promise<void>;
};

const refused = (why: string, wayOut: string): SocketError =>
  new SocketError('KR_FOREIGN_SERVER', `${why}: ${wayOut}`);

async function read(file: string): Promise<Trusted | null> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (text === null) return null;
  try {
    return Trusted.parse(JSON.parse(text));
  } catch (cause) {
    const wayOut = 'restore it, or remove it to believe the next server that the agent names';
    throw new SocketError('KR_TRUST_FILE', `${file} is damaged: ${wayOut}`, { cause });
  }
}

const write = (file: string, trusted: Trusted): Promise<void> =>
  writeWhole(file, `${JSON.stringify(trusted, null, 2)}\n`);

const nameOf = ({ keyId, publicKey }: ServerKey): string => `${keyId}:${publicKey}`;

/** @throws SocketError KR_TRUST_FILE when the file cannot be believed. */
export async function openTrust(
  { file, cluster }: { file: string; cluster: string },
  log: Log,
): Promise<Trust> {
  let trusted = await read(file);
  if (trusted !== null && trusted.cluster !== cluster) {
    throw refused(
      `${file} is of cluster ${trusted.cluster}, KR_CLUSTER is ${cluster}`,
      'correct KR_CLUSTER, or remove the file to enter another cluster',
    );
  }
  // The next one waits for this one, whether it was let in or not.
  const inTurn = oneByOne();
  async function admit(offered: Trusted): Promise<void> {
    if (offered.cluster !== cluster) {
      throw refused(`the agent speaks for cluster ${offered.cluster}`, `set KR_CLUSTER alike`);
    }
    if (trusted === null) {
      await write(file, offered);
      trusted = offered;
      log.info({ keyIds: offered.serverKeys.map(({ keyId }) => keyId) }, 'server keys are pinned');
      return;
    }
    const known = new Set(trusted.serverKeys.map(nameOf));
    if (offered.serverKeys.every((key) => known.has(nameOf(key)))) return;
    throw refused('the agent names other server keys', `if that is meant, remove ${file}`);
  }
  return {
    keys: () => trusted?.serverKeys ?? [],
    admit: (offered) => inTurn(() => admit(offered)),
  };
}
