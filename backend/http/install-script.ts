/**
 * What a host runs to let itself in: the packages this server holds, each with its SHA-256, and a
 * script that fetches the right one, checks it, and starts the daemon. The line that a person pastes
 * pins the script by its own SHA-256, so nothing rests on the server's private certificate.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

export type InstallPackage = {
  file: string;
  folder: string;
  architecture: string;
  version: string;
  bytes: number;
  sha256: string;
};

const debName = /^kernreaktor-daemon_([\w.+~-]+)_(amd64|arm64)\.deb$/;

/** By path, size and time of change: a package is read once. */
const known = new Map<string, string>();

async function hashOf(path: string): Promise<{ bytes: number; sha256: string }> {
  const { size: bytes, mtimeMs } = await stat(path);
  const key = `${path} ${bytes} ${mtimeMs}`;
  const before = known.get(key);
  if (before !== undefined) return { bytes, sha256: before };
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  const sha256 = hash.digest('hex');
  known.set(key, sha256);
  return { bytes, sha256 };
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

/** One per architecture, of the version given, from the first folder that has it. */
export async function installPackages(
  folders: readonly string[],
  version: string,
): Promise<InstallPackage[]> {
  const found = new Map<string, InstallPackage>();
  for (const folder of folders) {
    const names = await readdir(folder).catch((error: unknown) => {
      if (isMissing(error)) return [];
      throw error;
    });
    for (const file of names.toSorted((a, b) => a.localeCompare(b))) {
      const [, packed, architecture] = debName.exec(file) ?? [];
      if (packed !== version || architecture === undefined || found.has(architecture)) continue;
      const { bytes, sha256 } = await hashOf(join(folder, file));
      found.set(architecture, { file, folder, architecture, version, bytes, sha256 });
    }
  }
  return [...found.values()];
}

const caseOf = ({ architecture, file, sha256 }: InstallPackage): string =>
  `  ${architecture}) file='${file}' sum='${sha256}' ;;`;

/** `sh daemon.sh <https url of the server> <mqtts url> <cluster> <token>`, as root. */
export const installScript = (packages: readonly InstallPackage[]): string => `#!/bin/sh
# Installs the daemon of Kernreaktor on this host and lets it in once. Everything it fetches is
# checked against the sums below; the line that called this checked these.
set -eu
refuse() { echo "kernreaktor: $1" >&2; exit 1; }
[ $# -eq 4 ] || refuse 'use: daemon.sh <server> <broker> <cluster> <token>'
[ "$(id -u)" = 0 ] || refuse 'run it as root'
command -v apt-get >/dev/null || refuse 'needs apt; see docs/install.md for the tarball'
case "$(dpkg --print-architecture)" in
${packages.map(caseOf).join('\n')}
  *) refuse "the server holds no package for $(dpkg --print-architecture)" ;;
esac
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The certificate is the server's own; what counts is the sum.
if command -v curl >/dev/null; then curl -fsSk "$1/install/$file" -o "$folder/$file"
else wget -q --no-check-certificate "$1/install/$file" -O "$folder/$file"; fi
echo "$sum  $folder/$file" | sha256sum -c --quiet || refuse 'the package is not what it should be'
# The user that unpacks it reads it here.
chmod 755 "$folder"
apt-get install -y "$folder/$file"
umask 077
mkdir -p /etc/kernreaktor
cat > /etc/kernreaktor/daemon.env <<END_OF_SETTINGS
KR_MQTT_URL=$2
KR_CLUSTER=$3
KR_ENROL_TOKEN=$4
END_OF_SETTINGS
systemctl restart kernreaktor-executor kernreaktor-agent
echo 'kernreaktor: this host reports to its server now'
`;

export const sha256Of = (text: string): string => createHash('sha256').update(text).digest('hex');
