/**
 * What is typed on a host to give its daemon another version, by hand or through ssh. Pure. Only
 * names, versions and checksums of the server's list go into these lines, and each was checked by
 * its pattern, so that nothing in them can be taken for more than a word.
 */
import { z } from 'zod';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
export const PackageRow = z.object({
  name: z.string().regex(/^kernreaktor-daemon_[\w.+~-]{1,64}\.deb$/),
  version: z.string().regex(/^[\w.+~-]{1,48}$/),
  architecture: z.enum(['amd64', 'arm64']),
  bytes: z.number(),
  sha256,
});
export type PackageRow = z.infer<typeof PackageRow>;

/** Waits for who uses dpkg already, keeps settings as they are, and asks nothing. */
const install =
  'DEBIAN_FRONTEND=noninteractive apt-get install --yes --allow-downgrades ' +
  '-o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold';
const asRoot = 's=env; [ "$(id -u)" = 0 ] || s="sudo -n env"';

/**
 * For the shell of the host. The certificate is not looked at: the file is believed by its
 * checksum alone, which came another way.
 */
export function lineFor(baseUrl: string, packages: readonly PackageRow[]): string {
  const [first] = packages;
  const sums = packages.map(({ sha256: sum, name }) => `'${sum}  ${name}'`).join(' ');
  const file = `kernreaktor-daemon_${first?.version ?? ''}_$(dpkg --print-architecture).deb`;
  return [
    `cd "$(mktemp -d)" && f=${file}`,
    `curl -fsSkO '${baseUrl}/packages/'"$f"`,
    `printf '%s\\n' ${sums} | sha256sum -c --ignore-missing`,
    `sudo ${install} "./$f"`,
  ].join(' && ');
}

/** For hosts whose daemon no package brought. */
export const otherwise: readonly string[] = [
  'in containers: docker compose pull && docker compose up -d agent executor',
  'from a tarball: unpack the new one over it, then systemctl restart kernreaktor-executor kernreaktor-agent',
  'from a checkout: git pull && npm ci, then start it again',
];

const markPackaged = 'packaged';

/** Says what the host is: `packaged amd64`, or only the latter where no package brought the daemon. */
export const askHost =
  `dpkg-query -W -f '\${db:Status-Status}\\n' kernreaktor-daemon 2>/dev/null | ` +
  `grep -qx installed && echo ${markPackaged}; dpkg --print-architecture 2>/dev/null || uname -m`;

export function hostIs(answer: string): { isPackaged: boolean; architecture: string } {
  const words = answer.trim().split(/\s+/);
  return { isPackaged: words.includes(markPackaged), architecture: words.at(-1) ?? '' };
}

/** Takes the file from its standard input; changes nothing unless the checksum is right. */
export const installScript = ({ name, sha256: sum }: PackageRow): string =>
  [
    'set -eu',
    asRoot,
    'd=$(mktemp -d)',
    `trap 'rm -rf "$d"' EXIT`,
    // apt drops its rights while it reads the file.
    'chmod 755 "$d"',
    `cat > "$d/${name}"`,
    `echo '${sum}' " $d/${name}" | sha256sum -c --quiet`,
    `$s ${install} "$d/${name}" >&2`,
  ].join('\n');
