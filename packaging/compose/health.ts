/**
 * Whether a container of ours works: `health.ts backend [port]|broker|executor|agent [url]`. Ends with 0
 * or 1 and says why not. It asks what the process itself shows to the outside and changes nothing.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect } from 'node:net';

type Finding = string | null;

async function backend(port = '8480'): Promise<Finding> {
  const answer = await fetch(`http://127.0.0.1:${port}/readyz`);
  return answer.status === 200 ? null : await answer.text();
}

const accepts = (where: string | number): Promise<Finding> =>
  new Promise((resolve) => {
    const place = typeof where === 'number' ? { port: where } : { path: where };
    const socket = connect(place, () => resolve(socket.destroy() && null));
    socket.once('error', (error) => resolve(error.message));
  });

const established = '01';
/**
 * `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode`; an address ends with
 * its port as four hexadecimal digits.
 */
function establishedOf(table: string, port: number | null): Set<string> {
  const suffix = port === null ? '' : `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = table.split('\n').map((line) => line.trim().split(/\s+/));
  return new Set(
    rows
      .filter(([, , remote, state]) => state === established && remote?.endsWith(suffix))
      .map(([, , , , , , , , , inode]) => `${inode}`),
  );
}

/**
 * A daemon keeps one connection to its server. An agent opens no other; one that asks the API of a
 * cluster does, so for it the server's port counts, as its URL says.
 */
export function agent(root = '/proc', url?: string): Promise<Finding> {
  const port = url === undefined ? null : Number(new URL(url).port);
  const open = ['net/tcp', 'net/tcp6'].flatMap((table) => [
    ...establishedOf(readFileSync(`${root}/1/${table}`, 'utf8'), port),
  ]);
  const own = readdirSync(`${root}/1/fd`).flatMap((name) => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(`${root}/1/fd/${name}`))?.[1] ?? [];
    } catch {
      return [];
    }
  });
  const isConnected = own.some((inode) => open.includes(inode));
  return Promise.resolve(isConnected ? null : 'no connection to the server');
}

const checks: Record<string, (where?: string) => Promise<Finding>> = {
  backend,
  broker: () => accepts(1883),
  executor: () => accepts('/run/kernreaktor/executor.sock'),
  agent: (url) => agent('/proc', url),
};

if (import.meta.main) {
  const check = checks[process.argv[2] ?? ''];
  const found = check
    ? await check(process.argv[3]).catch((error: unknown) => String(error))
    : `use ${Object.keys(checks).join(', ')}`;
  if (found !== null) {
    process.stderr.write(`${found}\n`);
    process.exitCode = 1;
  }
}
