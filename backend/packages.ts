/**
 * The packages of the daemon that this server hands to hosts: files that an administrator laid
 * into `<KR_DATA_DIR>/packages`. Their checksums are told by the API, to who has signed in; the
 * files themselves are no secret. Nothing is fetched from anywhere, and nothing is installed here.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

export type DaemonPackage = {
  name: string;
  version: string;
  /** As dpkg calls it. */
  architecture: string;
  bytes: number;
  sha256: string;
};

export type Packages = {
  /** By name. */
  list(): Promise<DaemonPackage[]>;
  /** undefined when there is none of that name. */
  read(name: string): Promise<NodeJS.ReadableStream | undefined>;
};

const namePattern =
  /^kernreaktor-daemon_(\d+\.\d+\.\d+(?:[-.+~][\w.+~-]{1,32})?)_(amd64|arm64)\.deb$/;

async function checksumOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT';

export function createPackages(folder: string): Packages {
  /** A file is read once, until it changes. */
  const sums = new Map<string, { mark: string; sha256: Promise<string> }>();

  async function packageAt(name: string): Promise<DaemonPackage | null> {
    const [, version, architecture] = namePattern.exec(name) ?? [];
    if (version === undefined || architecture === undefined) return null;
    const path = join(folder, name);
    const { size, mtimeMs } = await stat(path);
    const mark = `${size} ${mtimeMs}`;
    let sum = sums.get(name);
    if (sum?.mark !== mark) {
      sum = { mark, sha256: checksumOf(path) };
      sums.set(name, sum);
    }
    return { name, version, architecture, bytes: size, sha256: await sum.sha256 };
  }

  return {
    async list() {
      const names: string[] = await readdir(folder).catch((error: unknown) => {
        if (isMissing(error)) return [];
        throw error;
      });
      const found: DaemonPackage[] = [];
      for (const name of names.sort()) {
        const known = await packageAt(name);
        if (known) found.push(known);
      }
      return found;
    },
    async read(name) {
      if (!namePattern.test(name)) return undefined;
      const path = join(folder, name);
      const there = await stat(path).catch(() => null);
      return there?.isFile() ? createReadStream(path) : undefined;
    },
  };
}
