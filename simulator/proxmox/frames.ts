/**
 * What a fake tool and the world say to each other over the unix socket. The tool sends its call,
 * the world answers with frames of a head line and bytes. An effect is announced first and begins
 * only when the tool says that it stands in the log, so the log never lacks an effect that
 * happened.
 *
 *   tool -> world   <bytes>\n node NUL tool NUL argument NUL ...     later, for each log: logged\n
 *   world -> tool   out|err|log <bytes>\n ...                        last: exit <code>\n
 */
import type { Socket } from 'node:net';
import { z } from 'zod';

export const toolNames = [
  'pvesh',
  'qm',
  'pct',
  'pvecm',
  'corosync-quorumtool',
  'ha-manager',
  'pvenode',
  'ethtool',
] as const;
export const ToolName = z.enum(toolNames);
export type ToolName = z.infer<typeof ToolName>;

export type Call = { node: string; tool: ToolName; argv: string[] };

/** One line of the effect log. */
export type Effect = {
  atMs: number;
  node: string;
  kind: string;
  id: string;
  upid: string | null;
};

const callBytesMax = 2 ** 20;

/** What the tool has said so far, taken piece by piece; null once it has gone. */
export function listen(socket: Socket) {
  let held = Buffer.alloc(0);
  let hasEnded = false;
  let wake = (): void => undefined;
  socket.on('data', (chunk: Buffer) => {
    held = Buffer.concat([held, chunk]);
    wake();
  });
  socket.on('close', () => {
    hasEnded = true;
    wake();
  });
  const until = async (isThere: () => boolean): Promise<boolean> => {
    while (!isThere()) {
      if (hasEnded || held.length > callBytesMax) return false;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return true;
  };
  const take = (count: number): string => {
    const text = held.subarray(0, count).toString();
    held = held.subarray(count);
    return text;
  };
  async function line(): Promise<string | null> {
    if (!(await until(() => held.includes('\n')))) return null;
    const text = take(held.indexOf('\n'));
    take(1);
    return text;
  }
  return {
    line,
    async call(): Promise<Call | null> {
      const count = Number(await line());
      if (!Number.isInteger(count) || count < 1 || !(await until(() => held.length >= count))) {
        return null;
      }
      const [node = '', tool = '', ...argv] = take(count).split('\0');
      return { node, tool: ToolName.parse(tool), argv };
    },
  };
}

export function send(socket: Socket, step: 'out' | 'err' | 'log', text: string): void {
  if (!socket.writable) return;
  const bytes = Buffer.from(text);
  socket.write(`${step} ${bytes.length}\n`);
  socket.write(bytes);
}

export const sendExit = (socket: Socket, code: number): void => {
  if (socket.writable) socket.write(`exit ${code}\n`);
};
