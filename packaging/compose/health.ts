/**
 * Whether a container of ours works: `health.ts backend [port]|broker|executor|agent`. Ends with 0
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
/** `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode`. */
function establishedOf(table: string): Set<string> {
  const rows = table.split('\n').map((line) => line.trim().split(/\s+/));
  return new Set(
    rows
      .filter(([, , , state]) => state === established)
      .map(([, , , , , , , , , inode]) => `${inode}`),
  );
}

/** The agent opens one connection by TCP, that to its server, and keeps it. */
export function agent(root = '/proc'): Promise<Finding> {
  const open = ['net/tcp', 'net/tcp6'].flatMap((table) => [
    ...establishedOf(readFileSync(`${root}/1/${table}`, 'utf8')),
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

const checks: Record<string, (port?: string) => Promise<Finding>> = {
  backend,
  broker: () => accepts(1883),
  executor: () => accepts('/run/kernreaktor/executor.sock'),
  agent: () => agent(),
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
