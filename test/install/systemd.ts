/**
 * Both packages on a Debian that runs its own systemd, in a container of a real LXD: installed,
 * started by their units, one host let in, guests of the script driver started by transient units,
 * the executor killed while a tool works, and everything purged.
 *
 *   KR_TEST_INSTALL=1 node test/install/systemd.ts      about five minutes, as root
 *
 * A script and no test: it makes a Debian of its own. What it finds wrong are its violations.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { experiment, type Figures, type Scope } from '../support/experiment.ts';
import { noLxd, type RealLxd, startLxd } from '../support/lxd.ts';
import { until } from '../support/servers.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..', '..');
const maxBuffer = 2 ** 26;
const arch = process.arch === 'arm64' ? 'arm64' : 'amd64';
const box = 'box';

async function makeDebian(folder: string): Promise<string> {
  const rootfs = join(folder, 'image', 'rootfs');
  await mkdir(join(folder, 'image'));
  const include = '--include=systemd,systemd-sysv,dbus,ca-certificates';
  await run('debootstrap', ['--variant=minbase', include, 'bookworm', rootfs], { maxBuffer });
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  const metadata = `architecture: ${machine}\ncreation_date: 1700000000\nproperties: {os: debian}\n`;
  await writeFile(join(folder, 'image', 'metadata.yaml'), metadata);
  const file = join(folder, 'debian.tar');
  await run('tar', ['-C', join(folder, 'image'), '-cf', file, 'metadata.yaml', 'rootfs']);
  await rm(rootfs, { recursive: true, force: true });
  return file;
}

async function buildPackages(folder: string): Promise<string[]> {
  const out = join(folder, 'packages');
  for (const product of ['server', 'daemon']) {
    const argv = ['packaging/build.ts', product, '--arch', arch, '--out', out];
    await run(process.execPath, argv, { cwd: root, maxBuffer });
  }
  return (await readdir(out))
    .filter((name) => name.endsWith('.deb'))
    .map((name) => join(out, name));
}

const guests = `#!/bin/sh
[ -e /run/web.up ] && state=running || state=stopped
printf '[{"id":"web","kind":"container","name":"web","state":"%s","metrics":{}}]' $state
`;
const start = `#!/bin/sh
sed -n 's/^0:://p' /proc/self/cgroup >> /var/log/starts
sleep 8
touch /run/web.up
`;
const install = `set -e
install -m 600 /usr/share/doc/kernreaktor-server/examples/server.env /etc/kernreaktor-server/
systemctl start kernreaktor-server
`;
const restored = `set -e
kernreaktor backup --out /tmp/kr.age > /dev/null
kernreaktor backup key > /tmp/key
chmod 644 /tmp/kr.age /tmp/key
systemctl stop kernreaktor-server
kernreaktor restore /tmp/kr.age --identity /tmp/key --replace 2>&1
systemctl start kernreaktor-server
`;
const enrol = `set -e
umask 077
token=$(kernreaktor enrol home ${box} | tail -1)
sed "s,^KR_MQTT_URL=.*,KR_MQTT_URL=mqtt://127.0.0.1:1883,;s,^KR_ENROL_TOKEN=.*,KR_ENROL_TOKEN=$token,;\\
s,^# KR_NODE=.*,KR_NODE=${box}," /usr/share/doc/kernreaktor-daemon/examples/daemon.env \\
  > /etc/kernreaktor/daemon.env
chmod 755 /usr/local/lib/kr/*
umask 022
cat > /etc/kernreaktor/daemon.yaml <<'END'
script:
  guests: /usr/local/lib/kr/guests
  actions: {guest.start: /usr/local/lib/kr/start}
END
{ echo scripts:
  for file in guests start; do
    echo "  /usr/local/lib/kr/$file: $(sha256sum /usr/local/lib/kr/$file | cut -d' ' -f1)"
  done
} > /etc/kernreaktor/policy.yaml
systemctl start kernreaktor-executor kernreaktor-agent
`;

type Box = {
  inside: (script: string) => Promise<string>;
  put: (path: string, content: string, folder: string) => Promise<void>;
};

const boxOf = (lxd: RealLxd): Box => ({
  inside: (script) => lxd.lxc('exec', box, '--', 'sh', '-c', script),
  async put(path, content, folder) {
    const file = join(folder, 'put');
    await writeFile(file, content);
    await lxd.lxc('file', 'push', '-q', '-p', file, `${box}${path}`);
  },
});

const says = (box: Box, script: string, what: RegExp): (() => Promise<boolean>) => {
  return async () => what.test(await box.inside(script).catch((error: unknown) => String(error)));
};

const soon = (what: string) => ({ withinMs: 120_000, what });

/** A start of the guest, looked at while its program works. */
async function startGuest({ inside }: Box, meanwhile: string): Promise<[string, string]> {
  await inside('rm -f /run/web.up');
  const running = inside('kernreaktor act guest.start home/web 2>&1');
  const isAtWork = 'systemctl list-units --plain --no-legend "kernreaktor-tool-*" | wc -l';
  await until(
    async () => Number(await inside(`${isAtWork}; true`)) > 0 && (await hasBegun({ inside })),
    soon('the tool at work'),
  );
  const seen = await inside(meanwhile);
  return [await running.catch((error: { stdout?: string }) => error.stdout ?? ''), seen];
}

