/**
 * The one-shot `init` of docker-compose.yml: makes every secret of the stack, once, and hands each
 * container those that it needs in a volume of its own. Invariant: a secret that exists is never
 * changed, so a second run, or one that was interrupted, leaves a stack that works. It prints no
 * secret, and no secret ever stands in the compose file, the environment or an image.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** 256 bits each; letters and digits alone, since some end up in a URL. */
const names = ['mariadb', 'mariadb-root', 'influxdb', 'influxdb-token', 'grafana', 'mqtt'] as const;
type Name = (typeof names)[number];

const backendUser = 8480;

/** Written aside first: a container never sees half a secret. */
function put(path: string, content: string, mode: number, owner?: number): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, content, { mode: 0o600 });
  chmodSync(`${path}.new`, mode);
  if (owner !== undefined) chownSync(`${path}.new`, owner, owner);
  renameSync(`${path}.new`, path);
}

function keep(folder: string, name: Name): string {
  const path = join(folder, name);
  if (!existsSync(path)) put(path, randomBytes(32).toString('hex'), 0o400);
  return readFileSync(path, 'utf8');
}

/**
 * What each container reads. Their images run as users of their own, which this one cannot know:
 * the wall between them is the volume, which only its one container mounts.
 */
const filesOf = (secret: Record<Name, string>): Record<string, Record<string, string>> => ({
  mariadb: { password: secret.mariadb, 'root-password': secret['mariadb-root'] },
  influxdb: { password: secret.influxdb, token: secret['influxdb-token'] },
  grafana: { 'admin-password': secret.grafana },
  backend: {
    'sql-url': `mariadb://kernreaktor:${secret.mariadb}@mariadb:3306/kernreaktor`,
    'influx-token': secret['influxdb-token'],
    'mqtt-password': secret.mqtt,
  },
});

/** `root` holds a folder per container, and `all`, which no other container ever mounts. */
export function makeSecrets(root: string, owner: number | undefined): void {
  const entries = names.map((name) => [name, keep(join(root, 'all'), name)] as const);
  const secrets = Object.fromEntries(entries) as Record<Name, string>;
  for (const [container, files] of Object.entries(filesOf(secrets))) {
    for (const [file, content] of Object.entries(files)) {
      const path = join(root, container, file);
      if (existsSync(path) && readFileSync(path, 'utf8') === content) continue;
      const isOurs = container === 'backend';
      put(path, content, isOurs ? 0o400 : 0o444, isOurs ? owner : undefined);
    }
  }
}

if (import.meta.main) makeSecrets(process.argv[2] ?? '/secrets', backendUser);
