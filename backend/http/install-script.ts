/**
 * What a host runs to let itself in: it fetches the package for its machine, checks it by the
 * SHA-256 that stands here, and starts the daemon. The line that a person pastes pins this script
 * by its own SHA-256, so nothing rests on the server's private certificate. Pure.
 */
import { createHash } from 'node:crypto';
import type { DaemonPackage } from '../packages.ts';

const caseOf = ({ architecture, name, sha256 }: DaemonPackage): string =>
  `  ${architecture}) file='${name}' sum='${sha256}' ;;`;

/** `sh daemon.sh <https url of the server> <mqtts url> <cluster> <token>`, as root. */
export const installScript = (packages: readonly DaemonPackage[]): string => `#!/bin/sh
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
credential=/var/lib/kernreaktor/credential.json
if [ -e "$credential" ]; then
  refuse "this host was let in before; nothing was changed. To let it in anew, and to forget which
server it believes, type these and then the line again:
  systemctl stop kernreaktor-agent kernreaktor-executor
  mv $credential $credential.old
  mv /var/lib/kernreaktor-executor/server-keys.json /var/lib/kernreaktor-executor/server-keys.old"
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The certificate is the server's own; what counts is the sum.
if command -v curl >/dev/null; then curl -fsSk "$1/packages/$file" -o "$folder/$file"
else wget -q --no-check-certificate "$1/packages/$file" -O "$folder/$file"; fi
echo "$sum  $folder/$file" | sha256sum -c --quiet || refuse 'the package is not what it should be'
# The user that unpacks it reads it here.
chmod 755 "$folder"
apt-get install -y "$folder/$file"
umask 077
mkdir -p /etc/kernreaktor
settings=/etc/kernreaktor/daemon.env
# Whatever else somebody set there stays, in its order; grep ends with 1 where it leaves nothing.
: > "$settings.new"
if [ -e "$settings" ]; then
  grep -Ev '^[[:space:]]*KR_(MQTT_URL|CLUSTER|ENROL_TOKEN)=' "$settings" > "$settings.new" || [ $? -eq 1 ]
fi
cat >> "$settings.new" <<END_OF_SETTINGS
KR_MQTT_URL=$2
KR_CLUSTER=$3
KR_ENROL_TOKEN=$4
END_OF_SETTINGS
mv "$settings.new" "$settings"
systemctl restart kernreaktor-executor kernreaktor-agent
echo 'kernreaktor: this host reports to its server now'
`;

export const sha256Of = (text: string): string => createHash('sha256').update(text).digest('hex');