let startsSeen = 0;
async function hasBegun({ inside }: Pick<Box, 'inside'>): Promise<boolean> {
  const lines = await inside('cat /var/log/starts 2>/dev/null | wc -l');
  const isNew = Number(lines) > startsSeen;
  if (isNew) startsSeen = Number(lines);
  return isNew;
}

const limits = `systemctl show 'kernreaktor-tool-*' -p MemoryMax -p TasksMax -p KillMode`;
const exposure = `for unit in agent executor server; do
  systemd-analyze security --no-pager kernreaktor-$unit | sed -n 's/.*level for \\(.*\\): \\([0-9.]*\\).*/\\1 \\2/p'
done`;
const leftovers = `ls -d /etc/kernreaktor* /var/lib/kernreaktor* /usr/lib/kernreaktor* \\
  /etc/systemd/system/*/kernreaktor* 2>/dev/null; getent passwd kernreaktor kernreaktor-server; true`;

async function tried(box: Box, folder: string, say: Scope['say']): Promise<Figures> {
  const { inside, put } = box;
  const violations: string[] = [];
  const check = (isRight: boolean, what: string): void =>
    void (isRight ? say(`right: ${what}`) : violations.push(what));
  await until(says(box, 'systemctl is-system-running', /^running/), soon('a running system'));
  await inside('dpkg -i /root/*.deb && mkdir -p /usr/local/lib/kr');
  await inside(install);
  await until(says(box, 'kernreaktor status', /local/), soon('the server by the command on PATH'));
  const back = (await inside(restored)).trim();
  check(/^restored \d+ rows/m.test(back), `root restores a backup: ${back.slice(-300)}`);
  await until(says(box, 'kernreaktor status', /HOLD/), soon('the restored server, held'));
  await inside('kernreaktor hold --release');
  await put('/usr/local/lib/kr/guests', guests, folder);
  await put('/usr/local/lib/kr/start', start, folder);
  await inside(enrol);
  await until(says(box, 'kernreaktor guests', /home\/web/), soon('the guest of the script driver'));

  const [first, shown] = await startGuest(box, limits);
  check(/succeeded/.test(first), `a start by a transient unit: ${first.trim().slice(-200)}`);
  check(/MemoryMax=4294967296/.test(shown) && /KillMode=control-group/.test(shown), shown);
  const [second] = await startGuest(box, 'systemctl kill -s KILL kernreaktor-executor');
  check(/succeeded/.test(second), `one whose executor was killed: ${second.trim().slice(-200)}`);
  const starts = (await inside('cat /var/log/starts')).trim().split('\n');
  check(starts.length === 2, `each start began once: ${starts.length} of 2`);
  check(
    starts.every((unit) => unit.includes('/kernreaktor-tool-')),
    'each in a unit of its own',
  );
  await until(
    says(box, 'systemctl is-active kernreaktor-executor', /^active/),
    soon('the executor started again'),
  );
  await inside('systemctl restart kernreaktor-server');
  await until(says(box, 'kernreaktor nodes', /home\/box +awake/), soon('the host after a restart'));
  check((await inside('systemctl --failed --no-legend')).trim() === '', 'no unit has failed');
  const exposed = (await inside(exposure)).trim().split('\n');
  await inside('dpkg --purge kernreaktor-daemon kernreaktor-server');
  const left = (await inside(leftovers)).trim();
  check(left === '', `a purge leaves nothing: ${left}`);
  return { starts, exposed, violations };
}

async function onLxd({ say }: Scope): Promise<Figures> {
  if (noLxd !== '') throw new Error(noLxd.trim());
  const folder = await mkdtemp(join(tmpdir(), 'kr-systemd-'));
  const lxd = await startLxd();
  try {
    say('making a Debian with systemd');
    await lxd.lxc('image', 'import', await makeDebian(folder), '--alias', 'debian');
    say('building the packages');
    const packages = await buildPackages(folder);
    await lxd.lxc('launch', 'debian', box, '-c', 'security.privileged=true');
    for (const file of packages) await lxd.lxc('file', 'push', '-q', file, `${box}/root/`);
    return await tried(boxOf(lxd), folder, say);
  } finally {
    await lxd.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

experiment(import.meta, { name: 'systemd', short: 1, long: 1, run: onLxd });
