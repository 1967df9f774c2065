/**
 * The files of an installation that no other place can give back: keys, certificates, who we are,
 * kernreaktor.yaml, and by which token each cluster is reached that this server watches by its API.
 * A daemon's journal is never among them: one that has forgotten the last hour would let a command
 * begin twice, while a missing one only asks a person.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Content, isArchivable } from './archive.ts';

const folders = ['keys', 'tls'] as const;
/** A folder per cluster, of a daemon that this server's process runs; of its files only these. */
const clustersFolder = 'proxmox';
const clusterFiles = ['endpoint.json', 'credential.json'] as const;
const single = 'installation-id';
/** Under this name in every backup, wherever KR_CONFIG keeps it. */
export const configName = 'kernreaktor.yaml';

export type Places = { dataDir: string; configPath: string };

/** Or something else stands where a file or folder of ours would. */
const isMissing = (error: unknown): boolean =>
  error instanceof Error &&
  'code' in error &&
  ['ENOENT', 'ENOTDIR', 'EISDIR'].includes(String(error.code));

async function fileLine(path: string, at: string): Promise<Content | null> {
  try {
    const [bytes, { mode }] = await Promise.all([readFile(at), stat(at)]);
    return { kind: 'file', path, mode: mode & 0o777, base64: bytes.toString('base64') };
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

const namesIn = (folder: string): Promise<string[]> =>
  readdir(folder).then(
    (names) => names.toSorted(),
    (error: unknown) => {
      if (isMissing(error)) return [];
      throw error;
    },
  );

export async function* installationFiles({ dataDir, configPath }: Places): AsyncGenerator<Content> {
  const paths: [path: string, at: string][] = [
    [single, join(dataDir, single)],
    [configName, configPath],
  ];
  for (const folder of folders) {
    for (const name of await namesIn(join(dataDir, folder))) {
      // Half of a file whose writer was killed.
      if (name.endsWith('.new')) continue;
      paths.push([`${folder}/${name}`, join(dataDir, folder, name)]);
    }
  }
  for (const cluster of await namesIn(join(dataDir, clustersFolder))) {
    for (const name of clusterFiles) {
      const path = `${clustersFolder}/${cluster}/${name}`;
      paths.push([path, join(dataDir, path)]);
    }
  }
  // What editors and network disks leave in a folder (`.server-1.pem.swp`) is none of ours.
  for (const [path, at] of paths.filter(([one]) => isArchivable(one))) {
    const line = await fileLine(path, at);
    if (line) yield line;
  }
}

export const placeOf = (path: string, { dataDir, configPath }: Places): string =>
  path === configName ? configPath : join(dataDir, path);
